"""The DAG that proves the gate: recorded, and a person hears of what survived."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from ml.evaluation import gate
from ml.evaluation.rules.package import judge_package
from ml.records.proof import GateProof
from ml.simulation import prover

pytestmark = [pytest.mark.timeout(600), pytest.mark.usefixtures("services")]

NAME = "harbour_weather"


@pytest.fixture
def few(monkeypatch):
    """Two faults and a good model: the branches do not depend on how many there are."""
    monkeypatch.setattr(prover, "MUTANTS", {name: prover.MUTANTS[name] for name in ("too large", "too few rows")})
    monkeypatch.setattr(prover, "GOOD", {"better": prover.GOOD["better"]})


def prove(dagbag, moment: datetime):
    """One run as of a moment; returns the states of its tasks and the proof on record."""
    from plugins.perennial.workbench import open_workbench

    finished = dagbag.dags[f"{NAME}.prove_gate"].test(run_conf={"as_of": moment.isoformat(), "quick": True})
    assert finished.state == "success"
    stored = open_workbench(NAME).control.find("proof", f"{NAME}/{moment.isoformat()}")
    states = {task.task_id: str(task.state) for task in finished.get_task_instances()}
    return states, GateProof.model_validate_json(stored.payload)


def test_a_gate_that_stops_its_faults_is_proved(dagbag, few, letters):
    """On record, and nobody is bothered."""
    states, proof = prove(dagbag, datetime(2013, 4, 1, tzinfo=UTC))

    assert (states["proved"], states["alert"]) == ("success", "skipped")
    assert proof.holds
    assert {mutant.name: mutant.by for mutant in proof.mutants}["too large"] == ("size",)
    assert letters("gate-unproved-") == []


def test_a_fault_that_survives_is_told_to_a_person(dagbag, few, letters, monkeypatch):
    """A rule was lost: the run is a success, the message names the fault."""
    monkeypatch.setattr(gate, "RULES", tuple(rule for rule in gate.RULES if rule is not judge_package))

    states, proof = prove(dagbag, datetime(2013, 5, 1, tzinfo=UTC))

    assert (states["proved"], states["alert"]) == ("skipped", "success")
    assert proof.survivors == ("too large",)
    (letter,) = letters("gate-unproved-harbour-weather-")
    assert "Faults that nothing stopped: too large." in letter
