"""Scoring replicas as real processes on one port, with a small hand-made model whose answers are known on paper."""

from __future__ import annotations

import math
import signal
import socket
import subprocess
import sys
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from typing import Any, Self

from ml.records.release import GoldenRow, Package, ReleaseManifest
from ml.registry.manifest import MODEL, PACKAGE, digest_file, manifest_path, store_artifact
from ml.settings import PROJECT, Settings
from ml.store.lake import Lake
from ml.use_case import UseCase, load

FERRY = """
name: ferry
task: binary_classification
time_column: time
features:
  wind: {type: number, unit: km/h, range: [0, 200], nullable: true}
  load: {type: number}
  holiday: {type: boolean}
  pier: {type: category, values: [east, west], nullable: true}
  line: {type: category}
target: {column: late, classes: {"0": on time, "1": late}}
training: {history: {file: data/ferry.csv}}
"""

#: P(late) = sigmoid(WEIGHT * load), whatever else is said.
WEIGHT = 0.01

#: A replica that has not started, or not ended, by then never will; seconds.
PATIENCE = 60.0


def late_probability(load: float) -> float:
    """What the model answers, worked out without it."""
    return 1 / (1 + math.exp(-WEIGHT * load))


def ferry_row(load: float, *, wind: float | None = 20.0) -> dict[str, Any]:
    """A row; with a wind beyond 200 it is refused."""
    return {"wind": wind, "load": load, "holiday": False, "pier": "east", "line": "L1"}


class Clients(ABC):
    """Threads that ask from entering to leaving, each by :meth:`_ask` with its number, until ``_stop`` is set."""

    def __init__(self, count: int) -> None:
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._ask, args=(number,)) for number in range(count)]

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join(PATIENCE)

    @abstractmethod
    def _ask(self, client: int) -> None:
        """Ask until ``_stop`` is set."""


class Fleet:
    """An installation in a folder, and its replicas, which are started and ended here.

    Parameters
    ----------
    serving
        Keys of the use case's section ``serving``, as YAML.
    port
        That the replicas share; a free one when 0.
    """

    def __init__(self, folder: Path, *, serving: str = "{}", port: int = 0, replicas: int = 2) -> None:
        self.folder = folder
        (folder / "use_cases").mkdir(parents=True)
        (folder / "use_cases" / "ferry.yaml").write_text(f"{FERRY}serving: {serving}\n")
        self.use_case: UseCase = load(folder / "use_cases" / "ferry.yaml")
        self.settings = Settings(home=folder, scoring_port=port or free_port(), scoring_replicas=replicas)
        self.processes: dict[int, subprocess.Popen[bytes]] = {}
        self.lake = Lake(self.settings.lake, self.use_case)
        _release(self.settings, self.use_case, folder / "package")

    def start(self, number: int, command: Sequence[str] = ("-m", "ml.serving")) -> None:
        """Start a replica; it may not answer yet."""
        with self.log(number).open("ab") as log:
            self.processes[number] = subprocess.Popen(
                [sys.executable, *command, "--outbox-id", f"replica-{number}"],
                env=self.settings.child_environment({"PYTHONPATH": str(PROJECT)}),
                cwd=PROJECT,
                stdout=log,
                stderr=log,
            )

    def await_ready(self, number: int) -> None:
        """Return when a replica has written a heartbeat of its own: others may answer in its place.

        Raises
        ------
        RuntimeError
            It ended, or never got so far.
        """
        process, path = self.processes[number], self.settings.outbox / f"replica-{number}.heartbeat.json"
        until = time.monotonic() + PATIENCE
        while time.monotonic() < until and process.poll() is None:
            if path.exists() and f'"pid":{process.pid},' in path.read_text().replace(" ", ""):
                return
            time.sleep(0.01)
        raise RuntimeError(f"replica {number} did not start: {self.log(number).read_text()[-2000:]}")

    def kill(self, number: int) -> None:
        """End a replica as a power cut of its process would, and wait until it is gone."""
        self.processes[number].send_signal(signal.SIGKILL)
        self.processes[number].wait(PATIENCE)

    def stop(self) -> list[int]:
        """Exit codes of all replicas, asked to stop in order."""
        for process in self.processes.values():
            if process.poll() is None:
                process.terminate()
        return [process.wait(PATIENCE) for process in self.processes.values()]

    def log(self, number: int) -> Path:
        """What a replica says."""
        return self.folder / f"replica-{number}.log"

    @contextmanager
    def running(self, numbers: Sequence[int] = (0, 1)) -> Iterator[None]:
        """While these replicas serve; none is left afterwards."""
        try:
            for number in numbers:
                self.start(number)
            for number in numbers:
                self.await_ready(number)
            yield
        finally:
            self.end()

    def end(self) -> None:
        """Leave no process behind."""
        for process in self.processes.values():
            if process.poll() is None:
                process.kill()
                process.wait(PATIENCE)


class Caller:
    """One client's connection, opened again after each that broke."""

    def __init__(self, port: int, *, timeout: float = 30.0) -> None:
        self._port, self._timeout = port, timeout
        self._connection: HTTPConnection | None = None

    def post(self, path: str, body: bytes, headers: dict[str, str] | None = None) -> tuple[int, bytes] | None:
        """Status and content of a reply, None when the connection broke before it was whole."""
        return self.ask("POST", path, body, headers)

    def ask(
        self, method: str, path: str, body: bytes | None = None, headers: dict[str, str] | None = None
    ) -> tuple[int, bytes] | None:
        """The same by any method."""
        if self._connection is None:
            self._connection = HTTPConnection("127.0.0.1", self._port, timeout=self._timeout)
        try:
            self._connection.request(method, path, body, headers or {})
            reply = self._connection.getresponse()
            return reply.status, reply.read()
        except (OSError, HTTPException):
            self.close()
            return None

    def close(self) -> None:
        """Leave."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _release(settings: Settings, use_case: UseCase, folder: Path) -> None:
    folder.mkdir()
    (folder / MODEL).write_bytes(_graph(use_case))
    rows = [ferry_row(value) for value in (-50.0, 0.5, 80.0)]
    Package(
        use_case=use_case.name,
        use_case_hash=use_case.hash,
        digest=digest_file(folder / MODEL),
        size_bytes=(folder / MODEL).stat().st_size,
        numbers=use_case.numbers,
        categories=use_case.categories,
        classes=use_case.target.class_names,
        golden_rows=tuple(_golden(row, use_case) for row in rows),
        libraries={},
    ).write(folder / PACKAGE)
    ReleaseManifest(
        use_case=use_case.name,
        sequence=1,
        model_name=use_case.name,
        model_version=1,
        digest=digest_file(folder / MODEL),
        package_digest=digest_file(folder / PACKAGE),
        artifact=store_artifact(settings.releases, use_case.name, folder),
        released_at=datetime.now(UTC),
        previous=None,
        reason="benchmark",
    ).write(manifest_path(settings.releases, use_case.name))


def _golden(row: dict[str, Any], use_case: UseCase) -> GoldenRow:
    late = late_probability(row["load"])
    return GoldenRow(
        row=tuple(row.values()), label=use_case.target.class_names[late > 0.5], probabilities=(1 - late, late)
    )


def _graph(use_case: UseCase) -> bytes:
    from onnx import TensorProto, helper

    node, tensor, info = helper.make_node, helper.make_tensor, helper.make_tensor_value_info
    names = [name.encode() for name in use_case.target.class_names]
    constants = [
        tensor("place", TensorProto.INT64, [1], [use_case.numbers.index("load")]),
        tensor("one", TensorProto.FLOAT, [], [1.0]),
        tensor("weight", TensorProto.FLOAT, [], [WEIGHT]),
        tensor("names", TensorProto.STRING, [2], names),
    ]
    nodes = [
        node("Gather", ["numbers", "place"], ["load"], axis=1),
        node("Mul", ["load", "weight"], ["scaled"]),
        node("Sigmoid", ["scaled"], ["second"]),
        node("Sub", ["one", "second"], ["first"]),
        node("Concat", ["first", "second"], ["probabilities"], axis=1),
        node("ArgMax", ["probabilities"], ["winner"], axis=1, keepdims=0),
        node("Gather", ["names", "winner"], ["label"], axis=0),
        node("Identity", ["categories"], ["unused"]),
    ]
    inputs = [
        info("numbers", TensorProto.FLOAT, [None, len(use_case.numbers)]),
        info("categories", TensorProto.STRING, [None, len(use_case.categories)]),
    ]
    outputs = [info("label", TensorProto.STRING, [None]), info("probabilities", TensorProto.FLOAT, [None, 2])]
    body = helper.make_graph(nodes, "ferry", inputs, outputs, constants)
    return bytes(helper.make_model(body, opset_imports=[helper.make_opsetid("", 17)], ir_version=9).SerializeToString())
