"""Scoring servers beside ours: what each is asked, what it answers, and how it is started in its own environment."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import psutil

from benchmarks.fleet import free_port
from benchmarks.peers.environment import BENTOML, FASTAPI, FOLDER, LITSERVE, MLFLOW, MLSERVER, Peer
from ml.settings import PROJECT, Settings
from ml.use_case import load

Row = list[float]

#: A server that does not answer by then never will, seconds.
_PATIENCE = 180.0


@dataclass(frozen=True)
class Start:
    """How a server is started: its commands, the folder they run in, and what they find in their environment."""

    commands: tuple[list[str], ...]
    folder: Path = PROJECT
    environment: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Server:
    """A server: what it is asked and what it answers.

    Attributes
    ----------
    peer
        Whose environment it runs in, ours when None.
    start
        How it is started, of its Python, the model's file, a folder of its own and a port.
    body
        Question about rows.
    read
        Probabilities of an answer, one list per row.
    """

    name: str
    peer: Peer | None
    path: str
    start: Callable[[Path, Path, Path, int], Start]
    body: Callable[[Sequence[Row]], Any]
    read: Callable[[Any], list[list[float]]]


@dataclass(frozen=True)
class Running:
    """A server that is up.

    Attributes
    ----------
    start_seconds
        From its start to its first right answer.
    processes
        That were started; they may have children.
    """

    server: Server
    port: int
    start_seconds: float
    processes: tuple[psutil.Process, ...]

    def cpu_seconds(self) -> float:
        """Processor time of all its processes so far, seconds."""
        return sum(sum(process.cpu_times()[:2]) for process in self._tree())

    def memory_mb(self) -> float:
        """Resident memory of all its processes, MB; what they share counts in each."""
        return sum(process.memory_info().rss for process in self._tree()) / 1e6

    def _tree(self) -> list[psutil.Process]:
        return [one for process in self.processes for one in (process, *process.children(recursive=True))]


def ask(port: int, server: Server, rows: Sequence[Row]) -> list[list[float]]:
    """Probabilities that a server answers.

    Raises
    ------
    OSError
        It does not answer, or answers an error.
    """
    body = json.dumps(server.body(rows)).encode()
    url = f"http://127.0.0.1:{port}{server.path}"
    with urlopen(Request(url, body, {"Content-Type": "application/json"}), timeout=30) as reply:
        return server.read(json.load(reply))


@contextmanager
def running(server: Server, python: Path, model: Path, settings: Settings, *, port: int = 0) -> Iterator[Running]:
    """A server from its first answer to the end of the block.

    Parameters
    ----------
    settings
        Whose ``var`` takes its files and its log.

    Raises
    ------
    RuntimeError
        It does not answer.
    """
    port = port or free_port()
    folder = settings.var / f"{server.path.strip('/').replace('/', '-')}-{port}"
    folder.mkdir(parents=True)
    plan = server.start(python, model, folder, port)
    environment = settings.child_environment({"PYTHONWARNINGS": "ignore", **plan.environment})
    environment["PATH"] = f"{python.parent}:{environment['PATH']}"  # MLflow's looks for uvicorn there
    began = time.monotonic()
    with (folder / "log").open("wb") as log:
        started = [
            subprocess.Popen(command, env=environment, cwd=plan.folder, stdout=log, stderr=log, start_new_session=True)
            for command in plan.commands
        ]
    try:
        _await_answer(server, port, started, folder / "log")
        seconds = time.monotonic() - began
        yield Running(server, port, seconds, tuple(psutil.Process(one.pid) for one in started))
    finally:
        for process in started:
            _end(process)


_FIRST = [4.5, 0.5, 20.0, 180.0, 16.0, 1013.0, 1.0]


def _await_answer(server: Server, port: int, started: list[subprocess.Popen[bytes]], log: Path) -> None:
    until, said = time.monotonic() + _PATIENCE, "nothing"
    while time.monotonic() < until and all(process.poll() is None for process in started):
        try:
            ask(port, server, [_FIRST])
        except HTTPError as error:  # it is up, and loads its model; or it is wrong
            said = f"{error.code}: {error.read()[:300]!r}"
        except OSError:
            pass  # nobody listens yet: asked again until patience is over
        else:
            return
        time.sleep(0.01)
    raise RuntimeError(f"{server.name} did not start; it answered {said}; its log: {log.read_text()[-2000:]}")


def _end(process: subprocess.Popen[bytes]) -> None:
    for number in (signal.SIGTERM, signal.SIGKILL):
        if process.poll() is None:
            os.killpg(process.pid, number)
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                continue
    try:
        os.killpg(process.pid, signal.SIGKILL)  # children that their parent left behind
    except ProcessLookupError:
        return


def _in_data(rows: Sequence[Row]) -> Any:
    return {"data": list(rows)}


def _by_row(told: Any) -> list[list[float]]:
    return [row["probabilities"] for row in told["predictions"]]


def ours(settings: Settings, name: str, *, replicas: int = 1, as_mlflow: bool = False) -> Server:
    """Our service, every answer on disk, as the settings say; asked in its own JSON, or as MLflow's client asks."""

    def start(_: Path, __: Path, ___: Path, port: int) -> Start:
        command = [sys.executable, "-m", "ml.serving", "--port", str(port), "--outbox-id"]
        own = settings.child_environment() | {"PERENNIAL_SCORING_REPLICAS": str(replicas)}
        return Start(tuple([*command, f"replica-{number}"] for number in range(replicas)), PROJECT, own)

    if as_mlflow:
        return Server(name, None, "/invocations/harbour_weather", start, _in_split_for_probabilities, _of_list)
    return Server(name, None, "/score/harbour_weather", start, _in_data, _by_row)


def _script(name: str, *more: str) -> Callable[[Path, Path, Path, int], Start]:
    def start(python: Path, model: Path, _: Path, port: int) -> Start:
        command = [str(python), str(FOLDER / name), str(port), *more]
        return Start((command,), FOLDER, {"MODEL_FILE": str(model)})

    return start


def _start_bentoml(python: Path, model: Path, folder: Path, port: int) -> Start:
    command = [str(python), "-m", "bentoml", "serve", "bentoml_scoring:Forest", "--host", "127.0.0.1"]
    command += ["--port", str(port), "--working-dir", str(FOLDER), "--quiet"]
    return Start((command,), folder, {"MODEL_FILE": str(model), "BENTOML_HOME": str(folder)})


def _start_mlserver(python: Path, model: Path, folder: Path, port: int) -> Start:
    told = {"host": "127.0.0.1", "http_port": port, "grpc_port": free_port(), "metrics_port": free_port()}
    (folder / "settings.json").write_text(json.dumps(told | {"parallel_workers": 0, "debug": False}))
    forest = {"name": "forest", "implementation": "mlserver_scoring.Forest", "parameters": {"uri": str(model)}}
    (folder / "model-settings.json").write_text(json.dumps(forest))
    command = [str(python.parent / "mlserver"), "start", str(folder)]
    return Start((command,), folder, {"PYTHONPATH": str(FOLDER)})


_SAVE = """
import sys
import mlflow, onnx, pandas
graph, names = onnx.load(sys.argv[1]), sys.argv[3:]
signature = None
if names:
    signature = mlflow.models.infer_signature(pandas.DataFrame([[0.5] * len(names)], columns=names))
    for output in [one for one in graph.graph.output if one.name != "probabilities"]:
        graph.graph.output.remove(output)
mlflow.onnx.save_model(graph, sys.argv[2], signature=signature)
"""


def _mlflow(name: str, *columns: str) -> Callable[[Path, Path, Path, int], Start]:
    """MLflow's server; with columns the model has the signature of a frame, and answers probabilities alone.

    Its ONNX flavour makes a column of each output of a frame, and cannot where a row has one label, two probabilities.
    """

    def start(python: Path, model: Path, folder: Path, port: int) -> Start:
        saved = model.with_name(name)
        if not saved.exists():
            save = [str(python), "-c", _SAVE, str(model), str(saved), *columns]
            subprocess.run(save, check=True, cwd=folder, capture_output=True)
        command = [str(python), "-m", "mlflow", "models", "serve", "-m", str(saved), "--env-manager", "local"]
        return Start(([*command, "--host", "127.0.0.1", "--port", str(port), "--workers", "1"],), folder)

    return start


def _v2(rows: Sequence[Row]) -> Any:
    data = [value for row in rows for value in row]
    return {"inputs": [{"name": "numbers", "shape": [len(rows), 7], "datatype": "FP32", "data": data}]}


def _of_v2(told: Any) -> list[list[float]]:
    (values,) = [output for output in told["outputs"] if output["name"] == "probabilities"]
    width = values["shape"][1]
    return [values["data"][i : i + width] for i in range(0, len(values["data"]), width)]


def _of_mlflow(told: Any) -> list[list[float]]:
    rows: list[list[float]] = told["predictions"]["probabilities"]
    return rows


#: As MLflow's own ``ScoringServerClient`` names and sends a frame of the weather's numbers.
_COLUMNS = load(PROJECT / "use_cases" / "harbour_weather.yaml").numbers


def _in_split(rows: Sequence[Row]) -> Any:
    return {"dataframe_split": {"index": list(range(len(rows))), "columns": _COLUMNS, "data": list(rows)}}


def _in_split_for_probabilities(rows: Sequence[Row]) -> Any:
    return _in_split(rows) | {"params": {"predict_method": "predict_proba"}}


def _of_flat(told: Any) -> list[list[float]]:
    flat = [row["probabilities"] for row in told["predictions"]]
    return [flat[i : i + 2] for i in range(0, len(flat), 2)]


def _of_list(told: Any) -> list[list[float]]:
    rows: list[list[float]] = told["predictions"]
    return rows


PEERS = (
    Server("FastAPI + onnxruntime", FASTAPI, "/score", _script("fastapi_scoring.py", "1"), _in_data, _by_row),
    Server("FastAPI, 2 workers", FASTAPI, "/score", _script("fastapi_scoring.py", "2"), _in_data, _by_row),
    Server("LitServe", LITSERVE, "/score", _script("litserve_scoring.py"), _in_data, _by_row),
    Server("MLServer", MLSERVER, "/v2/models/forest/infer", _start_mlserver, _v2, _of_v2),
    Server("BentoML", BENTOML, "/score", _start_bentoml, _in_data, _by_row),
    Server(
        "mlflow models serve, frames",
        MLFLOW,
        "/invocations",
        _mlflow("mlflow-frames", *_COLUMNS),
        _in_split,
        _of_flat,
    ),
    Server(
        "mlflow models serve, tensors",
        MLFLOW,
        "/invocations",
        _mlflow("mlflow-tensors"),
        lambda rows: {"inputs": {"numbers": list(rows)}},
        _of_mlflow,
    ),
)
