"""Scoring one row over HTTP: ours, which records every answer before it leaves, beside peers that record nothing."""

from __future__ import annotations

import json
import os
import signal
import socket
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from urllib.request import urlopen

from benchmarks.table import Comparison
from ml.records.decision import RetrainRequest
from ml.records.release import ReleaseManifest
from ml.registry.manifest import digest_file, manifest_path, store_artifact
from ml.settings import PROJECT, Settings
from ml.store.lake import Lake
from ml.training.assemble import assemble
from ml.training.package import package
from ml.use_case import UseCase, load

ROUNDS, SECONDS = 5, 2.0
ROW = [4.5, 0.5, 20.0, 180.0, 16.0, 1013.0, 1.0]


@dataclass(frozen=True)
class Server:
    """A server that is up, and what it is asked."""

    name: str
    port: int
    path: str
    body: bytes


def compare_scoring(folder: Path, say: Callable[[str], None]) -> list[Comparison]:
    """Throughput of single rows, one worker each, 16 clients, in interleaved rounds.

    Parameters
    ----------
    folder
        For the model, the servers' files and logs.
    say
        Told of every step.
    """
    say("training the forest that all serve")
    use_case = load(PROJECT / "use_cases" / "harbour_weather.yaml")
    settings = Settings(var=folder, scoring_port=_free_port())
    model = _train(use_case, folder)
    _release(use_case, settings, model)
    with ExitStack() as stack:
        servers = [stack.enter_context(start(settings, model, say)) for start in (_ours, _fastapi, _mlflow)]
        rates: dict[str, list[float]] = {server.name: [] for server in servers}
        for number in range(ROUNDS):
            for server in servers:
                say(f"round {number + 1} of {ROUNDS}: {server.name}")
                rates[server.name].append(_measure(server, folder))
    ours, *peers = ((name, statistics.median(found)) for name, found in rates.items())
    return [
        Comparison("one row over HTTP, requests/s", ours[0], ours[1], name, rate, ours[1] / rate, n=ROUNDS)
        for name, rate in peers
    ]


def _train(use_case: UseCase, folder: Path) -> Path:
    until = use_case.training.history.until
    request = RetrainRequest(
        key="bench", use_case=use_case.name, as_of=until or datetime.now(UTC), reason="benchmark", actor="make bench"
    )
    lake = Lake(folder / "lake", use_case)
    found = assemble(use_case, request, lake=lake, home=PROJECT, champion_version=None, champion_watermark=None)
    package("random_forest", lake.read_training(found.data_version), found, use_case, folder / "model")
    return folder / "model"


def _release(use_case: UseCase, settings: Settings, model: Path) -> None:
    described = json.loads((model / "package.json").read_text())
    artifact = store_artifact(settings.releases, use_case.name, model)
    ReleaseManifest(
        use_case=use_case.name,
        sequence=1,
        model_name=use_case.name,
        model_version=1,
        digest=described["digest"],
        package_digest=digest_file(model / "package.json"),
        artifact=artifact,
        released_at=datetime.now(UTC),
        previous=None,
        reason="benchmark",
    ).write(manifest_path(settings.releases, use_case.name))


@contextmanager
def _ours(settings: Settings, model: Path, say: Callable[[str], None]) -> Iterator[Server]:
    command = [sys.executable, "-m", "ml.serving"]
    body = json.dumps({"data": [ROW]}).encode()
    server = Server("Perennial, every answer on disk", settings.scoring_port, "/score/harbour_weather", body)
    with _running(server, command, settings, f"http://127.0.0.1:{server.port}/health/ready", say):
        yield server


@contextmanager
def _fastapi(settings: Settings, model: Path, say: Callable[[str], None]) -> Iterator[Server]:
    body = json.dumps({"data": [ROW]}).encode()
    server = Server("FastAPI + onnxruntime", _free_port(), "/score", body)
    command = [sys.executable, "-m", "benchmarks.peers.fastapi_scoring", str(model / "model.onnx"), str(server.port)]
    with _running(server, command, settings, f"http://127.0.0.1:{server.port}/docs", say):
        yield server


@contextmanager
def _mlflow(settings: Settings, model: Path, say: Callable[[str], None]) -> Iterator[Server]:
    import mlflow
    import onnx

    logged = model.with_name("mlflow-model")
    mlflow.onnx.save_model(onnx.load(model / "model.onnx"), str(logged))
    body = json.dumps({"inputs": {"numbers": [ROW]}}).encode()
    server = Server("mlflow models serve", _free_port(), "/invocations", body)
    command = [sys.executable, "-m", "mlflow", "models", "serve", "-m", str(logged), "--env-manager", "local"]
    command += ["--host", "127.0.0.1", "--port", str(server.port), "--workers", "1"]
    with _running(server, command, settings, f"http://127.0.0.1:{server.port}/ping", say):
        yield server


@contextmanager
def _running(
    server: Server, command: list[str], settings: Settings, url: str, say: Callable[[str], None]
) -> Iterator[None]:
    say(f"starting {server.name}")
    path = settings.var / f"{server.port}.log"
    environment = settings.child_environment()
    environment["PATH"] = f"{Path(sys.executable).parent}:{environment['PATH']}"  # MLflow's looks for uvicorn there
    with path.open("wb") as log:
        process = subprocess.Popen(
            command, env=environment, cwd=PROJECT, stdout=log, stderr=log, start_new_session=True
        )
        try:
            _wait_until_answered(url, process, path)
            yield
        finally:
            _end(process)


def _wait_until_answered(url: str, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline and process.poll() is None:
        try:
            with urlopen(url, timeout=2):  # noqa: S310 - loopback
                return
        except OSError:
            time.sleep(0.2)
    raise RuntimeError(f"a server did not start: {log.read_text()[-2000:]}")


def _end(process: subprocess.Popen[bytes]) -> None:
    if process.poll() is not None:
        return
    os.killpg(process.pid, signal.SIGTERM)
    try:
        process.wait(20)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait(20)


def _measure(server: Server, folder: Path) -> float:
    body = folder / f"{server.port}.json"
    body.write_bytes(server.body)
    command = [sys.executable, "-m", "benchmarks.load", str(server.port), server.path, str(body), str(SECONDS)]
    found = json.loads(subprocess.run(command, cwd=PROJECT, capture_output=True, check=True, text=True).stdout)
    if found["failures"]:
        raise RuntimeError(f"{server.name} failed {found['failures']} requests")
    return float(found["per_second"])


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
