"""Gaps between groups are fairlearn's numbers, and a challenger that widens one beyond doubt is rejected."""

from dataclasses import replace

import numpy as np
import pytest
from fairlearn.metrics import demographic_parity_difference, equalized_odds_difference
from hypothesis import given
from hypothesis import strategies as st

from ml.evaluation.gaps import GAPS, gap_tables
from ml.evaluation.gate import decide_gate

PEERS = {"demographic_parity": demographic_parity_difference, "equalized_odds": equalized_odds_difference}


@pytest.mark.parametrize("gap", list(GAPS))
@given(rows=st.lists(st.tuples(st.booleans(), st.booleans(), st.sampled_from("abc")), min_size=2, max_size=60))
def test_gaps_are_those_of_fairlearn(gap, rows):
    """Wherever every group has rows of every kind that a rate is a share of."""
    truth, decided, groups = (np.array(column) for column in zip(*rows, strict=True))
    found = float(GAPS[gap](gap_tables(gap, decided, truth, groups.astype(object)).sum(axis=0)))

    if np.isfinite(found):
        assert found == pytest.approx(PEERS[gap](truth, decided, sensitive_features=groups))
    else:
        assert any(len(set(truth[groups == group])) < 2 for group in set(groups))


@pytest.fixture(scope="module")
def protected(use_case):
    """Whether the ferry is late now is protected."""
    late_now = use_case.features["late_now"].model_copy(update={"protected": True})
    return use_case.model_copy(
        update={
            "features": use_case.features | {"late_now": late_now},
            "target": use_case.target.model_copy(update={"positive": "late"}),
        }
    )


def bounded(use_case, **bounds):
    """With other bounds on gaps."""
    fairness = use_case.gate.fairness.model_copy(update=bounds)
    return use_case.model_copy(update={"gate": use_case.gate.model_copy(update={"fairness": fairness})})


def rules_of(decision):
    """Rules about groups."""
    return {rule.name: rule for rule in decision.rules if rule.name.endswith("late_now")}


def test_a_fair_challenger_passes_and_every_groups_rate_is_told(protected, challenger, champion, collect):
    """Wind decides, and wind is the same in both groups."""
    decision = decide_gate(collect(protected, challenger, champion), protected)

    found = rules_of(decision)
    assert list(found) == ["demographic_parity late_now", "equalized_odds late_now"]
    assert {rule.verdict for rule in found.values()} == {"pass"}
    assert "selection rate no 0." in found["demographic_parity late_now"].detail
    assert decision.decision == "promote"


def test_a_challenger_that_decides_by_the_protected_feature_is_rejected(protected, challenger, champion, collect):
    """All of one group are decided late, none of the other: both gaps are 1."""
    evidence = collect(protected, challenger, champion)
    group = (evidence.groups["late_now"] == "yes").astype(float)
    unfair = replace(evidence, challenger_answers=np.column_stack([0.1 + 0.8 * group, 0.9 - 0.8 * group]))

    decision = decide_gate(unfair, protected)

    found = rules_of(decision)
    assert decision.decision == "reject"
    assert [rule.value for rule in found.values()] == [1.0, 1.0]
    assert {rule.verdict for rule in found.values()} == {"fail"}


def test_a_first_model_is_held_to_the_files_bound(protected, challenger, collect):
    """Without a champion there is only what the file allows."""
    evidence = collect(protected, challenger)
    group = (evidence.groups["late_now"] == "yes").astype(float)
    unfair = replace(evidence, challenger_answers=np.column_stack([0.1 + 0.8 * group, 0.9 - 0.8 * group]))

    assert rules_of(decide_gate(unfair, protected))["demographic_parity late_now"].verdict == "pass"
    strict = bounded(protected, demographic_parity=0.3)
    assert rules_of(decide_gate(unfair, strict))["demographic_parity late_now"].verdict == "fail"


def test_groups_too_small_to_compare_are_undecidable(protected, challenger, champion, collect):
    """With 49 rows of one group there is no second one."""
    evidence = collect(protected, challenger, champion)
    groups = np.full(evidence.n, "no", dtype=object)
    groups[:49] = "yes"

    decision = decide_gate(replace(evidence, groups={"late_now": groups}), protected)

    found = rules_of(decision)["demographic_parity late_now"]
    assert (decision.state, found.verdict) == ("undecidable", "undecidable")
    assert "fewer than 50 rows left out: yes" in found.detail
