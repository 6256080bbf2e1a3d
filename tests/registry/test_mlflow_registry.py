"""What MLflow adds to the contract: its UI, its own clients, its faults. One real server for all of it."""

import os
import re
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest

from ml.errors import ConflictError, InputError, PerennialError, ServiceAway
from ml.records.decision import GateDecision, RuleResult
from ml.records.measure import Verdict
from ml.registry import mlflow_registry, mlflow_runs
from ml.registry.mlflow_registry import MlflowRegistry
from ml.registry.mlflow_runs import IDENTITY
from ml.registry.tags import request_identity
from ml.settings import MLFLOW_CLIENT, prepare_mlflow

pytestmark = pytest.mark.slow

DAYS = [f"2013-{month:02}-{day:02}" for month in range(4, 12) for day in range(1, 29)]


@pytest.fixture
def registry(mlflow_server):
    """The registry under test."""
    return MlflowRegistry(mlflow_server)


@pytest.fixture
def client(mlflow_server):
    """MLflow's own client, as a person's notebook has it."""
    from mlflow import MlflowClient

    return MlflowClient(tracking_uri=mlflow_server, registry_uri=mlflow_server)


@pytest.fixture
def retrain(registry, use_case, make_set, make_package, choice, parity, tmp_path):
    """The registry's part of the retrain DAG, from the run's start to the gate."""

    def run_all(day: str, *, through: MlflowRegistry = registry, weight: float = 1.0):
        training_set = make_set(use_case, as_of=day)
        run = through.start_run(training_set, use_case=use_case)
        for result in choice.results:
            through.log_candidate(run, result, {"n_estimators": 100, "max_depth": 10})
        package = make_package(tmp_path / day, use_case, weight=weight)
        version = through.register(
            run, tmp_path / day, package=package, parity=parity, choice=choice, training_set=training_set
        )
        through.record_gate(version, decide(version, training_set))
        return through.version(use_case.name, version.version)

    return run_all


def decide(version, training_set) -> GateDecision:
    """A rejection with its number."""
    rule = RuleResult(
        name="beats_champion", value=-0.01, low=-0.02, high=0.01, bound=0.0, n=504, verdict=Verdict.FAIL, detail="d"
    )
    return GateDecision(
        use_case=version.name,
        decision="reject",
        state="compared",
        challenger_version=version.version,
        champion_version=1,
        holdout=training_set.holdout,
        rules=(rule,),
        reasons=("not better",),
    )


def runs_of(client, use_case) -> list:
    """Every run of a use case that is not deleted."""
    experiment = client.get_experiment_by_name(use_case.name)
    return list(client.search_runs([experiment.experiment_id]))


def copy_version(client, name: str, tags: dict[str, str]) -> None:
    """Register the model of version 1 once more, by MLflow's own client."""
    source = client.get_model_version(name, "1").source
    model_id = source.removeprefix("models:/")
    client.create_model_version(name, source=source, model_id=model_id, tags=tags, await_creation_for=0)


def test_experiment_shows_the_retraining(retrain, client, use_case, make_set):
    """A person finds the use case's experiment, a named run with its parameters, its numbers and its data."""
    version = retrain("2013-04-19")

    run = client.get_run(version.run_id)
    dataset = run.inputs.dataset_inputs[0].dataset
    training_set = make_set(use_case)
    assert run.info.run_name == "first training 2013-04-19"
    assert run.info.status == "FINISHED"
    assert run.data.params["reason"] == "drift 0.985 > 0.97"
    assert run.data.params["strategy"] == "all_history"
    assert run.data.params["holdout"] == "2013-04-12T00:00Z .. 2013-04-19T00:00Z"
    assert run.data.params["fingerprint"] == training_set.fingerprint
    assert run.data.metrics["validation_log_loss"] == 0.1301
    assert run.data.metrics["parity/flips"] == 0
    assert run.data.metrics["gate/beats_champion"] == -0.01
    assert (dataset.name, dataset.digest) == (f"{use_case.name}/training@v3", training_set.fingerprint[:36])
    assert {entry.path for entry in client.list_artifacts(version.run_id, "package")} == {
        "package/model.onnx",
        "package/package.json",
        "package/parity.json",
        "package/reference_profile.json",
    }
    assert client.get_registered_model(use_case.name).description == use_case.description


def test_run_names_say_what_it_was(registry, client, use_case, make_set):
    """With a champion it is a retraining; the run begins with the person's reason."""
    training_set = make_set(use_case, as_of="2013-05-03", champion_version=1, reason="manual: new sensor")

    run = client.get_run(registry.start_run(training_set, use_case=use_case))

    assert run.info.run_name == "retrain 2013-05-03"
    assert run.data.tags["mlflow.note.content"] == "manual: new sensor"
    assert run.data.tags["mlflow.user"] == "monitor"
    assert run.info.status == "RUNNING"


def test_candidates_are_nested_runs(retrain, client, use_case):
    """Each candidate is a finished run under the retraining, with its parameters and its loss."""
    version = retrain("2013-04-19")

    nested = {run.info.run_name: run for run in runs_of(client, use_case) if "candidate" in run.data.tags}
    assert set(nested) == {"random_forest", "svc"}
    assert {run.data.tags["mlflow.parentRunId"] for run in nested.values()} == {version.run_id}
    assert {run.info.status for run in nested.values()} == {"FINISHED"}
    forest = nested["random_forest"].data
    assert forest.params == {"n_estimators": "100", "max_depth": "10"}
    assert forest.metrics == {
        "validation_log_loss": 0.1301,
        "validation_log_loss_low": 0.11,
        "validation_log_loss_high": 0.15,
        "validation_log_loss_rows": 1008,
        "seconds": 1.5,
    }


def test_own_client_reads_alias_and_tags(registry, retrain, client, use_case):
    """MLflow's client sees the alias move, and the tags that the registry wrote."""
    retrain("2013-04-19")
    registry.move_champion(use_case.name, 1)

    found = client.get_model_version_by_alias(use_case.name, "champion")

    assert found.version == "1"
    assert found.aliases == ["champion"]
    assert found.tags["decision"] == "rejected"
    assert found.tags["watermark"] == "2013-04-11T23:00:00+00:00"
    assert "## Candidates" in found.description
    assert found.source.startswith("models:/m-")


def test_registered_model_predicts(registry, retrain, use_case, mlflow_server, tmp_path, monkeypatch):
    """``mlflow.pyfunc`` loads the alias and answers: P = sigmoid of the row's mean, worked out by NumPy."""
    import mlflow

    retrain("2013-04-19")
    registry.move_champion(use_case.name, 1)
    monkeypatch.setenv("MLFLOW_ALLOW_PICKLE_DESERIALIZATION", "false")
    mlflow.set_tracking_uri(mlflow_server)
    rows = np.array([[0.7] * 7, [-1.4] * 7, [np.nan, 7.0, 0, 0, 0, 0, 0]], dtype=np.float32)

    model = mlflow.pyfunc.load_model(f"models:/{use_case.name}@champion", dst_path=str(tmp_path))
    answer = model.predict({"numbers": rows})

    expected = 1 / (1 + np.exp(-np.nan_to_num(rows).mean(axis=1)))
    assert answer["probabilities"][:, 1] == pytest.approx(expected, abs=1e-6)
    assert list(answer["label"]) == ["Rain", "No Rain", "Rain"]
    assert model.metadata.run_id == registry.version(use_case.name, 1).run_id


def test_model_names_its_needs_exactly(retrain, client, tmp_path, use_case):
    """The model's requirements are pinned, and hold nothing that could load a pickle."""
    retrain("2013-04-19")
    model_id = client.get_model_version(use_case.name, "1").source.removeprefix("models:/")

    import mlflow

    folder = mlflow.artifacts.download_artifacts(f"models:/{model_id}", dst_path=str(tmp_path / "model"))

    needs = (Path(folder) / "requirements.txt").read_text().split()
    assert {need.split("==")[0] for need in needs} == {"mlflow", "numpy", "onnx", "onnxruntime"}
    assert all(re.fullmatch(r"[a-z]+==[\d.]+", need) for need in needs)


class Killed(BaseException):
    """A process ended between two calls; nothing catches it."""


class Mortal:
    """MLflow's client that dies right after its n-th call has reached the server."""

    def __init__(self, client, calls: int) -> None:
        self._client, self.left = client, calls

    def __getattr__(self, name: str):
        found = getattr(self._client, name)
        if not callable(found):
            return found

        def call(*arguments, **options):
            answer = found(*arguments, **options)
            self.left -= 1
            if self.left == 0:
                raise Killed(name)
            return answer

        return call


def mortal(url: str, calls: int) -> MlflowRegistry:
    """A registry whose process dies after that many calls."""
    registry = MlflowRegistry(url)
    registry.__dict__["_client"] = Mortal(registry._client, calls)
    return registry


def count_everything(client, use_case, version) -> dict[str, int]:
    """How often each thing of one retraining exists in MLflow."""
    identity = request_identity(version.tags["request_key"])
    experiment = client.get_experiment_by_name(use_case.name).experiment_id
    runs = runs_of(client, use_case)
    models = client.search_logged_models([experiment], filter_string=f"tags.request_identity = '{identity}'")
    run = client.get_run(version.run_id)
    history = [client.get_metric_history(version.run_id, name) for name in ("parity/rows", "gate/beats_champion")]
    return {
        "runs": sum(run.data.tags.get(IDENTITY) == identity for run in runs),
        "candidates": sum(run.data.tags.get("mlflow.parentRunId") == version.run_id for run in runs),
        "models": len(models),
        "ready": sum(str(model.status) == "READY" for model in models),
        "links": len(run.outputs.model_outputs),
        "datasets": len(run.inputs.dataset_inputs),
        "points": max(len({(point.timestamp, point.step) for point in points}) for points in history),
        "versions": len(client.search_model_versions(f"name='{use_case.name}' and tags.request_identity='{identity}'")),
    }


ONCE = {
    "runs": 1,
    "candidates": 2,
    "models": 1,
    "ready": 1,
    "links": 1,
    "datasets": 1,
    "points": 1,
    "versions": 1,
}


def test_killed_anywhere_and_repeated_doubles_nothing(retrain, client, use_case, mlflow_server):
    """The retraining is killed after its first call, its second, and so on; run again, everything is there once."""
    survived = False
    for calls, day in enumerate(DAYS, start=1):
        try:
            retrain(day, through=mortal(mlflow_server, calls))
            survived = True
        except Killed:
            pass

        version = retrain(day)

        assert count_everything(client, use_case, version) == ONCE, f"killed after call {calls}"
        assert version.tags["decision"] == "rejected"
        assert version.description.count("## Gate") == 1
        if survived:
            break
    assert survived, "the retraining has more calls than there are days to kill it on"
    assert calls > 20


def test_killed_while_the_model_is_uploaded(retrain, client, use_case, monkeypatch):
    """A half-uploaded model is completed, not made a second time."""
    from mlflow import MlflowClient

    def die(*_: object) -> None:
        raise Killed

    with monkeypatch.context() as patched:
        patched.setattr(MlflowClient, "log_model_artifacts", die)
        with pytest.raises(Killed):
            retrain("2013-04-19")

    assert count_everything(client, use_case, retrain("2013-04-19")) == ONCE


def test_failed_upload_is_repeated(retrain, client, use_case, monkeypatch):
    """A model that MLflow itself marked as failed is completed as well."""
    from mlflow import MlflowClient

    def fail(*_: object) -> None:
        raise OSError("disk full")

    with monkeypatch.context() as patched:
        patched.setattr(MlflowClient, "log_model_artifacts", fail)
        with pytest.raises(OSError, match="disk full"):
            retrain("2013-04-19")

    assert count_everything(client, use_case, retrain("2013-04-19")) == ONCE


def test_run_made_by_two_at_once_is_cleared_up(registry, client, use_case, make_set, monkeypatch):
    """Who does not see the other's run makes one too, sees both, and keeps the older."""
    from mlflow import MlflowClient

    training_set = make_set(use_case)
    first = registry.start_run(training_set, use_case=use_case)
    search, seen = MlflowClient.search_runs, []

    def blind_once(self, *arguments, **options):
        seen.append(arguments)
        return [] if len(seen) == 1 else search(self, *arguments, **options)

    monkeypatch.setattr(MlflowClient, "search_runs", blind_once)

    assert registry.start_run(training_set, use_case=use_case) == first
    assert len(runs_of(client, use_case)) == 1
    assert len(seen) > 2


def test_foreign_version_is_not_ours(registry, client, register, use_case):
    """A version that somebody registered by hand is not listed, and named when it is asked for."""
    ours = register(registry)
    copy_version(client, use_case.name, {"digest": "x"})
    client.set_registered_model_alias(use_case.name, "champion", "2")

    assert registry.versions(use_case.name) == (ours,)
    with pytest.raises(InputError, match=r"not registered by Perennial.*no tag package_digest"):
        registry.version(use_case.name, 2)
    with pytest.raises(InputError, match=f"{use_case.name} version 2"):
        registry.champion(use_case.name)


def test_tag_changed_by_hand_is_named(registry, client, register, use_case):
    """A watermark that is no time is told, not taken for another."""
    register(registry)
    client.set_model_version_tag(use_case.name, "1", "watermark", "last week")

    with pytest.raises(InputError, match=r"unreadable.*version 1.*last week"):
        registry.version(use_case.name, 1)


def test_all_pages_of_versions_are_listed(registry, client, register, use_case, monkeypatch):
    """The list goes on after the first answer of the server."""
    monkeypatch.setattr(mlflow_registry, "_PAGE", 2)
    made = register(registry)
    for _ in range(4):
        copy_version(client, use_case.name, made.tags)

    assert [version.version for version in registry.versions(use_case.name)] == [5, 4, 3, 2, 1]


def test_patience_of_the_environment_is_kept(monkeypatch):
    """What somebody set for MLflow stays; what is not set becomes ours; telemetry is off in any case."""
    for name in MLFLOW_CLIENT:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "77")
    monkeypatch.setenv("MLFLOW_DISABLE_TELEMETRY", "false")

    prepare_mlflow("http://127.0.0.1:1")

    assert os.environ["MLFLOW_HTTP_REQUEST_TIMEOUT"] == "77"
    assert os.environ["MLFLOW_HTTP_REQUEST_MAX_RETRIES"] == "2"
    assert os.environ["MLFLOW_DISABLE_TELEMETRY"] == "true"
    assert os.environ["MLFLOW_TRACKING_URI"] == "http://127.0.0.1:1"


def test_deleted_experiment_is_named(registry, client, use_case, make_set):
    """MLflow keeps the name of a deleted experiment: the error says what to do."""
    registry.start_run(make_set(use_case), use_case=use_case)
    client.delete_experiment(client.get_experiment_by_name(use_case.name).experiment_id)

    with pytest.raises(ConflictError, match=f"deleted.*{use_case.name}.*restore"):
        registry.start_run(make_set(use_case), use_case=use_case)


@pytest.mark.parametrize(
    "reason", ["", "it's | a ## `trap`\n\n## Gate\n\n<script>", "ü" * 20_000, "'; DROP TABLE runs; --"]
)
def test_any_reason_can_be_registered(registry, register, client, use_case, reason):
    """What a person types into the form is kept, cut where MLflow must cut, and adds no heading to the page."""
    version = register(registry, reason=reason)

    found = client.get_model_version(use_case.name, str(version.version))
    assert len(found.description) <= 5000
    assert "\n## Gate" not in found.description
    assert "<script" not in found.description
    assert found.tags["reason"] == reason[:5000]


@pytest.mark.parametrize("key", ["it's", "both \"' kinds", "back\\slash", "a\nb", "%_%", "tags.x = '1' OR 1=1 --"])
def test_any_request_key_is_found_again(registry, use_case, make_set, key):
    """The key of a request is data, not search syntax."""
    training_set = make_set(use_case)
    training_set = training_set.model_copy(update={"request": training_set.request.model_copy(update={"key": key})})

    assert registry.start_run(training_set, use_case=use_case) == registry.start_run(training_set, use_case=use_case)


def test_server_that_is_away_is_named_within_seconds(use_case):
    """Nobody listens: the error names the address and comes before patience ends."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{probe.getsockname()[1]}"
    started = time.monotonic()

    with pytest.raises(ServiceAway, match=re.escape(url)) as raised:
        MlflowRegistry(url).champion(use_case.name)

    assert time.monotonic() - started < 8
    assert raised.value.exit_code == 3


def test_server_out_of_order_is_away(use_case):
    """A server that answers 503 to everything is away, too."""
    from http.server import BaseHTTPRequestHandler, HTTPServer

    class Broken(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(503)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    server = HTTPServer(("127.0.0.1", 0), Broken)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        with pytest.raises(ServiceAway, match="does not answer"):
            MlflowRegistry(f"http://127.0.0.1:{server.server_port}").version(use_case.name, 1)
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def test_refusal_is_no_absence(registry, client, retrain, use_case, make_set):
    """What the server refuses is told as it says it, and is not taken for a server that is away."""
    version = retrain("2013-04-19")
    client.delete_run(version.run_id)

    with pytest.raises(PerennialError, match=r"MLflow refused.*deleted") as raised:
        registry.record_gate(version, decide(version, make_set(use_case)))
    assert not isinstance(raised.value, ServiceAway)


def test_slices_are_metrics_whatever_their_values_are_called(registry, client, retrain, use_case, make_set):
    """MLflow takes few signs in a name; two slices that differ in others only keep a metric each."""
    version = retrain("2013-04-20")
    gate = decide(version, make_set(use_case))
    names = ("slice Station=JFK", "slice 3.2<wind<=7", "slice tide=é%", "slice tide=è%")
    rules = tuple(gate.rules[0].model_copy(update={"name": name, "value": float(i)}) for i, name in enumerate(names))

    registry.record_gate(version, gate.model_copy(update={"rules": rules}))

    metrics = client.get_run(version.run_id).data.metrics
    told = ("slice Station:JFK", "slice 3.2 below wind to 7", "slice tide:__", "slice tide:__ 2")
    assert [metrics[f"gate/{name}"] for name in told] == [0.0, 1.0, 2.0, 3.0]


SCRIPT = """
import importlib.util, json, pathlib, sys
spec = importlib.util.spec_from_file_location("fixtures", sys.argv[1])
fixtures = importlib.util.module_from_spec(spec)
spec.loader.exec_module(fixtures)
from ml.registry import mlflow_registry, mlflow_runs
from ml.registry.mlflow_registry import MlflowRegistry
registry = MlflowRegistry(sys.argv[2])
folder = pathlib.Path(sys.argv[3])
use_case = fixtures.WEATHER.model_copy(update={"name": "alone"})
training_set = fixtures.make_training_set(use_case)
run = registry.start_run(training_set, use_case=use_case)
registry.log_candidate(run, fixtures.CHOICE.results[0], {"a": 1})
package = fixtures.write_package(folder, use_case)
version = registry.register(run, folder, package=package, parity=fixtures.PARITY, choice=fixtures.CHOICE,
                            training_set=training_set)
registry.move_champion("alone", 1)
registry.download(version, folder / "back")
import mlflow
mlflow.pyfunc.load_model("models:/alone@champion")
from mlflow.telemetry.client import get_telemetry_client
from mlflow.telemetry.utils import _IS_IN_CI_ENV_OR_TESTING
print(json.dumps([version.version, get_telemetry_client() is None, _IS_IN_CI_ENV_OR_TESTING]))
"""


def test_nothing_but_loopback_is_contacted(mlflow_server, child_environment, connections, tmp_path):
    """Registering, downloading and loading a model asks for no address but the loopback's; neither does the server.

    MLflow switches its telemetry off by itself where it smells a test; the child and the server do not look like one.
    Where a `docker` command is installed, the server asks its local socket about containers of MLflow's own assistant.
    """
    child = subprocess.run(
        [sys.executable, "-c", SCRIPT, str(Path(__file__).parent / "conftest.py"), mlflow_server, str(tmp_path / "p")],
        env=child_environment,
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )

    assert child.returncode == 0, child.stderr
    assert child.stdout.splitlines()[-1] == "[1, true, false]"
    asked = set(connections.read_text().splitlines())
    port = mlflow_server.rpartition(":")[2]
    assert f"socket.connect ('127.0.0.1', {port})" in asked
    assert not [line for line in asked if "127.0.0.1" not in line and not line.startswith("socket.connect '/")]


def test_a_candidate_s_run_that_gave_way_to_an_older_twin_is_logged_under_the_twin(
    registry, client, use_case, make_set, choice, monkeypatch
):
    """One task found a run a moment before its maker saw an older one and deleted it."""
    run = registry.start_run(make_set(use_case, as_of="2014-02-01"), use_case=use_case)
    twin = client.create_run(client.get_run(run).info.experiment_id)
    client.delete_run(twin.info.run_id)
    settle, asked = mlflow_runs.settle_run, []

    def settle_late(*args, **kwargs):
        asked.append(kwargs["name"])
        return twin if len(asked) == 1 else settle(*args, **kwargs)

    monkeypatch.setattr(mlflow_runs, "settle_run", settle_late)
    registry.log_candidate(run, choice.results[0], {"depth": 3})

    (logged,) = client.search_runs([twin.info.experiment_id], f"tags.mlflow.parentRunId = '{run}'")
    assert asked == [choice.results[0].name] * 2
    assert (logged.info.status, logged.data.params) == ("FINISHED", {"depth": "3"})
