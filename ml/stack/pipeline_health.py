"""Pipeline health of an installation: facts from Airflow and our own stores, measured, kept."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path

from ml.pipeline.gather import (
    read_checks,
    read_costs,
    read_deployments,
    read_label_delays,
    read_marks,
    read_retrainings,
)
from ml.pipeline.log_audit import LogAudit, audit_logs, find_logs
from ml.pipeline.measure import measure_pipeline
from ml.pipeline.targets import load_targets
from ml.records.measure import Window
from ml.records.pipeline import DagRun, PipelineFacts, PipelineHealth
from ml.settings import Settings
from ml.stack.airflow_records import read_runs
from ml.stack.local import open_airflow
from ml.store.alerts import AlertStore
from ml.store.control import ControlStore
from ml.store.lake import Lake
from ml.store.log_signatures import LogSignatures
from ml.store.pipeline import PipelineHistory
from ml.store.telemetry import Telemetry
from ml.use_case import load_all

#: What a measurement is compared with: the newest that is at least so old, if it is not much older.
TREND, TREND_SLACK = timedelta(days=7), timedelta(days=3)
#: A log that had nothing new for so long is a finished task's.
_POSITIONS_KEPT = timedelta(days=40)

#: Reads the runs of DAGs of a window.
ReadRuns = Callable[[Window], tuple[DagRun, ...]]


def measure_health(
    settings: Settings, *, now: datetime, window: timedelta | None = None, runs: ReadRuns | None = None
) -> PipelineHealth:
    """Health of the pipeline over the window that ends now; nothing is kept.

    Parameters
    ----------
    window
        Its length; None as the file of targets says.
    runs
        Where runs are read from; None asks Airflow.

    Raises
    ------
    ServiceAway
        Airflow or the control database do not answer.
    InputError
        The targets have problems, or Airflow's account is not known.
    """
    targets = load_targets(settings.pipeline)
    seen = Window(start=now - (window or targets.window), end=now)
    facts = gather_facts(settings, seen, runs or (lambda asked: read_runs(open_airflow(settings), asked)))
    history = PipelineHistory(settings.control_url)
    return measure_pipeline(facts, targets, now=now, before=_before(history, now))


def gather_facts(settings: Settings, window: Window, runs: ReadRuns) -> PipelineFacts:
    """Everything that is known of the pipeline in a window."""
    use_cases, until = load_all(settings.use_cases), window.end
    control, alerts = ControlStore(settings.control_url, settings.ledger), AlertStore(settings.control_url)
    telemetry, signatures = Telemetry(settings.control_url), LogSignatures(settings.control_url)
    useful, noise = read_marks(alerts, window)
    lakes = [(name, Lake(settings.lake, use_case)) for name, use_case in use_cases.items()]
    return PipelineFacts(
        window=window,
        begin=telemetry.begin(),
        runs=runs(window),
        checks=tuple(one for name in use_cases for one in read_checks(control, name, until=until)),
        retrainings=tuple(one for name in use_cases for one in read_retrainings(control, name, until=until)),
        deployments=tuple(one for name in use_cases for one in read_deployments(control, name, until=until)),
        costs=read_costs(telemetry, window),
        label_delays=read_label_delays(lakes, window),
        useful=useful,
        noise=noise,
        signatures=signatures.signatures(since=window.start, until=until) if signatures.looked() else None,
    )


def keep_health(settings: Settings, health: PipelineHealth) -> None:
    """Keep a measurement, for the trend of later ones and the digest."""
    PipelineHistory(settings.control_url).keep(health)


def audit_installation(settings: Settings, *, now: datetime) -> LogAudit:
    """Look at what is new in the logs of the services and of Airflow's tasks."""
    signatures = LogSignatures(settings.control_url)
    found = audit_logs(find_logs(log_folders(settings), since=signatures.looked()), settings.var, signatures, now=now)
    signatures.forget_positions(before=now - _POSITIONS_KEPT)
    return found


def log_folders(settings: Settings) -> tuple[Path, ...]:
    """Folders of logs: of the local stack's services, and of Airflow's tasks and DAG files."""
    return settings.var / "stack", settings.var / "airflow" / "logs"


def _before(history: PipelineHistory, now: datetime) -> PipelineHealth | None:
    found = history.measured(since=now - TREND - TREND_SLACK, until=now - TREND)
    return found[-1] if found else None
