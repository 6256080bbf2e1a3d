"""The health walk: every resource by utilisation, saturation, errors, with the log lines that matter."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx

from ml.alerts.health_limits import HealthLimits
from ml.alerts.rules import load_rules
from ml.errors import PerennialError
from ml.records.health import Health, LogLine, Resource
from ml.records.rollup import Rollup
from ml.registry.fleet import SILENT_AFTER, read_heartbeats
from ml.runbooks.restart_replica import service_of
from ml.settings import Settings
from ml.stack.alias_watch import STALE_SECONDS, beat_path
from ml.stack.local import as_running, open_airflow
from ml.stack.machine import judge, look_at_machine, measured
from ml.stack.supervision import Supervisor
from ml.store.collect import collect_spools
from ml.store.control import ControlStore
from ml.store.table import count_small_files
from ml.store.telemetry import Need, Telemetry

RECENT = timedelta(minutes=15)

_LOG_LINES = 2_000
_SHOWN_LINES = 3
_BAD = ("ERROR", "CRITICAL", "Traceback", "error:")
_AIRFLOW_PARTS = {"scheduler": "airflow-scheduler", "dag_processor": "airflow-dag-processor", "triggerer": ""}


def walk(settings: Settings, *, clock: Callable[[], datetime] = lambda: datetime.now(UTC)) -> Health:
    """Look at every resource; what cannot be measured is unknown, whatever the reason."""
    current, now, limits = as_running(settings), clock(), read_limits(settings)
    found = [
        *_replicas(current, now, limits),
        *_airflow(current, limits),
        measured("airflow-workers", lambda: _workers(current, limits)),
        measured("mlflow", lambda: _mlflow(current, limits)),
        measured("alias-watch", lambda: _alias_watch(current, now)),
        measured("control_database", lambda: _control(current, limits)),
        measured("lake", lambda: _lake(current, limits)),
        *look_at_machine(current, limits),
    ]
    return Health(time=now, resources=tuple(_with_logs(one, current) for one in found))


def read_limits(settings: Settings) -> HealthLimits:
    """Limits of the rule file; the defaults while it has problems, of which alerting tells."""
    try:
        return load_rules(settings.alerts).health
    except PerennialError:
        return HealthLimits()


def note_health(health: Health, telemetry: Telemetry) -> None:
    """Write a walk into the control database, for rules: ``resource_high``, ``resource_unknown`` and the numbers."""
    rows = []
    for one in health.resources:
        values = {
            "resource_unknown": float(one.verdict == "unknown"),
            "resource_high": None if one.verdict == "unknown" else float(one.verdict == "not_well"),
            "resource_utilisation": one.utilisation,
            "resource_saturation": one.saturation,
        }
        rows += [
            Rollup(
                time=health.time, seconds=0.0, source="health", name=name, label=one.name, n=1, total=value, high=value
            )
            for name, value in values.items()
            if value is not None and one.verdict != "absent"
        ]
    telemetry.add_rollups(rows)


def _replicas(current: Settings, now: datetime, limits: HealthLimits) -> list[Resource]:
    names = [f"replica-{number}" for number in range(current.scoring_replicas)]
    try:
        gauges, errors = _read_replicas(current, now)
    except PerennialError as error:
        return [Resource(name=name, verdict="unknown", detail=str(error)[:300]) for name in names]
    beats = {beat.replica: beat for beat in read_heartbeats(current.outbox)}
    limit = limits.replica_waiting_rows
    found = [_replica(name, beats.get(name), gauges, now, limit=limit) for name in names]
    return [one.model_copy(update={"errors": errors.get(one.name, 0)}) for one in found]


def _read_replicas(current: Settings, now: datetime) -> tuple[dict[tuple[str, str], float], dict[str, int]]:
    """Newest gauges of two minutes, and errors of a quarter of an hour, by replica."""
    telemetry = Telemetry(current.control_url)
    collect_spools(telemetry, current.telemetry)
    need = Need(now - timedelta(minutes=2), names=frozenset({"cpu_share", "outbox_rows"}))
    gauges = {(row.source, row.name): row.total / max(1, row.n) for row in telemetry.read_rollups([need], until=now)}
    errors: dict[str, int] = {}
    for event in telemetry.read_events([Need(now - RECENT)], until=now):
        if event.severity == "error":
            errors[event.source] = errors.get(event.source, 0) + event.n
    return gauges, errors


def _replica(name: str, beat: Any, gauges: Mapping[tuple[str, str], float], now: datetime, *, limit: float) -> Resource:
    if beat is None or now - beat.at > SILENT_AFTER:
        told = "was never heard, or ended in order" if beat is None else f"was last heard at {beat.at:%H:%M:%S} UTC"
        return Resource(name=name, verdict="not_well", detail=told)
    used, waiting = gauges.get((name, "cpu_share")), gauges.get((name, "outbox_rows"))
    if used is None or waiting is None:
        return Resource(name=name, verdict="unknown", detail="beats, but has measured nothing yet")
    degraded = [one for one in beat.use_cases if one.state == "degraded"]
    told = "captured rows that wait" + "".join(f"; {one.use_case}: {one.problem}" for one in degraded)
    seen = judge(name, utilisation=used, full=float("inf"), saturation=waiting, limit=limit, detail=told[:500])
    return seen.model_copy(update={"verdict": "not_well"}) if degraded else seen


def _airflow(current: Settings, limits: HealthLimits) -> list[Resource]:
    """Parts of Airflow by their heartbeats; saturation is the age of the last one, seconds."""
    try:
        reply = httpx.get(f"{current.airflow_url}/api/v2/monitor/health", timeout=5.0, trust_env=False)
        report = dict(reply.raise_for_status().json())
    except (httpx.HTTPError, ValueError) as error:
        told = f"Airflow does not answer: {' '.join(str(error).split())[:200]}"
        parts = [
            Resource(name=f"airflow-{part.replace('_', '-')}", verdict="unknown", detail=told)
            for part in _AIRFLOW_PARTS
        ]
        return [Resource(name="airflow-api-server", verdict="not_well", detail=told), *parts]
    return [
        Resource(name="airflow-api-server", verdict="well", detail="answers"),
        *(_part(part, report.get(part) or {}, limits.airflow_heartbeat_seconds) for part in _AIRFLOW_PARTS),
    ]


def _part(part: str, report: Mapping[str, Any], limit: float) -> Resource:
    name, beat = f"airflow-{part.replace('_', '-')}", report.get(f"latest_{part}_heartbeat")
    if beat is None:
        deployed = bool(_AIRFLOW_PARTS[part])
        return Resource(name=name, verdict="unknown" if deployed else "absent", detail="has never beaten")
    age = (datetime.now(UTC) - datetime.fromisoformat(beat)).total_seconds()
    seen = judge(name, saturation=age, limit=limit, detail="seconds since its heartbeat")
    return seen if report.get("status") == "healthy" else seen.model_copy(update={"verdict": "not_well"})


def _workers(current: Settings, limits: HealthLimits) -> Resource:
    pool = open_airflow(current).pool()
    slots = max(1, pool["slots"])
    told = f"{pool['occupied_slots']} of {slots} slots are taken; queued per slot"
    return judge(
        "airflow-workers",
        utilisation=pool["occupied_slots"] / slots,
        saturation=pool["queued_slots"] / slots,
        limit=limits.workers_queued_per_slot,
        detail=told,
    )


def _mlflow(current: Settings, limits: HealthLimits) -> Resource:
    began = time.monotonic()
    try:
        httpx.get(f"{current.mlflow_url}/health", timeout=2 * limits.mlflow_seconds, trust_env=False).raise_for_status()
    except httpx.HTTPError as error:
        return Resource(name="mlflow", verdict="not_well", detail=f"does not answer: {error}"[:300])
    return judge(
        "mlflow", saturation=time.monotonic() - began, limit=limits.mlflow_seconds, detail="seconds for an answer"
    )


def _alias_watch(current: Settings, now: datetime) -> Resource:
    try:
        age = now.timestamp() - beat_path(current).stat().st_mtime
    except FileNotFoundError:
        return Resource(name="alias-watch", verdict="not_well", detail="has never looked")
    return judge("alias-watch", saturation=age, limit=STALE_SECONDS, detail="seconds since it looked")


def _control(current: Settings, limits: HealthLimits) -> Resource:
    """How long a writer waits for the write lock."""
    began = time.monotonic()
    try:
        control = ControlStore(current.control_url, current.ledger)
        control.acquire_lease("health", "walk", now=datetime.now(UTC), ttl=timedelta(seconds=1))
        control.release_lease("health", "walk")
    except PerennialError as error:
        return Resource(name="control_database", verdict="not_well", detail=str(error)[:300])
    waited = time.monotonic() - began
    return judge(
        "control_database", saturation=waited, limit=limits.control_database_seconds, detail="seconds for a write"
    )


def _lake(current: Settings, limits: HealthLimits) -> Resource:
    """The table of the most small files; training data, of which each version is read alone, is left out."""
    tables = (log.parent for log in current.lake.glob("*/*/_delta_log") if log.parent.name != "training")
    try:
        counts = {str(table.relative_to(current.lake)): count_small_files(table) for table in tables}
    except PerennialError as error:
        return Resource(name="lake", verdict="not_well", detail=str(error)[:300])
    largest = max(counts, key=lambda name: counts[name], default="no table")
    return judge(
        "lake", saturation=float(counts.get(largest, 0)), limit=limits.lake_files, detail=f"small files of {largest}"
    )


def _with_logs(one: Resource, current: Settings) -> Resource:
    """Its newest bad log lines, when it is not well."""
    if one.verdict not in {"not_well", "unknown"}:
        return one
    service = service_of(one.name) if one.name.startswith("replica-") else one.name
    return one.model_copy(update={"logs": read_bad_lines(Supervisor(current).log(service))})


def read_bad_lines(path: Path) -> tuple[LogLine, ...]:
    """Newest lines of a log that tell of an error, oldest first; none where there is no log."""
    try:
        with path.open(encoding="utf-8", errors="replace") as file:
            lines = deque(enumerate(file, start=1), maxlen=_LOG_LINES)
    except OSError:
        return ()
    bad = [(number, text) for number, text in lines if any(word in text for word in _BAD)][-_SHOWN_LINES:]
    return tuple(LogLine(file=str(path), line=number, text=text.strip()[:300]) for number, text in bad)
