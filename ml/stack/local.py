"""The local stack as one thing: up, down, status."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import asdict, dataclass

import httpx
import psutil

from ml.errors import PerennialError, StackError
from ml.settings import Settings
from ml.stack.airflow_api import AirflowApi
from ml.stack.airflow_setup import (
    airflow_environment,
    airflow_password,
    is_migrated,
    migrate,
    write_local_settings,
)
from ml.stack.preflight import check_folder, check_ports
from ml.stack.processes import end_processes, find_processes, mark_of
from ml.stack.services import Service, services
from ml.stack.supervision import Supervisor
from ml.use_case import load_all

DAG_FILES = ("monitor", "retrain", "release")

#: Told what is being done.
Say = Callable[[str], None]


@dataclass(frozen=True)
class ServiceStatus:
    """One process of the stack.

    Attributes
    ----------
    ready
        It answers, or works as far as Airflow knows.
    rss_mb
        Resident memory of it and its children.
    """

    name: str
    pid: int | None
    url: str | None
    ready: bool
    rss_mb: float
    state: str

    def as_json(self) -> dict[str, object]:
        """For ``--json``."""
        return asdict(self)


def start_stack(settings: Settings, say: Say, *, timeout: float = 180.0) -> bool:
    """Start what does not run and wait until everything is ready; returns whether anything had to be started.

    Raises
    ------
    StackError
        A folder, a port, or a service that does not get ready, with the end of its log.
    UseCaseError
        A use case file has problems.
    """
    expected = {f"{name}.{file}" for name in load_all(settings.use_cases) for file in DAG_FILES}
    check_folder(settings.var)
    supervisor = Supervisor(settings)
    started = not supervisor.is_running()
    if started:
        _start(settings, supervisor, say)
    for service in services(settings):
        supervisor.ensure_started(service.name)
    _wait_until_ready(settings, supervisor, expected, say, timeout)
    return started


def stop_stack(settings: Settings) -> int:
    """Stop everything; returns how many processes were left over and had to be ended."""
    Supervisor(settings).stop()
    return end_processes(settings.var)


def read_status(settings: Settings) -> tuple[ServiceStatus, ...]:
    """Every service of the stack, whether it runs or not."""
    states = Supervisor(settings).states()
    return tuple(_status(settings, service, states.get(service.name, {})) for service in services(settings))


def open_airflow(settings: Settings) -> AirflowApi:
    """Client of the stack's Airflow.

    Raises
    ------
    StackError
        Its password is not known: the stack was never started.
    """
    return AirflowApi(settings.airflow_url, settings.airflow_user, airflow_password(settings))


def _start(settings: Settings, supervisor: Supervisor, say: Say) -> None:
    if find_processes(settings.var):
        say("ending what a killed stack left behind")
        end_processes(settings.var)
    check_ports(settings)
    (settings.var / "mlflow" / "artifacts").mkdir(parents=True, exist_ok=True)
    environment = stack_environment(settings)
    write_local_settings(settings)
    migrated = is_migrated(settings)
    say("starting the scoring service and MLflow")
    supervisor.start(services(settings), environment, migrated=migrated)
    if not migrated:
        say("preparing Airflow's database")
        migrate(settings, environment)


def stack_environment(settings: Settings) -> dict[str, str]:
    """Environment of every process of the stack."""
    own = {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
    return settings.child_environment(airflow_environment(settings) | own | mark_of(settings.var))


def _wait_until_ready(settings: Settings, supervisor: Supervisor, expected: set[str], say: Say, timeout: float) -> None:
    deadline = time.monotonic() + timeout
    airflow = open_airflow(settings)
    while True:
        missing = _what_is_missing(settings, airflow, expected)
        if not missing:
            return
        say(f"waiting for {missing}")
        states = supervisor.states()
        fatal = [name for name, state in states.items() if state["statename"] == "FATAL"]
        if fatal or time.monotonic() > deadline:
            name = fatal[0] if fatal else missing
            raise StackError(f"{name} does not get ready", where=str(supervisor.log(name)), got=_tail(supervisor, name))
        time.sleep(0.25)


def _what_is_missing(settings: Settings, airflow: AirflowApi, expected: set[str]) -> str:
    """Name of the first service that is not ready; empty when all are."""
    for service in services(settings):
        if service.url is not None and not _answers(service):
            return service.name
    try:
        for part, name in (("scheduler", "airflow-scheduler"), ("dag_processor", "airflow-dag-processor")):
            if airflow.health()[part]["status"] != "healthy":
                return name
        if expected <= airflow.dag_ids():
            return ""
        _refuse_broken_dags(airflow)
    except StackError:
        raise
    except PerennialError:
        return "airflow-api-server"
    return "airflow-dag-processor"


def _refuse_broken_dags(airflow: AirflowApi) -> None:
    errors = airflow.import_errors()
    if errors:
        raise StackError("a DAG file cannot be parsed", where="dags", got="; ".join(errors))


_HEALTH = {"scoring": "/health/live", "mlflow": "/health", "airflow-api-server": "/api/v2/version"}


def _answers(service: Service) -> bool:
    try:
        return httpx.get(f"{service.url}{_HEALTH[service.name]}", timeout=2.0, trust_env=False).is_success
    except httpx.HTTPError:
        return False


def _status(settings: Settings, service: Service, state: dict[str, object]) -> ServiceStatus:
    pid = int(str(state.get("pid") or 0)) or None
    running = state.get("statename") == "RUNNING"
    return ServiceStatus(
        name=service.name,
        pid=pid,
        url=service.url,
        ready=running and (service.url is None or _answers(service)),
        rss_mb=round(_memory(pid), 1) if pid else 0.0,
        state=str(state.get("statename", "STOPPED")).lower(),
    )


def _memory(pid: int) -> float:
    try:
        root = psutil.Process(pid)
        return sum(process.memory_info().rss for process in (root, *root.children(recursive=True))) / 2**20
    except psutil.Error:
        return 0.0


def _tail(supervisor: Supervisor, name: str) -> str:
    try:
        return "\n".join(supervisor.log(name).read_text(errors="replace").splitlines()[-15:])
    except OSError:
        return "no log"
