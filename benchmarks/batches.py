"""What a request of many rows costs, step by step and by protocol, beside onnxruntime alone on ready arrays.

Processor time of one thread, so that others on the machine disturb little; protocols and onnxruntime take turns. HTTP,
threads and the event loop are not in it: ``scoring`` has them.
"""

from __future__ import annotations

import asyncio
import json
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from rich.table import Table

from benchmarks.scoring import LARGE, install, train
from ml.registry.manifest import read_manifest
from ml.serving.answers import answer_batches
from ml.serving.capture import Outbox
from ml.serving.decode import Layout, compile_layout
from ml.serving.http import Reply
from ml.serving.mlflow_protocol import MLFLOW
from ml.serving.model import Model, load_model
from ml.serving.open_inference import JSON_LENGTH, OPEN_INFERENCE
from ml.serving.protocol import OWN, Protocol, Request
from ml.serving.score import score_batch
from ml.settings import PROJECT, Settings
from ml.use_case import UseCase, load

ROUNDS = 60

Row = list[float]


@dataclass(frozen=True)
class Steps:
    """One protocol; seconds of processor time, medians of ``n`` rounds.

    Attributes
    ----------
    read, ask, tell, commit
        Body into arrays; the graph and what is looked at in its answers; reply and record; the record on disk.
    raw
        Onnxruntime alone in the same rounds.
    share
        Of the sum, what onnxruntime alone takes: median and quartiles.
    """

    name: str
    read: float
    ask: float
    tell: float
    commit: float
    raw: float
    share: tuple[float, float, float]
    n: int


@dataclass(frozen=True)
class _Asked:
    name: str
    protocol: Protocol
    request: Request


@dataclass(frozen=True)
class _Replica:
    """What of a replica takes part."""

    model: Model
    layout: Layout
    outbox: Outbox


def measure_batches(
    folder: Path, say: Callable[[str], None], *, rounds: int = ROUNDS, rows: int = LARGE
) -> tuple[Steps, ...]:
    """Steps of a request of so many rows, by protocol.

    Raises
    ------
    RuntimeError
        A protocol does not answer.
    """
    say("training the forest")
    use_case = load(PROJECT / "use_cases" / "harbour_weather.yaml")
    package, history = train(use_case, folder)
    settings = Settings(home=folder, var=folder / "var")
    settings.use_cases.mkdir(parents=True)
    install(use_case, settings, package)
    model = load_model(settings.releases, read_manifest(settings.releases, use_case.name), use_case)
    asked = tuple(_ask(history[:rows], use_case))
    with asyncio.Runner() as runner:
        outbox = Outbox(settings.outbox / "replica-0.sqlite")
        found = runner.run(_measure(asked, _Replica(model, compile_layout(use_case), outbox), rounds, say))
        outbox.close()
    return found


async def _measure(
    asked: Sequence[_Asked], replica: _Replica, rounds: int, say: Callable[[str], None]
) -> tuple[Steps, ...]:
    inputs = OWN.read(asked[0].request, replica.layout).batch.graph_inputs()
    taken: dict[str, list[tuple[float, ...]]] = {one.name: [] for one in asked}
    for number in range(-1, rounds):  # the first one warms up
        say(f"round {number + 1} of {rounds}")
        for one in asked:
            began = time.thread_time()
            replica.model.session.run(["label", "probabilities"], inputs)
            raw = time.thread_time() - began
            if number >= 0:
                taken[one.name].append((*_time(one, replica), raw))
    return tuple(_summarise(name, steps) for name, steps in taken.items())


def _time(one: _Asked, replica: _Replica) -> tuple[float, ...]:
    model, layout, outbox = replica.model, replica.layout, replica.outbox
    moments = [time.thread_time()]
    question = one.protocol.read(one.request, layout)
    moments.append(time.thread_time())
    (found,) = answer_batches([question.batch], model, layout)
    moments.append(time.thread_time())
    scored = score_batch(question.batch, model, layout, "bench", question.render, found=found)
    moments.append(time.thread_time())
    outbox.put(layout.use_case.name, "request", "bench", (scored.record,), lambda _: None, rows=scored.rows)
    outbox.flush()
    moments.append(time.thread_time())
    if not isinstance(scored.reply, Reply) or scored.reply.status != 200 or outbox.fault:
        raise RuntimeError(f"{one.name} was not answered: {scored.reply} {outbox.fault}")
    return tuple(float(step) for step in np.diff(moments))


def _summarise(name: str, steps: Sequence[tuple[float, ...]]) -> Steps:
    shares = [raw / sum(own) for *own, raw in steps]
    low, middle, high = (float(share) for share in np.quantile(shares, (0.25, 0.5, 0.75)))
    return Steps(name, *(statistics.median(step) for step in zip(*steps, strict=True)), (low, middle, high), len(steps))


def _ask(rows: Sequence[Row], use_case: UseCase) -> Iterator[_Asked]:
    """The same rows in every protocol."""
    names, table = list(use_case.features), np.array(rows)
    yield _Asked("our JSON", OWN, _request({"data": rows}))
    split = {"dataframe_split": {"columns": names, "data": rows}}
    yield _Asked("MLflow, dataframe_split", MLFLOW, _request(split))
    yield _Asked("MLflow, inputs", MLFLOW, _request({"inputs": rows}))
    matrix = {"name": "numbers", "shape": list(table.shape), "datatype": "FP32"}
    yield _Asked(
        "V2, JSON, one matrix", OPEN_INFERENCE, _request({"inputs": [matrix | {"data": table.ravel().tolist()}]})
    )
    columns = [({"name": name, "shape": [len(rows)], "datatype": "FP64"}, table[:, i]) for i, name in enumerate(names)]
    yield _Asked("V2, binary, a tensor per feature", OPEN_INFERENCE, _binary(columns))
    alone = _binary([(matrix, table.astype("<f4"))], outputs=[{"name": "probabilities"}])
    yield _Asked("V2, binary, one matrix", OPEN_INFERENCE, alone)


def _request(content: Any) -> Request:
    return Request("POST", "", {}, json.dumps(content).encode(), "bench")


def _binary(tensors: Sequence[tuple[dict[str, Any], Any]], **more: Any) -> Request:
    raw = [values.tobytes() for _, values in tensors]
    inputs = [
        told | {"parameters": {"binary_data_size": len(one)}} for (told, _), one in zip(tensors, raw, strict=True)
    ]
    head = json.dumps({"inputs": inputs, "parameters": {"binary_data_output": True}} | more).encode()
    return Request("POST", "", {JSON_LENGTH: str(len(head)).encode()}, head + b"".join(raw), "bench")


def draw_batches(found: Sequence[Steps]) -> Iterator[Table]:
    """One table."""
    title = f"{LARGE:,} rows, processor time in ms, medians of {found[0].n} interleaved rounds"
    table = Table(title=title, caption="onnxruntime alone: its share of our sum, with quartiles")
    for name in ("protocol", "read", "ask", "tell", "commit", "onnxruntime", "share"):
        table.add_column(name, justify="left" if name == "protocol" else "right")
    for one in found:
        low, middle, high = one.share
        times = (one.read, one.ask, one.tell, one.commit, one.raw)
        table.add_row(one.name, *(f"{1e3 * t:.2f}" for t in times), f"{middle:.0%} ({low:.0%} to {high:.0%})")
    yield table
