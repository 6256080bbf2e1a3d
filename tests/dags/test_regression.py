"""A number is predicted: the temperature of the next hour, through the same DAGs, registry, lake and replica."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import httpx
import numpy as np
import pytest

from ml.records.decision import GateDecision, MonitorDecision
from ml.records.measure import Window
from ml.settings import settings
from ml.simulation.replay import Client, replay
from ml.training.history import load_stream

pytestmark = [pytest.mark.timeout(600), pytest.mark.usefixtures("services")]

NAME = "harbour_temperature"
FIRST = datetime(2013, 3, 1, tzinfo=UTC)


@pytest.fixture(scope="module")
def bench():
    """Stores and registry of the use case, as the tasks open them."""
    from plugins.perennial.workbench import open_workbench

    return open_workbench(NAME)


def run(dagbag, file: str, conf: dict):
    """States of the tasks of one run in process."""
    empty = {"batch_rows": None} if file == "monitor" else {}
    finished = dagbag.dags[f"{NAME}.{file}"].test(run_conf=empty | conf)
    assert finished.state == "success"
    return {task.task_id: str(task.state) for task in finished.get_task_instances()}


def test_the_first_model_is_promoted_and_answers_with_numbers(dagbag, bench):
    """It beats the temperature of now; the replica answers in degrees and refuses labels that are no numbers."""
    states = run(dagbag, "retrain", {"as_of": FIRST.isoformat(), "reason": "first model"})
    assert states["promote"] == "success"
    gate = GateDecision.model_validate_json(bench.control.find("gate", f"{NAME}/1").payload)
    assert gate.losses["challenger"] < gate.losses["persistence"] < gate.losses["majority"]

    assert run(dagbag, "release", {})["served"] == "success"

    row = {"Temperature_C": 20.0, "Humidity": 0.4, "Wind_speed_kmph": 5, "Pressure_millibars": None, "Station": "JFK"}
    answer = httpx.post(f"{settings().scoring_url}/score/{NAME}", json={"rows": [row], "ids": ["asked"]}).json()
    (told,) = answer["predictions"]
    assert told.keys() == {"id", "value", "out_of_distribution"}
    assert told["value"] == pytest.approx(20, abs=3)
    for label, code in (({"value": 21.5}, 202), ({"class": "warm"}, 422), ({"value": 999}, 422)):
        reply = httpx.post(f"{settings().scoring_url}/labels/{NAME}", json={"labels": [{"id": "asked"} | label]})
        assert reply.status_code == code


def test_a_week_of_numbers_is_judged_with_and_without_labels(dagbag, bench):
    """What the answers were expected to cost agrees with what they cost; both are squared degrees."""
    end = FIRST + timedelta(days=14)
    stream = load_stream(bench.use_case, settings().home, Window(start=FIRST, end=end))
    with Client(settings().scoring_url, bench.use_case) as client:
        replay(client, stream, bench.use_case, advance=lambda _: None)
    assert client.tally.failures == []

    states = run(dagbag, "monitor", {"as_of": end.isoformat()})

    assert states["decide"] == "success"
    decision = MonitorDecision.model_validate_json(bench.control.latest("monitor", NAME).payload)
    labelled = bench.lake.labelled(Window(start=end - timedelta(days=7), end=end), as_of=end)
    by_hand = np.mean((labelled["label"] - labelled["p_0"]) ** 2)
    assert decision.live_loss.value == pytest.approx(by_hand, rel=1e-6)
    assert decision.estimated_loss.low < decision.live_loss.high
    assert decision.live_loss.low < decision.estimated_loss.high
    assert decision.worth.reducible.value is not None
    columns = {column.name: column.role for column in decision.check.columns}
    assert columns["answer: value"] == "value"
    assert columns["attribution: Temperature_C"] == "attribution"


def test_a_challenger_of_numbers_meets_the_champion(dagbag, bench):
    """By hand, from the same lake; yes or no, the gate's numbers are those of both models on the same hours."""
    end = FIRST + timedelta(days=14)

    states = run(dagbag, "retrain", {"as_of": end.isoformat(), "reason": "by hand", "force": True})

    assert {states["promote"], states["reject"]} == {"success", "skipped"}
    gate = GateDecision.model_validate_json(bench.control.find("gate", f"{NAME}/2").payload)
    assert gate.state == "compared"
    assert {rule.name for rule in gate.rules} >= {"beats_champion", "beats_persistence", "parity"}
