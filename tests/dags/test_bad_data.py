"""A retraining that leads to no challenger ends as an answer: recorded, alerted, nothing registered."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pandas as pd
import pytest
from mlflow import MlflowClient

from ml.records.decision import RetrainOutcome
from ml.settings import settings

pytestmark = [pytest.mark.timeout(600), pytest.mark.usefixtures("services")]

NAME = "harbour_backwards"


@pytest.fixture(scope="module")
def bench():
    """Stores of a use case whose target is the condition an hour ago."""
    from plugins.perennial.workbench import open_workbench

    raw = pd.read_csv(settings().home / "data" / "ny_harbour_weather_2013.csv")
    past = raw.groupby("Station")["Current_weather_condition"].shift(1).fillna(1).astype(int)
    raw.assign(Future_weather_condition=past).to_csv(settings().var / "backwards.csv", index=False)
    return open_workbench(NAME)


def test_a_target_shifted_in_the_wrong_direction_trains_nothing(dagbag, bench, letters):
    """The run succeeds as `bad_data`; no run, no version, one message, and the lease is given back."""
    moment = datetime(2013, 3, 1, tzinfo=UTC)

    finished = dagbag.dags[f"{NAME}.retrain"].test(run_conf={"as_of": moment.isoformat(), "reason": "first model"})

    states = {task.task_id: str(task.state) for task in finished.get_task_instances()}
    assert finished.state == "success"
    assert states["assemble"] == "success"
    assert {states[task] for task in ("check_data", "train", "package", "evaluate", "promote", "reject")} == {"skipped"}
    (stored,) = bench.control.history(NAME, "retrain")
    outcome = RetrainOutcome.model_validate_json(stored.payload)
    assert (outcome.outcome, outcome.challenger_version) == ("bad_data", None)
    assert any(reason.startswith("label_time_history: ") for reason in outcome.reasons)
    assert any("Current_weather_condition of 1:00:00 earlier" in reason for reason in outcome.reasons)
    assert bench.registry.versions(NAME) == ()
    (letter,) = letters("retraining-impossible-harbour-backwards-")
    assert "training data breaks a rule" in letter
    assert bench.control.acquire_lease(f"retrain/{NAME}", "next", now=datetime.now(UTC), ttl=timedelta(minutes=1))


@pytest.mark.parametrize(
    ("name", "ends_at", "outcome", "reason"),
    [
        ("harbour_capped", "choose", "no_candidate", "slow: stopped after"),
        ("harbour_outgrown", "package", "no_candidate", "greedy: fitted on all rows: its process ended with code -6"),
        ("harbour_certain", "choose", "insufficient_data", "what happens now cannot be learnt from"),
    ],
)
def test_candidates_that_lead_nowhere_end_the_run_with_the_reason(dagbag, letters, name, ends_at, outcome, reason):
    """Nothing is packaged or registered, the run in MLflow has ended and says how, and the lease is given back."""
    from plugins.perennial.workbench import open_workbench

    bench, moment = open_workbench(name), datetime(2013, 3, 1, tzinfo=UTC)

    finished = dagbag.dags[f"{name}.retrain"].test(run_conf={"as_of": moment.isoformat(), "reason": "first model"})

    states = {task.task_id: str(task.state) for task in finished.get_task_instances()}
    assert finished.state == "success"
    assert states["train"] == "success"
    assert states["choose"] == ("skipped" if ends_at == "choose" else "success")
    assert {states[task] for task in ("package", "evaluate", "promote", "reject")} == {"skipped"}
    (stored,) = bench.control.history(name, "retrain")
    found = RetrainOutcome.model_validate_json(stored.payload)
    assert (found.outcome, found.challenger_version) == (outcome, None)
    assert reason in found.reasons[0]
    assert bench.registry.versions(name) == ()
    client = MlflowClient(settings().mlflow_url)
    (run,) = client.search_runs([client.get_experiment_by_name(name).experiment_id], "tags.mlflow.source.type = 'JOB'")
    assert (run.info.status, run.data.tags["outcome"]) == ("FINISHED", outcome)
    told = letters(f"retraining-impossible-{name.replace('_', '-')}-")
    assert len(told) == (outcome == "no_candidate")
    assert bench.control.acquire_lease(f"retrain/{name}", "next", now=datetime.now(UTC), ttl=timedelta(minutes=1))
