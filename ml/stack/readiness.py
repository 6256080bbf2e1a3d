"""Whether the services of the stack do their work, asked from outside: HTTP, and what Airflow knows of its parts."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import httpx

from ml.errors import StackError
from ml.settings import Settings
from ml.stack.airflow_api import AirflowApi
from ml.stack.services import Service, services
from ml.stack.supervision import ProcessState

#: Airflow's names for its parts, in its health report.
_PARTS = {"airflow-scheduler": "scheduler", "airflow-dag-processor": "dag_processor"}

_SECONDS = 2.0


def find_unready(settings: Settings, states: Mapping[str, ProcessState]) -> dict[str, str]:
    """Services that do not work, with what is missing; empty when all do.

    A heartbeat counts only when it is newer than the start of its process: what a killed predecessor left in the
    database looks healthy for a while.

    Parameters
    ----------
    states
        What the supervisor says about each service.
    """
    wanted = services(settings)
    unready = {service.name: _look_at(service, states.get(service.name)) for service in wanted}
    health = {} if unready["airflow-api-server"] else _ask_health(settings)
    for name, part in _PARTS.items():
        if not unready[name]:
            unready[name] = _beat(health.get(part, {}), part, states[name].started)
    return {name: missing for name, missing in unready.items() if missing}


def find_unparsed(airflow: AirflowApi, expected: set[str], since: float) -> set[str]:
    """Expected DAGs that were not parsed since a moment (seconds since 1970).

    Raises
    ------
    StackError
        A DAG file cannot be parsed; each with its error.
    PerennialError
        Airflow does not answer.
    """
    missing = expected - airflow.parsed_since(_moment(since))
    errors = airflow.import_errors(since=_moment(since)) if missing else []
    if errors:
        raise StackError("a DAG file cannot be parsed", where="dags", got="; ".join(errors))
    return missing


def _look_at(service: Service, state: ProcessState | None) -> str:
    if state is None:
        return "stopped"
    if state.word != "RUNNING":
        return state.word.lower()
    return "" if service.url is None or _answers(f"{service.url}{service.probe}") else "no answer yet"


def _answers(url: str) -> bool:
    try:
        return httpx.get(url, timeout=_SECONDS, trust_env=False).is_success
    except httpx.HTTPError:
        return False


def _ask_health(settings: Settings) -> dict[str, Any]:
    url = f"{settings.airflow_url}/api/v2/monitor/health"
    try:
        reply = httpx.get(url, timeout=_SECONDS, trust_env=False)
        return dict(reply.json()) if reply.is_success else {}
    except (httpx.HTTPError, ValueError):
        return {}


def _beat(report: Mapping[str, Any], part: str, started: float) -> str:
    beat = report.get(f"latest_{part}_heartbeat")
    if report.get("status") != "healthy" or beat is None:
        return "no heartbeat yet"
    return "" if datetime.fromisoformat(beat) >= _moment(started) else "no heartbeat since its start"


def _moment(seconds: float) -> datetime:
    return datetime.fromtimestamp(seconds, tz=UTC)
