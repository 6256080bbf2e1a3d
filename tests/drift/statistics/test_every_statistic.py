"""What holds for every registered drift statistic, and an independent oracle for each.

A new statistic is tested here without another line, except for its own oracle below.
"""

from __future__ import annotations

import math
from typing import get_args

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from scipy import stats
from scipy.spatial.distance import jensenshannon

from ml.drift.statistics import STATISTICS, find_statistic, register
from ml.drift.statistics.base import SMOOTHING, Bins, bins_of, joined
from ml.errors import DataError, InputError
from ml.records.profile import CategoryProfile, NumberProfile
from ml.use_case.monitoring_options import StatisticName

every_statistic = pytest.mark.parametrize("statistic", STATISTICS.values(), ids=STATISTICS.keys())
counts = st.lists(st.integers(0, 500), min_size=4, max_size=12)
#: What each statistic is there for; the others need not see it.
SEES_MISSING = {"psi", "jensen_shannon", "hellinger", "chi_square", "total_variation", "missing_rate"}
SEES_NEW_CATEGORIES = SEES_MISSING - {"missing_rate"} | {"new_categories"}


def number(*found: int, missing: int = 0) -> NumberProfile:
    """A number column with these counts on edges 0, 1, 2 ..; its standard deviation is 2."""
    present = sum(found)
    return NumberProfile(
        edges=tuple(map(float, range(len(found) - 1))),
        counts=found,
        missing=missing,
        mean=0.0,
        m2=4.0 * present,
        minimum=None,
        maximum=None,
    )


def category(a: int, b: int, other: int = 0, missing: int = 0) -> CategoryProfile:
    """A column of two named values."""
    return CategoryProfile(counts={"A": a, "B": b}, other=other, missing=missing)


def pair(first: list[int], second: list[int]) -> tuple[NumberProfile, NumberProfile]:
    """Two columns on the same bins, the last count being missing."""
    size = min(len(first), len(second))
    return number(*first[: size - 1], missing=first[size - 1]), number(*second[: size - 1], missing=second[size - 1])


def as_declared(statistic, first, second):
    """Two columns of a kind that the statistic is defined for."""
    if "number" in statistic.kinds:
        return pair(first, second)
    return category(*first[:4]), category(*second[:4])


@every_statistic
@settings(deadline=None)
@given(first=counts, second=counts)
def test_values_lie_in_the_declared_range_or_are_undefined(statistic, first, second):
    """Never NaN, never beyond; undefined is None."""
    value = statistic.between(*as_declared(statistic, first, second))

    assert value is None or statistic.range[0] <= value <= statistic.range[1]


@every_statistic
@given(found=counts)
def test_identical_columns_are_not_apart(statistic, found):
    """Zero, up to rounding."""
    assume(sum(found[:-1]) > 0)
    value = statistic.between(*as_declared(statistic, found, found))

    assert value is None or value == pytest.approx(0.0, abs=1e-7)


@every_statistic
def test_moving_mass_away_raises_it_step_by_step(statistic):
    """The direction is the declared one, on what the statistic is there for."""
    far = {
        "missing_rate": lambda k: (number(10, 10, 10, 10), number(10, 10, 10, 10, missing=10 * k)),
        "new_categories": lambda k: (category(50, 50), category(50, 50, other=10 * k)),
        "range_violation": lambda k: (number(0, 20, 20, 0), number(0, 20, 20, 10 * k)),
    }
    usual = lambda k: (number(0, 40, 40, 0), number(0, 40 - 10 * k, 40 + 10 * k, 0))  # noqa: E731
    values = [statistic.between(*far.get(statistic.name, usual)(k)) for k in range(4)]

    assert statistic.direction == "higher_is_further"
    assert values == sorted(set(values))


@every_statistic
def test_many_rows_of_counts_at_once_are_each_row_by_itself(statistic):
    """Calibration hands over a thousand drawn windows at a time."""
    rng = np.random.default_rng(1)
    column = number(*[50] * 8, missing=5) if "number" in statistic.kinds else category(40, 30, 5, 5)
    bins = bins_of(column)
    width = 9 if "number" in statistic.kinds else 4
    first, second = (rng.integers(1, 90, size=(20, width)).astype(float) for _ in range(2))

    together = statistic.distance(first, second, bins)

    np.testing.assert_allclose(together, [statistic.distance(a, b, bins) for a, b in zip(first, second, strict=True)])


@every_statistic
@given(value=st.floats(0, 1), offset=st.floats(1e-6, 0.01))
def test_a_value_comes_back_from_the_whole_line(statistic, value, offset):
    """Thresholds are found there and told in the statistic's own unit."""
    there = float(statistic.unbounded(np.array(value), offset))

    assert statistic.bounded(there, offset) == pytest.approx(value, abs=1e-9)


@every_statistic
def test_missing_values_are_seen_by_those_that_should(statistic):
    """A sensor that fails is drift although the values that it still gives are as before."""
    if statistic.name in SEES_MISSING:
        assert statistic.between(number(0, 50, 50, 0), number(0, 25, 25, 0, missing=50)) > 0.1
    elif statistic.name != "new_categories":
        assert statistic.between(number(0, 50, 50, 0), number(0, 25, 25, 0, missing=50)) < 0.1


@every_statistic
def test_unknown_categories_are_seen_by_those_that_should(statistic):
    """Categories that the reference does not name count as other."""
    if statistic.name in SEES_NEW_CATEGORIES:
        assert statistic.between(category(50, 50), category(25, 25, other=50)) > 0.1


@every_statistic
def test_without_rows_it_is_undefined(statistic):
    """None on either side, never 0."""
    if "number" in statistic.kinds:
        empty, full = number(0, 0, 0), number(5, 5, 5)
    else:
        empty, full = category(0, 0), category(5, 5)

    assert statistic.between(empty, full) is None
    assert statistic.between(full, empty) is None


@every_statistic
@pytest.mark.parametrize(
    "other", [number(5, 5, 5, 5), category(5, 5), number(5, 5, 5).model_copy(update={"edges": (9.0, 10.0)})]
)
def test_columns_on_other_bins_are_refused(statistic, other):
    """A distance over unlike bins would be a number without a meaning."""
    with pytest.raises(DataError, match="different bins"):
        statistic.between(number(5, 5, 5), other)


def shares(column: NumberProfile) -> np.ndarray:
    """Smoothed shares of the joined bins, written down a second time."""
    found = joined(np.array([*column.counts, column.missing], dtype=float), bins_of(column)) + SMOOTHING
    return found / found.sum()


@settings(deadline=None)
@given(counts, counts)
def test_psi_and_jensen_shannon_agree_with_scipy(first, second):
    """The sum of both relative entropies; the distance in bits."""
    reference, live = pair(first, second)
    assume(sum(reference.counts) + reference.missing and sum(live.counts) + live.missing)
    found = np.array([*live.counts, live.missing], dtype=float)
    q = joined(found, bins_of(reference)) + SMOOTHING
    p, q = shares(reference), q / q.sum()

    entropies = stats.entropy(p, q) + stats.entropy(q, p)
    assert find_statistic("psi").between(reference, live) == pytest.approx(entropies, rel=1e-9, abs=1e-12)
    distance = jensenshannon(p, q, base=2)
    assert find_statistic("jensen_shannon").between(reference, live) == pytest.approx(distance, abs=1e-7)


def test_psi_by_hand():
    """Shares (10.5, 30.5, 0.5, 0.5) / 42 against (30.5, 10.5, ..) / 42: 2 * 20 / 42 * log(30.5 / 10.5)."""
    expected = 2 * 20 / 42 * math.log(30.5 / 10.5)
    assert find_statistic("psi").between(category(10, 30), category(30, 10)) == pytest.approx(expected, rel=1e-12)


def test_chi_square_is_scipys_contingency_table_per_degree_of_freedom():
    """Both rows are samples."""
    expected = stats.chi2_contingency([[10, 30, 5], [30, 10, 8]], correction=False)
    value = find_statistic("chi_square").between(category(10, 30, 5), category(30, 10, 8))

    assert value == pytest.approx(expected.statistic / expected.dof, rel=1e-12)


def test_kolmogorov_smirnov_and_wasserstein_agree_with_scipy_on_the_edges():
    """Values that lie on the edges 0 .. 3 themselves."""
    reference, live = number(0, 10, 20, 30, 40), number(0, 40, 30, 20, 10)
    first, second = np.repeat([0, 1, 2, 3], [10, 20, 30, 40]), np.repeat([0, 1, 2, 3], [40, 30, 20, 10])

    exact = stats.ks_2samp(first, second).statistic
    assert find_statistic("kolmogorov_smirnov").between(reference, live) == pytest.approx(exact)
    # Mass is spread evenly over its bin, so the area is that of the two polygons: halves at the ends.
    area = np.trapezoid(np.abs(np.cumsum([0, 10, 20, 30]) - np.cumsum([0, 40, 30, 20]))) / 100 / 2
    assert find_statistic("wasserstein").between(reference, live) == pytest.approx(area)


def test_shares_by_hand():
    """Hellinger, total variation, missing, new and out of range of small columns."""
    first, second = category(60, 40), category(30, 50, other=10, missing=10)
    apart = (math.sqrt(0.6) - math.sqrt(0.3)) ** 2 + (math.sqrt(0.4) - math.sqrt(0.5)) ** 2 + 0.1 + 0.1

    assert find_statistic("hellinger").between(first, second) == pytest.approx(math.sqrt(apart / 2))
    assert find_statistic("total_variation").between(first, second) == pytest.approx(0.3)
    assert find_statistic("missing_rate").between(first, second) == pytest.approx(0.1)
    assert find_statistic("new_categories").between(first, second) == pytest.approx(0.1)


def test_rows_beyond_the_extremes_by_hand():
    """One in a hundred before, fifteen now."""
    value = find_statistic("range_violation").between(number(1, 49, 50, 0), number(10, 45, 40, 5))

    assert value == pytest.approx(0.14)


def test_the_names_are_those_of_the_use_case_file():
    """Every statistic that a file may name exists, and no other."""
    assert sorted(STATISTICS) == sorted(get_args(StatisticName))
    assert all(find_statistic(name).name == name for name in STATISTICS)


def test_every_statistic_says_where_it_comes_from():
    """A reference with a year, and a title."""
    for statistic in STATISTICS.values():
        assert any(word.strip("(),:").isdigit() for word in statistic.reference.split())
        assert statistic.title


def test_a_name_is_registered_once():
    """Two statistics under one name are a mistake that shows at import."""
    with pytest.raises(InputError, match="registered twice"):
        register((find_statistic("psi"), find_statistic("psi")))


def test_an_unknown_name_says_what_there_is():
    """The message lists the names."""
    with pytest.raises(InputError, match="unknown statistic; got: 'chi2'; allowed: psi, jensen_shannon"):
        find_statistic("chi2")


def test_joined_bins_hold_about_a_tenth_each():
    """Sixty-four fine bins of equal share become ten; missing stays by itself."""
    column = number(0, *[10] * 64, 0, missing=7)
    found = joined(np.array([*column.counts, column.missing], dtype=float), bins_of(column))

    assert len(found) == 11
    assert found[-1] == 7
    assert found[:-1].min() >= 60
    assert isinstance(bins_of(column), Bins)
