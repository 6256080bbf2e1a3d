"""Pipeline health as its user asks for it."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta

import pytest

from ml.records.pipeline import DagRun


@pytest.fixture
def runs(monkeypatch):
    """Three runs of a DAG within the last hour, the last of which failed; no Airflow is needed."""
    now = datetime.now(UTC)  # the same for every question of a test

    def read(_, __):
        due = [now - timedelta(minutes=minutes) for minutes in (50, 40, 30)]
        lasts = timedelta(minutes=2)
        return tuple(
            DagRun(dag_id="a.monitor", run_id=str(at), state=state, due=at, started=at, ended=at + lasts)
            for at, state in zip(due, ("success", "success", "failed"), strict=True)
        )

    monkeypatch.setattr("ml.stack.pipeline_health.open_airflow", lambda _: None)
    monkeypatch.setattr("ml.stack.pipeline_health.read_runs", read)


def test_every_measure_is_shown_with_its_target(perennial, runs):
    """What is known, what cannot be told, and since when a DAG is red."""
    shown = perennial("pipeline-health")
    found = json.loads(perennial("pipeline-health", "--json").out)

    assert shown.code == 0
    measures = {one["name"]: one for one in found["measures"]}
    assert measures["success_rate"]["value"] == pytest.approx(2 / 3)
    assert (measures["alert_precision"]["value"], measures["alert_precision"]["verdict"]) == (None, "undecidable")
    assert found["missed"] == ["success_rate"]
    for words in ("66.7 %", "99 %", "missed", "cannot be told", "nobody has marked an alert", "2 of 3", "2 min"):
        assert words in shown.out
    assert found["dags"][0]["red_since"][:16].replace("T", " ") in shown.out


def test_a_missed_target_can_be_an_exit_code(perennial, runs, home):
    """Asked for, it is 1; with targets that are met it is 0."""
    assert perennial("pipeline-health", "--fail-on-miss").code == 1
    (home / "pipeline.yaml").write_text("targets: {success_rate: 0.5}\n", encoding="utf-8")
    assert perennial("pipeline-health", "--fail-on-miss").code == 0


@pytest.mark.parametrize("since", ["soon", "0d", "-1d"])
def test_a_window_that_is_none_is_bad_usage(perennial, runs, since):
    """One line that names the option."""
    answer = perennial("pipeline-health", "--since", since)

    assert (answer.code, answer.out) == (2, "")
    assert "--since" in answer.err


def test_targets_with_problems_are_refused(perennial, runs, home):
    """Before anything is asked, each problem with its path."""
    (home / "pipeline.yaml").write_text("targets: {speed: 1}\n", encoding="utf-8")

    answer = perennial("pipeline-health")

    assert answer.code == 2
    assert "targets.speed: is not a known key" in answer.err


def test_an_airflow_that_is_away_is_exit_code_3(perennial, monkeypatch):
    """A needed service, named with its address."""
    monkeypatch.setenv("PERENNIAL_AIRFLOW_PASSWORD", "known")

    answer = perennial("pipeline-health")

    assert answer.code == 3
    assert "http://127.0.0.1:9" in answer.err
