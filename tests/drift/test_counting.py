"""The counting loop: compiled and with NumPy it is the same."""

from __future__ import annotations

import math
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ml.drift import counting
from ml.drift.counting import count_numbers

values = st.lists(
    st.one_of(
        st.floats(allow_nan=True, allow_infinity=True),
        st.sampled_from([0.0, 1.0, 2.0, 2.5, math.nan, math.inf, sys.float_info.max, -sys.float_info.max]),
        st.floats(-10, 10),
    ),
    max_size=40,
)
edges = st.lists(
    st.one_of(st.floats(-10, 10), st.sampled_from([0.0, 1.0, 2.0, -1e300, 1e300])), max_size=12, unique=True
)


def both(monkeypatch, found, cuts, blocks, n_blocks):
    """The loop compiled, then with NumPy."""
    answers = []
    for limit in (0, 10**9):
        monkeypatch.setattr(counting, "COMPILE_FROM_ROWS", limit)
        answers.append(count_numbers(np.array(found, float), np.sort(np.array(cuts, float)), blocks, n_blocks))
    return answers


@settings(max_examples=150, deadline=None)
@given(found=values, cuts=edges, data=st.data())
def test_both_ways_of_counting_agree(found, cuts, data):
    """Counts and extremes to the last bit, moments up to rounding, in one block or in several."""
    n_blocks = data.draw(st.integers(1, 3))
    drawn = data.draw(st.lists(st.integers(0, n_blocks - 1), min_size=len(found), max_size=len(found)))
    blocks = None if n_blocks == 1 else np.array(drawn, dtype=np.int32)
    with pytest.MonkeyPatch.context() as patch:
        compiled, numpy = both(patch, found, cuts, blocks, n_blocks)

    np.testing.assert_array_equal(compiled.counts, numpy.counts)
    assert (compiled.minimum, compiled.maximum) == (numpy.minimum, numpy.maximum)
    assert compiled.mean == pytest.approx(numpy.mean, rel=1e-9, abs=1e-6)
    assert compiled.m2 == pytest.approx(
        numpy.m2, rel=1e-6, abs=1e-3 + 1e-9 * min(abs(numpy.mean), 1e150) ** 2 * len(found)
    )


def test_a_million_values_are_counted_as_numpys_histogram(rng):
    """NumPy's own histogram is the oracle."""
    found = rng.normal(size=1_000_000)
    cuts = np.quantile(found, np.arange(1, 64) / 64)

    counted = count_numbers(found, cuts, None, 1)

    expected, _ = np.histogram(found, bins=np.concatenate([[-np.inf], cuts, [np.inf]]))
    np.testing.assert_array_equal(counted.counts[0, :-1], expected)
    assert counted.mean == pytest.approx(found.mean(), rel=1e-9)
    assert counted.m2 == pytest.approx(found.var() * len(found), rel=1e-9)
