"""What holds for every registered drift statistic, and what is special about each.

A new statistic is tested here without another line, except for its own oracle below.
"""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from scipy import stats
from scipy.spatial.distance import jensenshannon

from ml.drift.statistics import STATISTICS, Statistic, find_statistic, register
from ml.drift.statistics.jensen_shannon import JENSEN_SHANNON
from ml.drift.statistics.psi import PSI
from ml.drift.statistics.shares import SMOOTHING
from ml.errors import DataError, InputError
from ml.records.profile import CategoryProfile, NumberProfile

every_statistic = pytest.mark.parametrize("statistic", STATISTICS.values(), ids=STATISTICS.keys())
counts = st.lists(st.integers(0, 500), min_size=2, max_size=12)


def number(*found: int, missing: int = 0) -> NumberProfile:
    """A number column with these counts on edges 0, 1, 2 .."""
    return NumberProfile(
        edges=tuple(map(float, range(len(found) - 1))),
        counts=found,
        missing=missing,
        mean=0.0,
        m2=0.0,
        minimum=None,
        maximum=None,
    )


def pair(first: list[int], second: list[int]) -> tuple[NumberProfile, NumberProfile]:
    """Two columns on the same bins, the last count being missing."""
    size = min(len(first), len(second))
    return number(*first[: size - 1], missing=first[size - 1]), number(*second[: size - 1], missing=second[size - 1])


def shares(column: NumberProfile) -> np.ndarray:
    """Smoothed shares, written down a second time."""
    found = np.array([*column.counts, column.missing]) + SMOOTHING
    return found / found.sum()


@every_statistic
@settings(deadline=None)
@given(counts, counts)
def test_values_lie_in_the_declared_range_and_do_not_depend_on_the_order(statistic, first, second):
    """Symmetric, finite, never negative."""
    assume(any(first) and any(second))
    reference, live = pair(first, second)
    assume(sum(reference.counts) + reference.missing and sum(live.counts) + live.missing)

    value = statistic.distance(reference, live)

    assert statistic.range[0] <= value <= statistic.range[1]
    assert math.isfinite(value)
    assert value == pytest.approx(statistic.distance(live, reference), abs=1e-12)


@every_statistic
@given(counts)
def test_a_column_has_no_distance_from_itself(statistic, found):
    """0 is identical, exactly."""
    assume(sum(found))
    assert statistic.distance(*pair(found, found)) == 0.0


@every_statistic
def test_more_shift_is_further(statistic):
    """Rows that wander from the first bin to the last, a tenth at a time."""
    reference = number(100, 100)
    values = [statistic.distance(reference, number(100 - moved, 100 + moved)) for moved in range(0, 101, 10)]

    assert statistic.direction == "higher_is_further"
    assert values == sorted(set(values))


@every_statistic
def test_missing_values_are_a_bin(statistic):
    """A sensor that fails is drift although the values that it still gives are as before."""
    assert statistic.distance(number(50, 50), number(25, 25, missing=50)) > 0.1


@every_statistic
def test_unknown_categories_are_a_bin(statistic):
    """Categories that the reference does not name count as other."""
    reference = CategoryProfile(counts={"A": 50, "B": 50}, other=0, missing=0)
    live = CategoryProfile(counts={"A": 25, "B": 25}, other=50, missing=0)

    assert statistic.distance(reference, live) > 0.1


@every_statistic
def test_the_order_of_categories_does_not_matter(statistic):
    """Two profiles may have met their categories in another order."""
    first = CategoryProfile(counts={"A": 10, "B": 90}, other=0, missing=0)
    second = CategoryProfile(counts={"B": 90, "A": 10}, other=0, missing=0)

    assert statistic.distance(first, second) == 0.0


@every_statistic
def test_without_rows_it_is_undefined(statistic):
    """None on either side, never 0."""
    empty, full = number(0, 0), number(5, 5)

    assert statistic.distance(empty, full) is None
    assert statistic.distance(full, empty) is None


@every_statistic
@pytest.mark.parametrize(
    "other",
    [
        number(5, 5, 5),
        CategoryProfile(counts={"A": 10}, other=0, missing=0),
        number(5, 5).model_copy(update={"edges": (9.0,)}),
    ],
)
def test_columns_on_other_bins_are_refused(statistic, other):
    """A distance over unlike bins would be a number without a meaning."""
    with pytest.raises(DataError, match="different bins"):
        statistic.distance(number(5, 5), other)


@settings(deadline=None)
@given(counts, counts)
def test_psi_is_the_sum_of_both_relative_entropies(first, second):
    """SciPy's entropy, both ways."""
    reference, live = pair(first, second)
    assume(sum(reference.counts) + reference.missing and sum(live.counts) + live.missing)
    p, q = shares(reference), shares(live)

    expected = stats.entropy(p, q) + stats.entropy(q, p)
    assert PSI.distance(reference, live) == pytest.approx(expected, rel=1e-9, abs=1e-12)


def test_psi_by_hand():
    """Shares (10.5, 30.5, 0.5) / 41.5 against (30.5, 10.5, 0.5) / 41.5: 2 * 20 / 41.5 * log(30.5 / 10.5)."""
    expected = 2 * 20 / 41.5 * math.log(30.5 / 10.5)
    assert PSI.distance(number(10, 30), number(30, 10)) == pytest.approx(expected, rel=1e-12)


@settings(deadline=None)
@given(counts, counts)
def test_jensen_shannon_agrees_with_scipy(first, second):
    """In bits."""
    reference, live = pair(first, second)
    assume(sum(reference.counts) + reference.missing and sum(live.counts) + live.missing)

    expected = jensenshannon(shares(reference), shares(live), base=2)
    assert JENSEN_SHANNON.distance(reference, live) == pytest.approx(expected, abs=1e-7)


def test_the_names_are_those_of_the_use_case_file(use_case):
    """Every statistic that a file may name exists, and no other."""
    allowed = type(use_case.monitoring).model_json_schema()["properties"]["statistic"]["enum"]

    assert sorted(STATISTICS) == sorted(allowed)
    assert all(find_statistic(name).name == name for name in allowed)


def test_a_name_is_registered_once():
    """Two statistics under one name are a mistake that shows at import."""
    copy = Statistic(name="psi", range=(0, 1), direction="higher_is_further", reference="", distance=PSI.distance)
    with pytest.raises(InputError, match="registered twice"):
        register((PSI, copy))


def test_an_unknown_name_says_what_there_is():
    """The message lists the names."""
    with pytest.raises(InputError, match="unknown statistic; got: 'chi2'; allowed: psi, jensen_shannon"):
        find_statistic("chi2")
