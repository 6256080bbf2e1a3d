"""The alerting DAG, in process: what a stage tells becomes a message once, and a broken set-up is told all the same."""

from __future__ import annotations

import pytest

from ml.settings import settings

pytestmark = pytest.mark.usefixtures("services")


def look(dagbag, **conf):
    """One run of the DAG; returns its state and the rules that fired."""
    finished = dagbag.dags["perennial.alerting"].test(run_conf={"looks": 1, "everything": True} | conf)
    (instance,) = finished.get_task_instances()
    return str(finished.state), instance.xcom_pull(task_ids="look_around")


def test_an_event_becomes_one_message_however_often_the_dag_looks(dagbag, letters):
    """Two looks of one run and another run; a heartbeat is left."""
    from plugins.perennial.telemetry import note_event

    note_event("block_quarantined", source="retrain", use_case="harbour_weather", message="seeded", key="dag/1")

    state, fired = look(dagbag, looks=2, pause=0)

    assert (state, fired) == ("success", ["block_quarantined"])
    (letter,) = letters("block-quarantined-harbour-weather-dag-2F1-")
    assert "seeded" in letter
    assert settings().heartbeat.exists()


def test_a_task_that_fails_for_good_is_an_event(dagbag):
    """By name of DAG, task and run, once."""
    from ml.store.telemetry import Telemetry

    dag = dagbag.dags["harbour_weather.prove_gate"]
    finished = dag.test(run_conf={"as_of": "not a moment", "quick": True})

    assert finished.state == "failed"
    found = [
        event
        for event in Telemetry(settings().control_url).search(names=["task_failed"], use_case="harbour_weather")
        if finished.run_id in event.message
    ]
    assert len(found) == 1
    assert found[0].message.startswith("harbour_weather.prove_gate.prove failed")
