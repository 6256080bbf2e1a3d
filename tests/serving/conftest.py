"""Releases of small hand-made graphs whose answers are known on paper, and the service as a real process."""

import contextlib
import itertools
import json
import math
import os
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import httpx
import onnx
import pytest
from onnx import TensorProto, helper

from ml.records.release import GoldenRow, Package, ReleaseManifest
from ml.records.row_record import encode_row, read_rows
from ml.registry.manifest import MODEL, PACKAGE, digest_file, manifest_path, store_artifact
from ml.registry.release_folder import ReleaseFolder
from ml.settings import Settings
from ml.store.telemetry import Telemetry
from ml.use_case import UseCase, load, load_all

HOME = Path(__file__).parents[2]

#: A use case with every kind of feature, beside the weather that has none of categories.
QUAY = """
name: quay
task: binary_classification
time_column: time
features:
  depth: {type: number, unit: m, range: [0, 100], nullable: true}
  load: {type: number}
  tug: {type: boolean}
  sea: {type: category, values: [dry, wet], nullable: true}
  berth: {type: category}
target: {column: late, classes: {"0": on time, "1": late}}
training: {history: {file: data/quay.csv}}
"""


def graph(weight: float, use_case: UseCase, *, root: bool = False) -> bytes:
    """P(second class) = sigmoid(weight * (mean of the numbers, missing as 0, + share of categories "wet")).

    With ``root`` the square root is taken of that mean, which is no number where it is negative.
    """
    numbers, categories = len(use_case.numbers), len(use_case.categories)
    first, second = use_case.target.class_names
    inputs = [helper.make_tensor_value_info("numbers", TensorProto.FLOAT, [None, numbers])]
    nodes = [
        helper.make_node("IsNaN", ["numbers"], ["absent"]),
        helper.make_node("Where", ["absent", "zero", "numbers"], ["present"]),
        helper.make_node("ReduceMean", ["present"], ["n"], axes=[1], keepdims=1),
    ]
    if categories:
        inputs.append(helper.make_tensor_value_info("categories", TensorProto.STRING, [None, categories]))
        encoding = {"keys_strings": ["wet"], "values_floats": [1.0], "default_float": 0.0}
        nodes += [
            helper.make_node("LabelEncoder", ["categories"], ["codes"], domain="ai.onnx.ml", **encoding),
            helper.make_node("ReduceMean", ["codes"], ["c"], axes=[1], keepdims=1),
        ]
    nodes += [
        helper.make_node("Sum", ["n", "c"] if categories else ["n"], ["total"]),
        helper.make_node("Sqrt" if root else "Identity", ["total"], ["taken"]),
        helper.make_node("Mul", ["taken", "weight"], ["scaled"]),
        helper.make_node("Sigmoid", ["scaled"], ["second"]),
        helper.make_node("Sub", ["one", "second"], ["first"]),
        helper.make_node("Concat", ["first", "second"], ["probabilities"], axis=1),
        helper.make_node("ArgMax", ["probabilities"], ["winner"], axis=1, keepdims=0),
        helper.make_node("Gather", ["names", "winner"], ["label"], axis=0),
    ]
    constants = [
        helper.make_tensor("zero", TensorProto.FLOAT, [], [0.0]),
        helper.make_tensor("one", TensorProto.FLOAT, [], [1.0]),
        helper.make_tensor("weight", TensorProto.FLOAT, [], [weight]),
        helper.make_tensor("names", TensorProto.STRING, [2], [first.encode(), second.encode()]),
    ]
    outputs = [
        helper.make_tensor_value_info("label", TensorProto.STRING, [None]),
        helper.make_tensor_value_info("probabilities", TensorProto.FLOAT, [None, 2]),
    ]
    body = helper.make_graph(nodes, "hand_made", inputs, outputs, constants)
    versions = [helper.make_opsetid("", 17), helper.make_opsetid("ai.onnx.ml", 3)]
    return helper.make_model(body, opset_imports=versions, ir_version=9).SerializeToString()


def second_probability(row: dict[str, object], use_case: UseCase, weight: float, *, root: bool = False) -> float:
    """What the graph answers for a row by name, worked out without it."""
    total = sum(float(row[name] or 0.0) for name in use_case.numbers) / len(use_case.numbers)
    if use_case.categories:
        total += sum(row[name] == "wet" for name in use_case.categories) / len(use_case.categories)
    return 1 / (1 + math.exp(-weight * (math.sqrt(total) if root else total)))


def golden_row(row: dict[str, object], use_case: UseCase, probability: float) -> GoldenRow:
    """Golden row with an answer worked out on paper."""
    label = use_case.target.class_names[probability > 0.5]
    return GoldenRow(row=tuple(row.values()), label=label, probabilities=(1 - probability, probability))


@dataclass
class Installation:
    """Folders of one installation, and what a release process does to them."""

    settings: Settings
    scratch: Path
    use_cases: dict[str, UseCase]
    numbers: Iterator[int] = field(default_factory=lambda: itertools.count(1))

    @property
    def outbox(self) -> Path:
        """File of the only replica's outbox."""
        return self.settings.outbox / "replica-0.sqlite"

    def package(
        self,
        name: str,
        *,
        weight: float,
        judged: float | None = None,
        root: bool = False,
        spoil: Callable[[bytes, int], bytes] = lambda content, _: content,
        seen: dict[str, dict] | None = None,
    ) -> Path:
        """Folder with a graph and its package; ``judged`` is the weight that the golden rows were answered with.

        ``spoil`` makes another graph of the graph and the number of golden rows; ``seen`` is what training has seen.
        """
        use_case, folder = self.use_cases[name], self.scratch / f"package-{next(self.numbers)}"
        folder.mkdir(parents=True)
        (folder / MODEL).write_bytes(spoil(graph(weight, use_case, root=root), 3))
        rows = [dict(good_row(use_case), **{use_case.numbers[0]: value}) for value in (None, 1.0, 30.0)]
        wanted = [second_probability(row, use_case, judged or weight, root=root) for row in rows]
        Package(
            use_case=name,
            use_case_hash=use_case.hash,
            digest=digest_file(folder / MODEL),
            size_bytes=(folder / MODEL).stat().st_size,
            numbers=use_case.numbers,
            categories=use_case.categories,
            classes=use_case.target.class_names,
            golden_rows=tuple(golden_row(row, use_case, p) for row, p in zip(rows, wanted, strict=True)),
            libraries={"onnx": onnx.__version__},
            **(seen or {}),
        ).write(folder / PACKAGE)
        return folder

    def release(self, name: str, *, version: int, sequence: int | None = None, **package: object) -> ReleaseManifest:
        """Release a graph as a version; what it is made of goes to :meth:`package`."""
        folder = self.package(name, **package)
        manifest = ReleaseManifest(
            use_case=name,
            sequence=version if sequence is None else sequence,
            model_name=name,
            model_version=version,
            digest=digest_file(folder / MODEL),
            package_digest=digest_file(folder / PACKAGE),
            artifact=store_artifact(self.settings.releases, name, folder),
            released_at=datetime(2013, 3, 1, tzinfo=UTC),
            previous=None,
            reason="test",
        )
        return self.publish(manifest)

    def publish(self, manifest: ReleaseManifest) -> ReleaseManifest:
        """Make a manifest the one in place."""
        manifest.write(manifest_path(self.settings.releases, manifest.use_case))
        return manifest

    def confirm(self, manifest: ReleaseManifest) -> ReleaseManifest:
        """Note that the replicas serve a manifest, as the release does."""
        ReleaseFolder(self.settings.releases, manifest.use_case).keep_as_fallback(manifest)
        return manifest

    def artifact(self, manifest: ReleaseManifest) -> Path:
        """Folder of a manifest's artifact."""
        return self.settings.releases / manifest.use_case / manifest.artifact

    def captured(self, kind: str = "request") -> list[dict]:
        """Payloads of the outbox with the columns beside them, in order."""
        query = "SELECT seq, use_case, request_id, received_at, payload, rows FROM captured WHERE kind = ? ORDER BY seq"
        names = ("seq", "use_case", "request_id", "received_at")
        with contextlib.closing(sqlite3.connect(self.outbox)) as db:
            return [
                dict(zip(names, (last - rows + 1 + i, *of), strict=True)) | told
                for last, *of, payload, rows in db.execute(query, (kind,))
                for i, told in enumerate([json.loads(payload)] if kind == "label" else read(payload, rows))
            ]


def read(record: bytes, rows: int) -> list[dict]:
    """Rows of a record of the outbox, each as the record of that row alone would have it."""
    return [json.loads(encode_row(row)) for row in read_rows(record, rows)]


def good_row(use_case: UseCase) -> dict[str, object]:
    """A row of a use case that has nothing wrong."""
    if use_case.name == "quay":
        return {"depth": 12.5, "load": 3.0, "tug": True, "sea": "wet", "berth": "B1"}
    return {
        "Temperature_C": 4.5,
        "Humidity": 0.5,
        "Wind_speed_kmph": 20.0,
        "Wind_bearing_degrees": 180.0,
        "Visibility_km": 16.0,
        "Pressure_millibars": 1013.0,
        "Current_weather_condition": 1,
    }


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@dataclass
class Service:
    """The scoring service as a process."""

    installation: Installation
    process: subprocess.Popen | None = None

    @property
    def url(self) -> str:
        """Base address."""
        return self.installation.settings.scoring_url

    def start(self, *options: str, program: str = "") -> None:
        """Start and return when it answers; ``program`` is Python that starts it with other limits."""
        environment = self.installation.settings.child_environment()
        log = (self.installation.scratch / "service.log").open("ab")
        with log:
            command = [sys.executable, *(["-c", program] if program else ["-m", "ml.serving"]), *options]
            self.process = subprocess.Popen(command, env=environment, cwd=HOME, stdout=log, stderr=log)
        until = time.monotonic() + 120
        while time.monotonic() < until and self.process.poll() is None:
            with contextlib.suppress(httpx.TransportError):
                httpx.get(f"{self.url}/health/live", trust_env=False)
                return
            time.sleep(0.01)
        pytest.fail(f"the service did not start:\n{self.log()}")

    def log(self) -> str:
        """All that it has said."""
        return (self.installation.scratch / "service.log").read_text()

    def end(self, how: signal.Signals = signal.SIGTERM) -> int:
        """Send a signal and return the exit code."""
        os.kill(self.process.pid, how)
        return self.process.wait(30)

    def client(self, **options: object) -> httpx.Client:
        """Client of this service."""
        return httpx.Client(base_url=self.url, trust_env=False, timeout=20, **options)

    def status(self, name: str = "quay") -> dict:
        """What it says about a use case."""
        content = httpx.get(f"{self.url}/status", trust_env=False).json()
        return next(entry for entry in content["use_cases"] if entry["use_case"] == name)

    def await_status(self, name: str = "quay", **wanted: object) -> dict:
        """Status once it is as wanted."""
        until = time.monotonic() + 20
        while time.monotonic() < until:
            status = self.status(name)
            if all(status[key] == value for key, value in wanted.items()):
                return status
            time.sleep(0.02)
        pytest.fail(f"wanted {wanted}, got {status}\n{self.log()}")


@pytest.fixture
def installation(tmp_path) -> Installation:
    """An installation of our own: the weather and the quay, nothing released, a free port."""
    folder = tmp_path / "use_cases"
    shutil.copytree(HOME / "use_cases", folder)
    (folder / "quay.yaml").write_text(QUAY)
    current = Settings(home=tmp_path, scoring_port=free_port())
    return Installation(current, tmp_path / "scratch", load_all(folder))


@pytest.fixture
def service(installation) -> Iterator[Service]:
    """The service, not started yet; ended at the end."""
    installation.scratch.mkdir(exist_ok=True)
    service = Service(installation)
    yield service
    if service.process is not None and service.process.poll() is None:
        service.end(signal.SIGKILL)


@pytest.fixture
def collect(installation, tmp_path):
    """Take the replica's spool and return events until a condition holds: call with it."""
    telemetry = Telemetry(f"sqlite:///{tmp_path}/control.db")

    def call(enough) -> tuple:
        until = time.monotonic() + 30
        while time.monotonic() < until:
            spool = installation.settings.telemetry / "replica-0.sqlite"
            if spool.exists():
                telemetry.take_spool(spool)
            events = telemetry.search(limit=10_000)
            if enough(events):
                return events
            time.sleep(0.1)
        pytest.fail(f"not told: {events}")

    call.telemetry = telemetry
    return call


@pytest.fixture(scope="session")
def quay(tmp_path_factory) -> UseCase:
    """The use case with every kind of feature."""
    path = tmp_path_factory.mktemp("quay") / "quay.yaml"
    path.write_text(QUAY)
    return load(path)


@pytest.fixture(scope="session")
def weather() -> UseCase:
    """The use case of the repository."""
    return load(HOME / "use_cases" / "harbour_weather.yaml")


@pytest.fixture(scope="session")
def row_of():
    """Make a row with nothing wrong; see :func:`good_row`."""
    return good_row


@pytest.fixture(scope="session")
def on_paper():
    """P(second class) of a row; see :func:`second_probability`."""
    return second_probability
