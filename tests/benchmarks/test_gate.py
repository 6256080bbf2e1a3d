"""The gate's bench in small: levels hold where they are promised, and the harness can tell a rule that breaks them."""

import pytest
from scipy import stats

from benchmarks.gate import (
    COST_SLICES,
    LIFE,
    _decide_much,
    _false_promotions,
    _lives,
    _power,
    judge_world,
    synthetic_use_case,
    world,
)

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("strength", [0.0, 0.9])
def test_equal_challengers_are_promoted_within_the_level_by_ours_alone(strength):
    """200 weeks: ours within the binomial bound of 5 %; rules on point estimates promote them far more often."""
    found = {row.rule: row.promoted for row in _false_promotions(200, strength, 200)}

    bound = stats.binom.ppf(0.999, 200, 0.05)
    assert found["Perennial"] <= found["its test alone"] <= bound
    assert found["accuracy not lower"] > 3 * bound
    assert found["loss lower"] > 3 * bound
    assert (found["t-test over rows"] > bound) == (strength > 0)


def test_a_life_of_twenty_keeps_the_level():
    """100 champions, 20 challengers each."""
    assert _lives(0.5, 100).promoted <= stats.binom.ppf(0.999, 100, 0.05)


def test_four_of_five_gains_are_found():
    """Of those that an ideal test finds in 85 of 100 cases; 300 runs, within the binomial bound of 80 %."""
    found = _power(1000, 0.5, 300)

    assert found.promoted >= stats.binom.ppf(0.001, 300, 0.8)


def test_the_world_is_what_it_says():
    """Both models are equally good and answer differently; slices are as many as asked for."""
    import numpy as np

    use_case = synthetic_use_case(slices={"by": {"champion": COST_SLICES}})
    evidence = judge_world(use_case, world(5000, 0.5, np.random.default_rng(1)))

    assert len(evidence.slices) == COST_SLICES
    assert abs(evidence.challenger_loss.mean() - evidence.champion_loss.mean()) < 0.02
    assert not evidence.same_graph
    assert evidence.shared_rows == 0
    assert LIFE == 20


def test_the_cost_is_measured():
    """Seconds and megabytes of a real decision."""
    told = _decide_much()

    assert told["seconds"] > 0
    assert told["megabytes"] > 50
