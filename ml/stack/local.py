"""The local stack as one thing: up, down, status."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from ml.errors import ServiceAway, StackError
from ml.records.base import write_atomically
from ml.settings import Settings
from ml.stack.airflow_api import AirflowApi
from ml.stack.airflow_setup import airflow_environment, airflow_password, write_local_settings
from ml.stack.alone import alone
from ml.stack.databases import databases, migrate_databases
from ml.stack.preflight import check_machine
from ml.stack.processes import end_processes, find_processes, mark_stack, measure_memory
from ml.stack.readiness import find_unparsed, find_unready
from ml.stack.services import scoring_names, services
from ml.stack.supervision import Supervisor
from ml.use_case import UseCase, load_all

DAG_FILES = ("monitor", "retrain", "release", "prove_gate", "review_models")
#: DAGs of the installation, not of a use case.
INSTALLATION_DAGS = (
    "perennial.alerting",
    "perennial.governance",
    "perennial.health",
    "perennial.retention",
    "perennial.pipeline_health",
    "perennial.weekly_digest",
)

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
        Memory of it and everything that it started, MiB, shared pages counted once.
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
        Folders or ports, the stack runs with other settings, or a service does not get ready (with the end of its log).
    UseCaseError
        A use case file has problems.
    """
    use_cases = load_all(settings.use_cases)
    expected = {*INSTALLATION_DAGS, *(f"{name}.{file}" for name in use_cases for file in DAG_FILES)}
    supervisor = Supervisor(settings)
    started = not supervisor.is_running()
    if started:
        check_machine(settings)
    with alone(_lock(settings), lambda: say("waiting for another start or stop of this stack")):
        if not supervisor.is_running():
            _start(settings, supervisor, say)
        _refuse_other_settings(settings)
        for service in services(settings):
            supervisor.ensure_started(service.name)
        _show_use_cases(settings, supervisor, use_cases, say)
    _wait_until_ready(settings, supervisor, expected, say, timeout)
    return started


def as_running(settings: Settings) -> Settings:
    """Settings with as many scoring replicas as the stack of this state folder was started with."""
    path = settings.var / "stack" / "settings.json"
    if not path.exists():
        return settings
    running = json.loads(path.read_text())
    quorum = running.get("scoring_quorum", "None")
    return settings.model_copy(
        update={
            "scoring_replicas": int(running.get("scoring_replicas", 1)),
            "scoring_quorum": None if quorum == "None" else int(quorum),
        }
    )


def as_asked(settings: Settings) -> Settings:
    """Settings with as many scoring replicas as they were asked for, else as many as run."""
    return settings if "scoring_replicas" in settings.model_fields_set else as_running(settings)


def stop_stack(settings: Settings) -> int:
    """Stop everything; returns how many processes did not end by themselves."""
    if not settings.var.is_dir():
        return 0
    with alone(_lock(settings), lambda: None):
        Supervisor(settings).stop()
        return end_processes(settings.var)


def read_status(settings: Settings) -> tuple[ServiceStatus, ...]:
    """Every service of the stack, whether it runs or not."""
    settings = as_running(settings)
    states = Supervisor(settings).states()
    unready = find_unready(settings, states)
    return tuple(
        ServiceStatus(
            name=service.name,
            pid=states[service.name].pid if service.name in states else None,
            url=service.url,
            ready=service.name not in unready,
            rss_mb=round(measure_memory(find_processes(settings.var, service=service.name)), 1),
            state=unready.get(service.name, "running"),
        )
        for service in services(settings)
    )


def open_airflow(settings: Settings) -> AirflowApi:
    """Client of the stack's Airflow.

    Raises
    ------
    StackError
        Its password is not known: the stack was never started.
    """
    return AirflowApi(settings.airflow_url, settings.airflow_user, airflow_password(settings))


def stack_environment(settings: Settings) -> dict[str, str]:
    """Environment of every process of the stack."""
    environment = settings.child_environment(
        airflow_environment(settings) | {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"} | mark_stack(settings.var)
    )
    # The services reach each other without whatever proxy this machine has.
    for name in ("NO_PROXY", "no_proxy"):
        environment[name] = ",".join(filter(None, (environment.get(name), settings.host, "localhost")))
    return environment


def _start(settings: Settings, supervisor: Supervisor, say: Say) -> None:
    if find_processes(settings.var):
        say("ending what a killed stack left behind")
        end_processes(settings.var)
    (settings.var / "mlflow" / "artifacts").mkdir(parents=True, exist_ok=True)
    environment = stack_environment(settings)
    write_local_settings(settings)
    outdated = [database for database in databases(settings) if not database.is_current]
    if outdated:
        say("preparing the databases of " + " and ".join(database.package for database in outdated))
        migrate_databases(outdated, environment)
    say("starting the services")
    write_atomically(settings.var / "stack" / "settings.json", json.dumps(_describe(settings)).encode())
    (settings.var / "stack" / "use_cases.json").unlink(missing_ok=True)  # every service reads them now
    supervisor.start(services(settings), environment)


def _show_use_cases(settings: Settings, supervisor: Supervisor, use_cases: Mapping[str, UseCase], say: Say) -> None:
    """Let the replica read the use case files again when they are not those that it was started with."""
    path = settings.var / "stack" / "use_cases.json"
    wanted = {name: use_case.hash for name, use_case in use_cases.items()}
    shown = json.loads(path.read_text()) if path.exists() else None
    if wanted == shown:
        return
    if shown is not None:
        say("restarting scoring: use case files have changed")
        for name in scoring_names(settings):
            supervisor.restart(name)
    write_atomically(path, json.dumps(wanted).encode())


def _describe(settings: Settings) -> dict[str, str]:
    return {name: str(value) for name, value in settings.model_dump(exclude={"airflow_password"}).items()}


def _refuse_other_settings(settings: Settings) -> None:
    wanted = _describe(settings)
    running = json.loads((settings.var / "stack" / "settings.json").read_text())
    other = [name for name, value in wanted.items() if running.get(name) != value]
    if other:
        raise StackError(
            "the stack runs with other settings",
            where=", ".join(f"PERENNIAL_{name.upper()}" for name in other),
            got=", ".join(f"{wanted[name]} (it runs with {running.get(name)})" for name in other),
            allowed="the same settings, or perennial down first",
        )


def _lock(settings: Settings) -> Path:
    return settings.var / "stack" / "lock"


def _wait_until_ready(settings: Settings, supervisor: Supervisor, expected: set[str], say: Say, timeout: float) -> None:
    deadline = time.monotonic() + timeout
    airflow = open_airflow(settings)
    while True:
        states = supervisor.states()
        if not states:
            raise StackError("the stack was stopped before it was ready", where=str(supervisor.folder))
        unready = find_unready(settings, states) or _unparsed(
            airflow, expected, states["airflow-dag-processor"].started
        )
        if not unready:
            return
        say("waiting for " + ", ".join(f"{name} ({missing})" for name, missing in unready.items()))
        given_up = [name for name, state in states.items() if state.word == "FATAL"]
        if given_up or time.monotonic() > deadline:
            name = (given_up or list(unready))[0]
            raise StackError(f"{name} does not get ready", where=str(supervisor.log(name)), got=_tail(supervisor, name))
        time.sleep(0.25)


def _unparsed(airflow: AirflowApi, expected: set[str], since: float) -> dict[str, str]:
    try:
        missing = find_unparsed(airflow, expected, since)
    except ServiceAway:
        return {"airflow-api-server": "no answer yet"}
    return {"airflow-dag-processor": f"{len(missing)} of {len(expected)} DAGs"} if missing else {}


def _tail(supervisor: Supervisor, name: str) -> str:
    try:
        return "\n" + "\n".join(supervisor.log(name).read_text(errors="replace").splitlines()[-15:])
    except OSError:
        return "no log"
