"""The sequential test: its expectation under no harm is at most one, by enumeration, and its level holds for a life."""

import math
from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from benchmarks.canary import live
from ml.evaluation.sequential import Counts, add_block
from ml.records.release import Evidence

RATES = st.floats(0.001, 0.999)


@given(st.integers(1, 6), st.integers(1, 6), RATES, RATES, st.integers(0, 500), st.integers(0, 40))
@settings(max_examples=150, deadline=None)
def test_a_block_is_worth_at_most_one_while_the_second_group_is_no_worse(first, second, rate, other, seen, failed):
    """Expectation over every outcome of a block, summed by hand, for any sizes, rates and history."""
    worse, better = max(rate, other), min(rate, other)
    before = Evidence(n_first=seen + 40, failed_first=failed, logs=(0.0, 0.0, 0.0))
    expected = 0.0
    for a, b in product(range(first + 1), range(second + 1)):
        chance = stats.binom.pmf(a, first, worse) * stats.binom.pmf(b, second, better)
        expected += chance * add_block(before, Counts(first, a), Counts(second, b)).value

    assert expected <= 1 + 1e-9


def test_a_group_without_requests_is_no_evidence():
    """Whatever fails in the other one; the counts are kept."""
    found = add_block(Evidence(), Counts(100, 50), Counts(0, 0))

    assert (found.value, found.n_first, found.failed_first) == (1.0, 100, 50)
    assert add_block(Evidence(), Counts(0, 0), Counts(100, 100)).value == 1.0


def test_evidence_is_the_likelihood_ratio_of_the_bets():
    """One block by hand: rates 0.01 and 0.02, 0.05, 0.2 against their weighted means."""
    found = add_block(Evidence(), Counts(9, 0), Counts(1, 1)).value
    by_hand = []
    for times in (2, 5, 20):
        low, high = 0.01, 0.01 * times
        both = (9 * low + high) / 10
        by_hand.append((1 - low) ** 9 * high / ((1 - both) ** 9 * both))

    assert found == pytest.approx(sum(by_hand) / 3)
    assert math.isfinite(found)


def test_the_level_holds_for_a_whole_life_with_a_look_each_second():
    """300 lives of 300 looks of a candidate that fails as often as the champion, within the binomial bound of 2.5 %."""
    rng = np.random.default_rng(20261130)

    ended = sum(live(rng, 0.02, 0.02, looks=300).rolled_back for _ in range(300))

    assert ended <= stats.binom.ppf(0.999, 300, 0.025)


def test_harm_is_found_early():
    """A candidate that fails in every tenth request, where the champion does in every hundredth: 19 of 20 lives."""
    rng = np.random.default_rng(20261130)

    lives = [live(rng, 0.01, 0.1, looks=300) for _ in range(60)]

    assert sum(one.rolled_back for one in lives) >= stats.binom.ppf(0.001, 60, 0.95)
    assert np.median([one.exposed for one in lives]) < 150
