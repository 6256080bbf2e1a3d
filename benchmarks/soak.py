"""A replica under half its largest load for a long time, with ingestion beside it, to see whether anything grows.

First it is found how many answers a second the replica gives at most; then clients ask for half of that, evenly, while
an ingester of its own process takes the outbox every few seconds. Memory, open files and backlog are read each second.
What grows has a slope that is above zero for sure: a line is fitted to the second half, since a process fills its
caches first, and the interval of its slope allows for neighbouring seconds being alike.
"""

from __future__ import annotations

import asyncio
import json
import math
import multiprocessing
import sqlite3
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from multiprocessing.process import BaseProcess
from pathlib import Path

import msgspec
import numpy as np
import psutil

from benchmarks.fleet import PATIENCE, Fleet, ferry_row, late_probability
from benchmarks.load import Client, ask_until_told, asking, write_request
from ml.records.outbox import COUNT_ROWS
from ml.store.lake import Lake

SECONDS, CLIENTS = 60.0, 16
#: Different rows.
LOADS = 200
#: The largest load is looked for so long, seconds.
_SEARCH_SECONDS = 3.0
_INGEST_EVERY = 5.0
_BLOCKS = 10

#: What may grow in an hour before it counts, and in the second half of the run: allocators and caches move by so much.
ALLOWED = {"memory, MiB": (8.0, 1.0), "open files": (5.0, 2.0), "backlog, rows": (math.inf, math.inf)}


@dataclass(frozen=True)
class Trend:
    """How something went.

    Attributes
    ----------
    first, last, highest
        Means of the first and last tenth, and the largest value.
    per_hour, low, high
        Slope of the second half and its interval, 95 %, by means of blocks.
    grows
        Whether the interval lies above what is allowed; of the backlog, whether its last quarter is twice its second.
    """

    name: str
    n: int
    first: float
    last: float
    highest: float
    per_hour: float
    low: float
    high: float
    grows: bool


@dataclass(frozen=True)
class Soak:
    """What a soak found."""

    seconds: float
    largest_rate: float
    rate: float
    answers: int
    errors: int
    wrong: int
    not_in_lake: int
    trends: tuple[Trend, ...]


class _Prediction(msgspec.Struct):
    probabilities: list[float]


class _Told(msgspec.Struct):
    predictions: list[_Prediction]


class PacedClient(Client):
    """A client that asks at an even pace, or as fast as it can, and works every answer out itself."""

    decoder = msgspec.json.Decoder(_Told)

    def __init__(self, requests: Sequence[bytes], pause: float) -> None:
        super().__init__(requests, math.inf)
        self.wrong = 0
        self._pause, self._due = pause, time.perf_counter()

    def judge(self, content: bytes) -> None:
        """Compare an answer with what it must be."""
        (found,) = self.decoder.decode(content).predictions
        wanted = late_probability(float((len(self.times) - 1) % LOADS))
        self.wrong += not abs(found.probabilities[1] - wanted) <= 1e-6

    def ask(self) -> None:
        """Ask when it is time; who is late by a second begins anew."""
        now = time.perf_counter()
        self._due = max(self._due + self._pause, now - 1.0)
        if self._due <= now:
            super().ask()
        else:
            asyncio.get_running_loop().call_later(self._due - now, self._ask_or_leave)

    def _ask_or_leave(self) -> None:
        if time.perf_counter() < self.until:
            super().ask()
        else:
            self.leave()


async def ask_evenly(port: int, rate: float) -> dict[str, int]:
    """What :data:`CLIENTS` got that together ask so often a second, or as often as they can when it is 0."""
    rows = [json.dumps({"rows": [ferry_row(float(load))]}).encode() for load in range(LOADS)]
    requests = [write_request("/score/ferry", row) for row in rows]
    clients = [PacedClient(requests, CLIENTS / rate if rate else 0.0) for _ in range(CLIENTS)]
    answers = len(await ask_until_told(port, clients))
    errors = sum(client.failures for client in clients)
    return {"answers": answers - errors, "errors": errors, "wrong": sum(client.wrong for client in clients)}


def measure_soak(
    folder: Path,
    say: Callable[[str], None],
    *,
    seconds: float = SECONDS,
    largest: float | None = None,
    program: Sequence[str] = ("-m", "ml.serving"),
) -> Soak:
    """Keep a replica at half its largest load for so long.

    Parameters
    ----------
    largest
        Its largest load, requests a second, when it is known.
    program
        Arguments that start it.
    """
    fleet = Fleet(folder / "soak", replicas=1)
    try:
        fleet.start(0, program)
        fleet.await_ready(0)
        say("looking for the largest load")
        largest = largest or _find_largest(fleet)
        watched = psutil.Process(fleet.processes[0].pid)
        samples: list[tuple[float, float, float, float]] = []
        ingester, started = None, time.monotonic()
        next_ingest = started
        with asking("benchmarks.soak", fleet.settings.scoring_port, largest / 2) as load:
            while (spent := time.monotonic() - started) < seconds:
                say(f"{spent:.0f} of {seconds:.0f} s at {largest / 2:.0f} answers/s")
                samples.append((spent, watched.memory_info().rss / 2**20, watched.num_fds(), _backlog(fleet)))
                if time.monotonic() >= next_ingest and (ingester is None or not ingester.is_alive()):
                    ingester, next_ingest = _ingest(fleet), time.monotonic() + _INGEST_EVERY
                time.sleep(max(0.1, min(1.0, seconds / 100)))
        spent = time.monotonic() - started
        if ingester is not None:
            ingester.join(PATIENCE)
        fleet.stop()
    finally:
        fleet.end()
    before = _count(fleet)
    return Soak(
        seconds=spent,
        largest_rate=largest,
        rate=load["answers"] / spent,
        answers=load["answers"],
        errors=load["errors"],
        wrong=load["wrong"],
        not_in_lake=load["answers"] + _searched(fleet) - before,
        trends=_trends(samples),
    )


def _find_largest(fleet: Fleet) -> float:
    with asking("benchmarks.soak", fleet.settings.scoring_port, 0) as load:
        time.sleep(_SEARCH_SECONDS)
    fleet.folder.joinpath("searched").write_text(str(load["answers"]))
    return load["answers"] / _SEARCH_SECONDS


def _searched(fleet: Fleet) -> int:
    book = fleet.folder / "searched"
    return int(book.read_text()) if book.exists() else 0


def _ingest(fleet: Fleet) -> BaseProcess:
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["ml.store.lake"])
    process = context.Process(target=fleet.lake.ingest, args=(fleet.settings.outbox,))
    process.start()
    return process


def _backlog(fleet: Fleet) -> float:
    address = f"{(fleet.settings.outbox / 'replica-0.sqlite').as_uri()}?mode=ro"
    with closing(sqlite3.connect(address, uri=True, timeout=PATIENCE)) as db:
        return float(db.execute(COUNT_ROWS).fetchone()[0])


def _count(fleet: Fleet) -> int:
    lake = Lake(fleet.settings.lake, fleet.use_case)
    lake.ingest(fleet.settings.outbox)
    return int(lake._requests.read(["seq"]).num_rows)  # noqa: SLF001 - all, any window


def _trends(samples: Sequence[tuple[float, float, float, float]]) -> tuple[Trend, ...]:
    table = np.array(samples)
    return tuple(
        judge_trend(name, table[:, 0], table[:, column], allowed)
        for column, (name, allowed) in enumerate(ALLOWED.items(), start=1)
    )


def judge_trend(name: str, times: np.ndarray, values: np.ndarray, allowed: tuple[float, float]) -> Trend:
    """Whether a series grows: the slope of its second half, by means of ten blocks, against what is allowed an hour.

    Where nothing is allowed (``inf``) a saw-tooth is looked at: its last quarter against its second quarter.
    """
    from scipy import stats

    n = len(values)
    blocks = np.array_split(np.arange(n // 2, n), _BLOCKS)
    x = np.array([times[block].mean() for block in blocks]) / 3600
    y = np.array([values[block].mean() for block in blocks])
    fit = stats.linregress(x, y)
    width = stats.t.ppf(0.975, _BLOCKS - 2) * fit.stderr
    quarters = np.array_split(values, 4)
    if math.isinf(allowed[0]):
        grows = quarters[3].mean() > 2 * max(quarters[1].mean(), 1.0)
    else:
        grows = fit.slope - width > allowed[0] and y[-1] - y[0] > allowed[1]
    tenth = max(n // 10, 1)
    return Trend(
        name=name,
        n=n,
        first=float(values[:tenth].mean()),
        last=float(values[-tenth:].mean()),
        highest=float(values.max()),
        per_hour=float(fit.slope),
        low=float(fit.slope - width),
        high=float(fit.slope + width),
        grows=bool(grows),
    )


def draw_soak(found: Soak) -> Iterator[str]:
    """What was found, in lines."""
    yield (
        f"soak of {found.seconds:.0f} s at {found.rate:.0f} answers/s, largest {found.largest_rate:.0f}: "
        f"{found.answers} answers, errors {found.errors}, wrong {found.wrong}, not in the lake {found.not_in_lake}"
    )
    for trend in found.trends:
        yield (
            f"  {trend.name}: {trend.first:.1f} at first, {trend.last:.1f} in the end, {trend.highest:.1f} at most; "
            f"{trend.per_hour:+.1f} an hour ({trend.low:+.1f} to {trend.high:+.1f}), n {trend.n}: "
            f"{'GROWS' if trend.grows else 'flat'}"
        )


if __name__ == "__main__":
    import uvloop

    print(json.dumps(uvloop.run(ask_evenly(int(sys.argv[1]), float(sys.argv[2])))))
