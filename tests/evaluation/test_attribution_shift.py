"""Attributions on training rows against live ones: a shift is seen, none is none."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from ml.errors import DataError
from ml.evaluation.attribution_shift import Attributions, compare_attributions

FEATURES = ("wind", "rain", "tide", "port")


def side(n: int, seed: int, *, scale: tuple[float, ...] = (1.0, 0.5, 0.2, 0.1), memory: float = 0.5) -> Attributions:
    """Sizes of autocorrelated values, two hours apart."""
    rng = np.random.default_rng(seed)
    steps, values = rng.normal(size=(n, len(FEATURES))), np.zeros((n, len(FEATURES)))
    for i in range(n):
        values[i] = memory * values[i - 1] + np.sqrt(1 - memory**2) * steps[i] if i else steps[0]
    return Attributions(np.abs(values) * scale, pd.date_range("2013-01-01", periods=n, freq="2h", tz="UTC"))


def test_a_feature_that_counts_for_more_is_named_and_no_other():
    """Tide counts for half as much again live: it alone is shifted, and its interval holds the truth."""
    trained, live = side(400, 1), side(400, 2, scale=(1.0, 0.5, 0.3, 0.1))

    found = compare_attributions(FEATURES, trained, live, level=0.05)

    assert [one.feature for one in found if one.shifted] == ["tide"]
    tide = next(one for one in found if one.feature == "tide")
    truth = 0.1 * np.sqrt(2 / np.pi)
    assert tide.change.low < truth < tide.change.high
    assert tide.change.value == pytest.approx(live.sizes[:, 2].mean() - trained.sizes[:, 2].mean())
    assert tide.adjusted >= tide.p


@pytest.mark.slow
@pytest.mark.parametrize("memory", [0.0, 0.8])
def test_without_a_shift_hardly_ever_a_feature_is_named(memory):
    """At most one comparison in twenty of equal sides names any of four features."""
    named = 0
    for seed in range(200):
        pair = (side(200, 2 * seed, memory=memory), side(200, 2 * seed + 1, memory=memory))
        named += any(one.shifted for one in compare_attributions(FEATURES, *pair, level=0.05))

    assert named <= stats.binom.ppf(0.999, 200, 0.05)


def test_p_values_of_independent_rows_agree_with_shuffling_them():
    """A permutation of the sides gives the same p-value within its own error."""
    trained, live = side(150, 5, memory=0.0), side(150, 6, memory=0.0, scale=(1.1, 0.5, 0.2, 0.1))
    found = next(one for one in compare_attributions(FEATURES, trained, live, level=0.05) if one.feature == "wind")
    both = np.concatenate([trained.sizes[:, 0], live.sizes[:, 0]])
    rng, observed, hits = np.random.default_rng(7), abs(found.change.value), 0

    for _ in range(2000):
        shuffled = rng.permutation(both)
        hits += abs(shuffled[:150].mean() - shuffled[150:].mean()) >= observed

    assert found.p == pytest.approx(hits / 2000, abs=0.05)


def test_a_side_with_few_moments_tells_nothing_and_says_why():
    """Nineteen hours are no comparison; neither are none."""
    for n in (19, 0):
        found = compare_attributions(FEATURES, side(200, 1), side(n, 2), level=0.05)

        assert not any(one.shifted or one.p for one in found)
        assert all(f"{n} live ones are too few" in one.change.detail for one in found)


def test_a_feature_that_never_counts_has_not_shifted():
    """Zero on both sides is no change at all."""
    found = compare_attributions(FEATURES, side(50, 1, scale=(1, 1, 1, 0)), side(50, 2, scale=(1, 1, 1, 0)), level=0.05)

    port = next(one for one in found if one.feature == "port")
    assert (port.change.value, port.p, port.shifted) == (0.0, 1.0, False)


def test_sides_must_have_the_features_that_are_named():
    """Another number of columns is refused."""
    with pytest.raises(DataError, match="other columns"):
        compare_attributions(("wind",), side(50, 1), side(50, 2), level=0.05)
