"""Golden rows and behaviour tests: what a model must do with rows that people made, checked row by row."""

import numpy as np
import pytest

from ml.evaluation.behaviour import ask_golden_rows, try_behaviour
from ml.evaluation.gate import decide_gate
from ml.use_case.gate_options import Behaviour, GoldenRow


def asked(use_case, **gate):
    """The use case with golden rows or behaviour tests."""
    return use_case.model_copy(update={"gate": use_case.gate.model_copy(update=gate)})


CALM = GoldenRow(name="calm", row={"wind": -2.0, "late_now": False}, answer="on time", at_least=0.8)
STORM = GoldenRow(name="storm", row={"wind": 2.5, "late_now": False}, answer="late", at_least=0.8)
UNKNOWN = GoldenRow(name="no wind gauge", row={"late_now": False}, answer="on time", at_least=0.5)


def test_golden_rows_that_hold_pass_one_by_one(use_case, challenger, champion, collect):
    """Wind makes it late; a missing number is imputed inside the graph."""
    golden = asked(use_case, golden=(CALM, STORM, UNKNOWN))
    decision = decide_gate(collect(golden, challenger, champion), golden)

    found = {rule.name: rule for rule in decision.rules if rule.name.startswith("golden")}
    assert list(found) == ["golden calm", "golden storm", "golden no wind gauge"]
    assert {rule.verdict for rule in found.values()} == {"pass"}
    assert decision.decision == "promote"


def test_a_golden_row_that_is_answered_otherwise_rejects(use_case, challenger, champion, collect):
    """The row, the probability and what was expected are told."""
    wrong = asked(use_case, golden=(CALM, STORM.model_copy(update={"answer": "on time"})))
    decision = decide_gate(collect(wrong, challenger, champion), wrong)

    assert [rule.name for rule in decision.rules if rule.verdict == "fail"] == ["golden storm"]
    rule = next(rule for rule in decision.rules if rule.name == "golden storm")
    assert rule.detail == f"probability {rule.value:.3f} of on time, expected at least 0.8"


def linear(rows):
    """Probability of being late rises by a tenth for each unit of wind."""
    late = np.clip(0.5 + 0.1 * rows["wind"].to_numpy(dtype=float), 0, 1)
    return np.column_stack([late, 1 - late])


@pytest.mark.parametrize(
    ("behaviour", "share"),
    [
        (Behaviour(name="t", add={"wind": 1.0}, expect="rises", of="late"), 1.0),
        (Behaviour(name="t", add={"wind": 1.0}, expect="falls", of="late"), 0.0),
        (Behaviour(name="t", add={"wind": 1.0}, expect="falls", of="on time"), 1.0),
        (Behaviour(name="t", add={"wind": 1.0}, expect="same", of="late"), 0.0),
        (Behaviour(name="t", add={"wind": 1.0}, expect="same", of="late", tolerance=0.11), 1.0),
        (Behaviour(name="t", put={"late_now": True}, expect="same", of="late"), 1.0),
    ],
)
def test_how_a_known_model_moves(use_case, challenger, behaviour, share):
    """By hand: a tenth up for each unit, whatever is true now."""
    classes = ("late", "on time")
    assert use_case.answers == classes

    (found,) = try_behaviour(linear, challenger.holdout, asked(use_case, behaviour=(behaviour,)))

    assert found.holds.mean() == share
    if behaviour.add:
        sign = 1 if behaviour.of == "late" else -1
        inside = challenger.holdout["wind"].between(-4, 4).to_numpy()
        assert found.moved[inside] == pytest.approx(np.full(inside.sum(), 0.1 * sign))
    else:
        assert len(found.holds) == (challenger.holdout["late_now"] == 0).sum()  # the others are what is put already


def test_a_row_that_would_leave_its_range_is_left_out(use_case, challenger):
    """Nobody knows what a model should say to wind that cannot be."""
    wind = use_case.features["wind"].model_copy(update={"range": (-4.0, 1.5)})
    bounded = asked(use_case, behaviour=(Behaviour(name="t", add={"wind": 1.0}, expect="rises", of="late"),))
    bounded = bounded.model_copy(update={"features": use_case.features | {"wind": wind}})

    (found,) = try_behaviour(linear, challenger.holdout, bounded)

    assert len(found.holds) == (challenger.holdout["wind"] <= 0.5).sum()


def test_a_challenger_that_moves_the_wrong_way_is_rejected(use_case, challenger, champion, collect):
    """More wind makes the real model say late; a file that expects the contrary rejects it, naming rows."""
    right = asked(use_case, behaviour=(Behaviour(name="wind delays", add={"wind": 0.5}, expect="rises", of="late"),))
    wrong = asked(use_case, behaviour=(Behaviour(name="wind helps", add={"wind": 0.5}, expect="falls", of="late"),))

    passed = decide_gate(collect(right, challenger, champion), right)
    failed = decide_gate(collect(wrong, challenger, champion), wrong)

    assert passed.decision == "promote"
    assert [rule.name for rule in failed.rules if rule.verdict == "fail"] == ["behaviour wind helps"]
    assert "not in " in failed.reasons[0]


def test_a_change_that_touches_no_row_is_undecidable(use_case, challenger, champion, collect):
    """A test that never ran has not been passed."""
    idle = asked(use_case, behaviour=(Behaviour(name="t", put={"late_now": True}, expect="same", of="late"),))
    frame = challenger.frame.assign(late_now=1.0)

    decision = decide_gate(collect(idle, challenger, champion, frame=frame), idle)

    assert next(rule for rule in decision.rules if rule.name == "behaviour t").verdict == "undecidable"
    assert decision.decision == "reject"


def test_golden_numbers_are_within_their_distance(use_case):
    """Of a regression; by hand."""
    number = use_case.model_copy(
        update={"task": "regression", "target": use_case.target.model_copy(update={"classes": {}})}
    )
    rows = tuple(
        GoldenRow(name=name, row={"wind": 1.0, "late_now": False}, answer=3.0, within=within)
        for name, within in (("far", 0.4), ("near", 0.5))
    )

    far, near = ask_golden_rows(lambda frame: np.full((len(frame), 1), 3.5), asked(number, golden=rows))

    assert (far.holds, near.holds, near.value) == (False, True, 0.5)
