"""Scoring over HTTP: ours, which records every answer before it leaves, beside peers that record nothing.

All serve the same forest on the same machine, one worker each. Every server is asked by the same clients, in
interleaved rounds: single rows by 16 clients, then requests of 1,000 rows by 4. What a server answers is compared
with onnxruntime first, and an answer that is no 200 is counted: a peer that answers errors is no peer.
"""

from __future__ import annotations

import json
import statistics
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
from rich.table import Table

from benchmarks.fleet import free_port
from benchmarks.load import Load, generator, put_load
from benchmarks.peers.environment import prepare
from benchmarks.servers import PEERS, Row, Running, Server, ask, ours, running
from ml.records.decision import RetrainRequest
from ml.records.release import Package, ReleaseManifest
from ml.registry.golden import load_session
from ml.registry.manifest import MODEL, PACKAGE, digest_file, manifest_path, store_artifact
from ml.settings import PROJECT, Settings
from ml.store.lake import Lake
from ml.training.assemble import assemble
from ml.training.package import package
from ml.use_case import UseCase, load

ROUNDS, SECONDS = 5, 3.0
CLIENTS, LARGE_CLIENTS = 16, 4
LARGE = 1_000
#: Use cases of the installation that has many.
MANY = 50
_BODIES = 64


@dataclass(frozen=True)
class Measured:
    """One server under one kind of load; medians of ``n`` rounds.

    Attributes
    ----------
    rate
        Answers a second.
    p50, p99
        Of the time to an answer, seconds.
    cpu
        Processor time of all its processes per answer, seconds.
    memory_mb
        Resident memory of all its processes after the rounds.
    start_seconds
        From its start to its first answer.
    failures
        Requests of all rounds that were not answered with 200.
    """

    name: str
    what: str
    rate: float
    p50: float
    p99: float
    cpu: float
    memory_mb: float
    start_seconds: float
    failures: int
    requests: int
    n: int


@dataclass(frozen=True)
class Plan:
    """How long everybody is measured, where questions are kept, and who is told."""

    folder: Path
    say: Callable[[str], None]
    rounds: int
    seconds: float


@dataclass(frozen=True)
class ScoringBench:
    """All servers.

    Attributes
    ----------
    raw
        Rows a second of onnxruntime alone, one thread, in batches of :data:`LARGE`.
    """

    generator: str
    single: tuple[Measured, ...]
    large: tuple[Measured, ...]
    raw: float


def measure_scoring(
    folder: Path,
    say: Callable[[str], None],
    *,
    rounds: int = ROUNDS,
    seconds: float = SECONDS,
    peers: Sequence[Server] = PEERS,
) -> ScoringBench:
    """Throughput and latency of our service, alone, with many use cases and with two replicas, beside peers.

    Parameters
    ----------
    folder
        For the model, the servers' files and logs.
    say
        Told of every step.
    """
    say("training the forest that all serve")
    use_case = load(PROJECT / "use_cases" / "harbour_weather.yaml")
    model, rows = train(use_case, folder)
    plan = Plan(folder / "bodies", say, rounds, seconds)
    plan.folder.mkdir()
    with ExitStack() as stack:
        servers = []
        for server, python, settings in (*_ours(use_case, model, folder), *_peers(folder, peers, say)):
            say(f"starting {server.name}")
            servers.append(stack.enter_context(running(server, python, model / MODEL, settings)))
            check(servers[-1], model, rows)
        single = measure_rounds(servers, "1 row", [[row] for row in rows[:_BODIES]], CLIENTS, plan)
        large = [rows[i * LARGE : (i + 1) * LARGE] for i in range(3)]
        many = measure_rounds(servers, f"{LARGE} rows", large, LARGE_CLIENTS, plan)
    return ScoringBench(generator(), single, many, measure_raw(model, large))


def train(use_case: UseCase, folder: Path) -> tuple[Path, list[Row]]:
    """Package of a forest of the use case's history, and rows of that history without a gap."""
    until = use_case.training.history.until
    request = RetrainRequest(
        key="bench", use_case=use_case.name, as_of=until or datetime.now(UTC), reason="benchmark", actor="make bench"
    )
    lake = Lake(folder / "lake", use_case)
    found = assemble(use_case, request, lake=lake, home=PROJECT, champion_version=None, champion_watermark=None)
    history = lake.read_training(found.data_version)
    package("random_forest", history, found, use_case, folder / "model")
    numbers = history[list(use_case.numbers)].dropna().astype(float).round(4)
    return folder / "model", numbers.to_numpy().tolist()


def release(use_case: UseCase, settings: Settings, model: Path) -> None:
    """Have a package served as a use case's first version."""
    described = Package.read(model / PACKAGE)
    ReleaseManifest(
        use_case=use_case.name,
        sequence=1,
        model_name=use_case.name,
        model_version=1,
        digest=described.digest,
        package_digest=digest_file(model / PACKAGE),
        artifact=store_artifact(settings.releases, use_case.name, model),
        released_at=datetime.now(UTC),
        previous=None,
        reason="benchmark",
    ).write(manifest_path(settings.releases, use_case.name))


def _ours(use_case: UseCase, model: Path, folder: Path) -> Iterator[tuple[Server, Path, Settings]]:
    for name, replicas, many, as_mlflow in (
        ("Perennial", 1, 1, False),
        ("Perennial, frames", 1, 1, True),
        (f"Perennial, {MANY} use cases", 1, MANY, False),
        ("Perennial, 2 replicas", 2, 1, False),
    ):
        home = folder / f"ours-{replicas}-{many}-{as_mlflow}"
        settings = Settings(home=home, var=home / "var", scoring_port=free_port())
        settings.use_cases.mkdir(parents=True)
        install(use_case, settings, model, copies=many)
        yield ours(settings, name, replicas=replicas, as_mlflow=as_mlflow), Path(sys.executable), settings


def install(use_case: UseCase, settings: Settings, model: Path, *, copies: int = 1) -> None:
    """Write the use case's file, and copies of it under other names, and have each served."""
    text = (PROJECT / "use_cases" / f"{use_case.name}.yaml").read_text()
    described = Package.read(model / PACKAGE)
    for number in range(copies):
        name = use_case.name if number == 0 else f"{use_case.name}_{number}"
        path = settings.use_cases / f"{name}.yaml"
        path.write_text(text.replace(f"name: {use_case.name}\n", f"name: {name}\n", 1))
        copy = load(path)
        own = settings.var / "packages" / name
        own.mkdir(parents=True)
        (own / MODEL).write_bytes((model / MODEL).read_bytes())
        described.model_copy(update={"use_case": name, "use_case_hash": copy.hash}).write(own / PACKAGE)
        release(copy, settings, own)


def _peers(
    folder: Path, peers: Sequence[Server], say: Callable[[str], None]
) -> Iterator[tuple[Server, Path, Settings]]:
    for server in peers:
        python = prepare(server.peer, say) if server.peer else None
        if python is not None:
            yield server, python, Settings(var=folder / "peers")


def check(found: Running, model: Path, rows: Sequence[Row]) -> None:
    """Refuse a server that answers otherwise than onnxruntime.

    Raises
    ------
    RuntimeError
        It does.
    """
    asked = rows[:50]
    told = np.array(ask(found.port, found.server, asked))
    (wanted,) = load_session(model / MODEL).run(["probabilities"], {"numbers": np.array(asked, dtype=np.float32)})
    if told.shape != wanted.shape or not np.allclose(told, wanted, atol=1e-5):
        raise RuntimeError(f"{found.server.name} answers otherwise than onnxruntime: {told[:3]}, {wanted[:3]}")


def measure_rounds(
    servers: Sequence[Running],
    what: str,
    questions: Sequence[Sequence[Row]],
    clients: int,
    plan: Plan,
) -> tuple[Measured, ...]:
    """Every server under the same questions, in interleaved rounds after one that warms up."""
    rounds: dict[str, list[tuple[Load, float]]] = {found.server.name: [] for found in servers}
    for number in range(-1, plan.rounds):
        for found in servers:
            plan.say(f"{what}, round {number + 1} of {plan.rounds}: {found.server.name}")
            bodies = plan.folder / f"{found.port}.jsonl"
            bodies.write_text("".join(f"{json.dumps(found.server.body(rows))}\n" for rows in questions))
            spent = found.cpu_seconds()
            load = put_load(found.port, found.server.path, bodies, seconds=plan.seconds, clients=clients)
            if number >= 0:  # the first one warms up
                rounds[found.server.name].append((load, found.cpu_seconds() - spent))
    return tuple(_summarise(found, what, rounds[found.server.name]) for found in servers)


def _summarise(found: Running, what: str, rounds: Sequence[tuple[Load, float]]) -> Measured:
    loads = [load for load, _ in rounds]
    return Measured(
        name=found.server.name,
        what=what,
        rate=statistics.median(load.rate for load in loads),
        p50=statistics.median(load.p50 for load in loads),
        p99=statistics.median(load.p99 for load in loads),
        cpu=statistics.median(spent / max(1, load.requests) for load, spent in rounds),
        memory_mb=found.memory_mb(),
        start_seconds=found.start_seconds,
        failures=sum(load.failures for load in loads),
        requests=sum(load.requests for load in loads),
        n=len(rounds),
    )


def measure_raw(model: Path, questions: Sequence[Sequence[Row]]) -> float:
    """Rows a second of onnxruntime alone, one thread, from arrays to arrays: the median of 20."""
    session = load_session(model / MODEL)
    taken = []
    for number in range(20):
        rows = np.array(questions[number % len(questions)], dtype=np.float32)
        began = time.perf_counter()
        session.run(["label", "probabilities"], {"numbers": rows})
        taken.append(len(rows) / (time.perf_counter() - began))
    return statistics.median(taken)


def draw_scoring(found: ScoringBench) -> Iterator[Table]:
    """A table of single rows and one of large requests."""
    yield _draw(found.single, f"1 row, {CLIENTS} clients by {found.generator}", rows=1)
    title = f"{LARGE:,} rows, {LARGE_CLIENTS} clients; onnxruntime alone, one thread: {found.raw:,.0f} rows/s"
    yield _draw(found.large, title, rows=LARGE)


def _draw(measured: Sequence[Measured], title: str, *, rows: int) -> Table:
    table = Table(title=title, caption=f"medians of {measured[0].n} interleaved rounds; ours records every answer")
    for name in ("server", "rows/s", "ours is", "p50, ms", "p99, ms", "CPU µs", "RSS, MB", "start, s", "failed"):
        table.add_column(name, justify="left" if name == "server" else "right")
    for row in measured:
        table.add_row(
            row.name,
            f"{row.rate * rows:,.0f}",
            f"{measured[0].rate / row.rate:.1f} x",
            f"{row.p50 * 1e3:.2f}",
            f"{row.p99 * 1e3:.2f}",
            f"{row.cpu * 1e6:,.0f}",
            f"{row.memory_mb:.0f}",
            f"{row.start_seconds:.2f}",
            f"{row.failures} of {row.requests}",
        )
    return table
