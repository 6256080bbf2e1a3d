"""Tasks that run longer than they may: per DAG the longest, as a share of its own bound."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from ml.errors import InputError
from ml.pipeline.overdue import find_overdue
from ml.pipeline.targets import PipelineTargets, load_targets

NOW = datetime(2026, 1, 5, 12, tzinfo=UTC)


def running(dag: str, minutes: float | None) -> dict[str, str | None]:
    """A task that has run for so many minutes, as Airflow tells it."""
    began = None if minutes is None else (NOW - timedelta(minutes=minutes)).isoformat().replace("+00:00", "Z")
    return {"dag_id": dag, "start_date": began}


def test_the_longest_task_of_a_dag_counts_by_the_bound_of_its_file():
    """30 minutes unless the file says otherwise; two use cases' DAGs of one file are two DAGs."""
    targets = PipelineTargets.model_validate({"task_longest": "30m", "dags": {"retrain": {"task_longest": "2h"}}})
    tasks = [
        running("ferry.monitor", 3),
        running("ferry.monitor", 45),
        running("harbour.monitor", 15),
        running("ferry.retrain", 60),
    ]

    found = find_overdue(tasks, targets, NOW)

    assert found == pytest.approx({"ferry.monitor": 1.5, "harbour.monitor": 0.5, "ferry.retrain": 0.5})


def test_who_asks_and_who_has_not_begun_are_left_out():
    """The alerting task runs whenever it asks; a clock that is behind makes no time negative."""
    tasks = [running("perennial.alerting", 999), running("ferry.monitor", None), running("ferry.release", -1)]

    assert find_overdue(tasks, PipelineTargets(), NOW) == {"ferry.release": 0.0}


@pytest.mark.parametrize("given", ["0s", "-1m", "soon"])
def test_a_bound_that_is_none_is_refused(tmp_path, given):
    """With its path."""
    (tmp_path / "pipeline.yaml").write_text(f"dags: {{retrain: {{task_longest: {given!r}}}}}\n", encoding="utf-8")

    with pytest.raises(InputError, match=r"dags\.retrain\.task_longest"):
        load_targets(tmp_path / "pipeline.yaml")
