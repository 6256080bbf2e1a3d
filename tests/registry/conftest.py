"""Packages with hand-made graphs, the two registries, and a real MLflow server that lives as long as the session."""

import itertools
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from ml.records.decision import CandidateResult, Choice, Parity, RetrainRequest, TrainingSet
from ml.records.measure import Estimate, Verdict, Window
from ml.records.profile import BlockCounts, NumberProfile, Profile, ReferenceProfile
from ml.records.release import GoldenRow, Package
from ml.registry.manifest import MODEL, PACKAGE, digest_file
from ml.registry.memory import MemoryRegistry
from ml.registry.mlflow_registry import MlflowRegistry
from ml.settings import Settings
from ml.store.control import ControlStore
from ml.training.graph import REFERENCE
from ml.use_case import UseCase, load

WEATHER = load(Path(__file__).parents[2] / "use_cases" / "harbour_weather.yaml")
NUMBERS = itertools.count(1)

#: Writes down every address that a process asks for, from inside the process.
LISTENER = """
import sys

def listen(event, arguments):
    if event in ("socket.connect", "socket.getaddrinfo"):
        address = arguments[1] if event == "socket.connect" else arguments[0]
        with open(r"{log}", "a", encoding="utf-8") as log:
            log.write(f"{{event}} {{address!r}}\\n")

sys.addaudithook(listen)
"""


def day(text: str) -> datetime:
    """Midnight of a day, UTC."""
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def graph(weight: float, *, numbers: int, categories: int) -> onnx.ModelProto:
    """P(second class) = sigmoid(weight * (mean of present numbers + share of categories "wet"))."""
    nodes, inputs, sums = [], [], []
    if numbers:
        inputs.append(helper.make_tensor_value_info("numbers", TensorProto.FLOAT, [None, numbers]))
        nodes += [
            helper.make_node("IsNaN", ["numbers"], ["absent"]),
            helper.make_node("Where", ["absent", "zero", "numbers"], ["present"]),
            helper.make_node("ReduceMean", ["present"], ["n"], axes=[1], keepdims=1),
        ]
        sums.append("n")
    if categories:
        inputs.append(helper.make_tensor_value_info("categories", TensorProto.STRING, [None, categories]))
        nodes += [
            helper.make_node(
                "LabelEncoder",
                ["categories"],
                ["codes"],
                domain="ai.onnx.ml",
                keys_strings=["wet"],
                values_floats=[1.0],
                default_float=0.0,
            ),
            helper.make_node("ReduceMean", ["codes"], ["c"], axes=[1], keepdims=1),
        ]
        sums.append("c")
    nodes += [
        helper.make_node("Sum", sums, ["total"]),
        helper.make_node("Mul", ["total", "weight"], ["scaled"]),
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
        helper.make_tensor("names", TensorProto.STRING, [2], [b"No Rain", b"Rain"]),
    ]
    outputs = [
        helper.make_tensor_value_info("label", TensorProto.STRING, [None]),
        helper.make_tensor_value_info("probabilities", TensorProto.FLOAT, [None, 2]),
    ]
    body = helper.make_graph(nodes, "hand_made", inputs, outputs, constants)
    versions = [helper.make_opsetid("", 17), helper.make_opsetid("ai.onnx.ml", 3)]
    return helper.make_model(body, opset_imports=versions, ir_version=9)


def answer(row: tuple, use_case: UseCase, weight: float) -> GoldenRow:
    """Golden row with the answer worked out by NumPy, not by the graph."""
    by_name = dict(zip(use_case.features, row, strict=True))
    numbers = [0.0 if by_name[name] is None else by_name[name] for name in use_case.numbers]
    categories = [by_name[name] == "wet" for name in use_case.categories]
    total = (np.mean(numbers) if numbers else 0.0) + (np.mean(categories) if categories else 0.0)
    second = 1 / (1 + np.exp(-weight * total))
    return GoldenRow(row=row, label="Rain" if second > 0.5 else "No Rain", probabilities=(1 - second, second))


def write_package(folder: Path, use_case: UseCase = WEATHER, *, weight: float = 1.0) -> Package:
    """A whole package folder: graph, package file, reference profile."""
    folder.mkdir(parents=True, exist_ok=True)
    model = graph(weight, numbers=len(use_case.numbers), categories=len(use_case.categories))
    (folder / MODEL).write_bytes(model.SerializeToString())
    rng = np.random.default_rng(7)
    rows = []
    for i in range(20):
        values = rng.normal(size=len(use_case.features)).round(3).tolist()
        kinds = [feature.type for feature in use_case.features.values()]
        row = [("wet", "dry", None)[i % 3] if k == "category" else v for k, v in zip(kinds, values, strict=True)]
        row[0] = None if i == 0 else row[0]
        rows.append(answer(tuple(row), use_case, weight))
    package = Package(
        use_case=use_case.name,
        use_case_hash=use_case.hash,
        digest=digest_file(folder / MODEL),
        size_bytes=(folder / MODEL).stat().st_size,
        numbers=use_case.numbers,
        categories=use_case.categories,
        classes=use_case.target.class_names,
        golden_rows=tuple(rows),
        libraries={"onnx": onnx.__version__},
    )
    package.write(folder / PACKAGE)
    column = NumberProfile(edges=(0.0,), counts=(1, 2), missing=0, mean=0.5, m2=1.0, minimum=-1.0, maximum=2.0)
    whole = Profile(window=None, n=3, columns={"Humidity": column})
    reference = ReferenceProfile(
        use_case=use_case.name,
        whole=whole,
        positions=(0,),
        rows=(3,),
        counts={"Humidity": BlockCounts.pack(np.array([[1, 2, 0]]))},
        fingerprint="f" * 64,
    )
    reference.write(folder / REFERENCE)
    return package


def make_training_set(
    use_case: UseCase = WEATHER, *, as_of: str = "2013-04-19", reason: str = "drift 0.985 > 0.97", **changes: object
) -> TrainingSet:
    """Training set as of a day: four weeks of fit, two of validation, one of holdout."""
    end = day(as_of)
    request = RetrainRequest(
        key=f"{use_case.name}/{as_of}", use_case=use_case.name, as_of=end, reason=reason, actor="monitor"
    )
    content = {
        "use_case": use_case.name,
        "request": request,
        "data_version": 3,
        "fingerprint": "ab" * 32,
        "fit": Window(start=end - timedelta(days=49), end=end - timedelta(days=21)),
        "validation": Window(start=end - timedelta(days=21), end=end - timedelta(days=7)),
        "holdout": Window(start=end - timedelta(days=7), end=end),
        "n_fit": 2016,
        "n_validation": 1008,
        "n_holdout": 504,
        "watermark": end - timedelta(days=7, hours=1),
        "sources": {"history": 1500, "live": 2028},
        "quarantined": 2,
        "champion_version": None,
    }
    return TrainingSet.model_validate(content | changes)


CHOICE = Choice(
    chosen="random_forest",
    results=(
        CandidateResult(
            name="random_forest",
            loss=Estimate(value=0.1301, n=1008, low=0.11, high=0.15),
            metric="log_loss",
            seconds=1.5,
        ),
        CandidateResult(name="svc", loss=Estimate(value=0.1402, n=1008), metric="log_loss", seconds=2.5),
    ),
)
PARITY = Parity(n=504, flips=0, allowed_flips=0, largest_difference=2.5e-7, verdict=Verdict.PASS)


@pytest.fixture
def use_case() -> UseCase:
    """The weather under a name that no other test uses: the server is shared."""
    return WEATHER.model_copy(update={"name": f"weather_{next(NUMBERS)}"})


@pytest.fixture
def make_package():
    """Write a whole package folder; see :func:`write_package`."""
    return write_package


@pytest.fixture
def make_set():
    """Training set as of a day; see :func:`make_training_set`."""
    return make_training_set


@pytest.fixture
def choice() -> Choice:
    """The forest beside a support vector machine."""
    return CHOICE


@pytest.fixture
def parity() -> Parity:
    """No decision differs."""
    return PARITY


@pytest.fixture
def register(tmp_path, use_case):
    """Take a version through a registry as the retrain DAG does."""
    numbers = itertools.count(1)

    def take(registry, *, weight: float = 1.0, as_of: str = "2013-04-19", **changes: object):
        training_set = make_training_set(use_case, as_of=as_of, **changes)
        folder = tmp_path / f"package_{next(numbers)}"
        package = write_package(folder, use_case, weight=weight)
        run = registry.start_run(training_set, use_case=use_case)
        return registry.register(run, folder, package=package, parity=PARITY, choice=CHOICE, training_set=training_set)

    return take


@pytest.fixture
def control(tmp_path) -> ControlStore:
    """A control database with its ledger."""
    return ControlStore(f"sqlite:///{tmp_path}/control.db")


@pytest.fixture(params=["memory", pytest.param("mlflow", marks=pytest.mark.slow)])
def registry(request):
    """Each of the two registries: what holds for one holds for the other."""
    if request.param == "memory":
        return MemoryRegistry()
    return MlflowRegistry(request.getfixturevalue("mlflow_server"))


@pytest.fixture(scope="session")
def connections(tmp_path_factory) -> Path:
    """File of all addresses that the MLflow server and other children of ours asked for."""
    folder = tmp_path_factory.mktemp("connections")
    (folder / "sitecustomize.py").write_text(LISTENER.format(log=folder / "log.txt"))
    (folder / "log.txt").touch()
    return folder / "log.txt"


@pytest.fixture(scope="session")
def child_environment(tmp_path_factory, connections) -> dict[str, str]:
    """Environment as our processes get it, without what tells a library that it is being tested."""
    var = tmp_path_factory.mktemp("var")
    environment = Settings(var=var).child_environment(
        {"PYTHONPATH": str(connections.parent), "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
    )
    telling = ("PYTEST_CURRENT_TEST", "PYTEST_VERSION", "CI", "GITHUB_ACTIONS")
    return {name: value for name, value in environment.items() if name not in telling}


@pytest.fixture(scope="session")
def mlflow_server(tmp_path_factory, child_environment) -> Iterator[str]:
    """URL of an MLflow server of our own, on a free port of the loopback device."""
    folder = tmp_path_factory.mktemp("mlflow")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(port), "--workers", "1"]
    command += [
        "--backend-store-uri",
        f"sqlite:///{folder}/mlflow.db",
        "--artifacts-destination",
        f"{folder}/artifacts",
    ]
    with (folder / "log.txt").open("wb") as log:
        server = subprocess.Popen(
            command, env=child_environment, cwd=folder, stdout=log, stderr=log, start_new_session=True
        )
    try:
        wait_until_healthy(f"http://127.0.0.1:{port}", server, folder / "log.txt")
        yield f"http://127.0.0.1:{port}"
    finally:
        os.killpg(server.pid, signal.SIGTERM)
        try:
            server.wait(20)
        except subprocess.TimeoutExpired:
            os.killpg(server.pid, signal.SIGKILL)
            server.wait(20)


def wait_until_healthy(url: str, server: subprocess.Popen, log: Path) -> None:
    """Return when the server answers; fail with its log when it ends or takes longer than 100 seconds."""
    until = time.monotonic() + 100
    while time.monotonic() < until and server.poll() is None:
        try:
            with urllib.request.urlopen(f"{url}/health", timeout=2) as reply:  # noqa: S310 - loopback
                if reply.status == 200:
                    return
        except OSError:
            time.sleep(0.2)
    pytest.fail(f"MLflow did not start:\n{log.read_text()[-3000:]}")
