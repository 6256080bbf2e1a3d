"""``perennial prove-gate``: a table of what was stopped by what, and an exit code that says whether it holds."""

import json

import pytest
from typer.testing import CliRunner

from ml.cli.main import app
from ml.evaluation import gate
from ml.evaluation.rules.package import judge_package
from ml.simulation import prover

RUN = CliRunner()


@pytest.fixture
def few(monkeypatch):
    """A fault and a good model, so that it is quick."""
    monkeypatch.setattr(prover, "MUTANTS", {"too large": prover.MUTANTS["too large"]})
    monkeypatch.setattr(prover, "GOOD", {"better": prover.GOOD["better"]})


def test_a_gate_that_stops_its_fault_is_proved(few):
    """The table names model, rule and evidence."""
    done = RUN.invoke(app, ["prove-gate", "harbour_weather", "--quick"])

    assert done.exit_code == 0, done.output
    assert "too large" in done.output
    assert "size" in done.output
    assert "1 of 1 faults stopped, 0 of 1 good models stopped" in done.output


def test_a_survivor_is_exit_code_1(few, monkeypatch):
    """``--json`` names it; the number of rules is what was changed."""
    monkeypatch.setattr(gate, "RULES", tuple(rule for rule in gate.RULES if rule is not judge_package))

    done = RUN.invoke(app, ["prove-gate", "harbour_weather", "--json"])

    assert done.exit_code == 1
    told = json.loads(done.stdout)
    assert [(m["name"], m["good"], m["killed"], m["by"]) for m in told["mutants"]] == [
        ("too large", False, False, []),
        ("better", True, False, []),
    ]


def test_a_use_case_that_does_not_exist_is_told():
    """By its file."""
    done = RUN.invoke(app, ["prove-gate", "nowhere"])

    assert done.exit_code != 0
    assert done.exception is not None
    assert "nowhere" in str(done.exception)
