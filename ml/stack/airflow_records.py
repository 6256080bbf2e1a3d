"""Runs of DAGs as records, from Airflow's REST API."""

from __future__ import annotations

from collections import Counter
from datetime import datetime
from typing import Any

from ml.records.measure import Window
from ml.records.pipeline import DagRun
from ml.stack.airflow_api import AirflowApi

#: Tries that are second ones or later; our DAGs try a task three times, a person may do so more often.
_LATER_TRIES = tuple(range(2, 10))

_RUNS, _TRIES = "/api/v2/dags/~/dagRuns", "/api/v2/dags/~/dagRuns/~/taskInstances"


def read_runs(airflow: AirflowApi, window: Window) -> tuple[DagRun, ...]:
    """Runs that ended in a window or have not ended, and of DAGs that are red also since when.

    Raises
    ------
    ServiceAway
        Airflow does not answer.
    """
    ended = {"end_date_gte": window.start.isoformat(), "end_date_lt": window.end.isoformat()}
    retries = Counter(
        (found["dag_id"], found["dag_run_id"])
        for found in airflow.pages(_TRIES, "task_instances", ended | {"try_number": _LATER_TRIES, "order_by": "id"})
        for _ in range(found["try_number"] - 1)
    )
    found = [*airflow.pages(_RUNS, "dag_runs", ended | {"order_by": "id"})]
    found += airflow.pages(_RUNS, "dag_runs", {"state": ("queued", "running"), "order_by": "id"})
    runs = {(run["dag_id"], run["dag_run_id"]): run for run in found}
    for dag_id in airflow.dag_ids():
        runs |= {(dag_id, run["dag_run_id"]): run for run in _since_red(airflow, dag_id, window.end)}
    return tuple(_run(run, retries[place]) for place, run in sorted(runs.items()) if _is_of(run, window.end))


def _since_red(airflow: AirflowApi, dag_id: str, until: datetime) -> list[dict[str, Any]]:
    """The newest finished run of a DAG; when it has failed, also the last success and the first failure after it."""
    newest = _one(airflow, dag_id, state=("success", "failed"), order_by="-end_date", end_date_lt=until.isoformat())
    if not newest or newest[0]["state"] == "success":
        return newest
    good = _one(airflow, dag_id, state=("success",), order_by="-end_date", end_date_lt=until.isoformat())
    after = {"end_date_gte": good[0]["end_date"]} if good else {}
    return newest + good + _one(airflow, dag_id, state=("failed",), order_by="end_date", **after)


def _one(airflow: AirflowApi, dag_id: str, **query: Any) -> list[dict[str, Any]]:
    return airflow.find_runs(dag_id, query | {"limit": 1})


def _is_of(run: dict[str, Any], until: datetime) -> bool:
    """Whether a run was due by then: what Airflow has planned beyond is none yet."""
    return datetime.fromisoformat(run["run_after"]) <= until


def _run(run: dict[str, Any], retries: int) -> DagRun:
    return DagRun(
        dag_id=run["dag_id"],
        run_id=run["dag_run_id"],
        state=run["state"],
        due=run["run_after"],
        started=run["start_date"],
        ended=run["end_date"],
        retries=retries,
    )
