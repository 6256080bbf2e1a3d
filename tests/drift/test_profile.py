"""Profiles: counted right, in one pass, mergeable in any order."""

from __future__ import annotations

import math
import sys
from datetime import UTC, datetime, timedelta

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st
from scipy import stats

from ml.drift.columns import kinds_of
from ml.drift.profile import NAMED_CATEGORIES, build_pieces, build_profile, merge_all, merge_profiles
from ml.drift.statistics import find_statistic
from ml.errors import DataError
from ml.records.measure import Window
from ml.records.profile import CategoryProfile, NumberProfile, Profile
from ml.use_case import UseCase

START = datetime(2013, 3, 1, tzinfo=UTC)


def window(first: int, last: int) -> Window:
    """Days after START."""
    return Window(start=START + timedelta(days=first), end=START + timedelta(days=last))


def frame(wind, holiday=None, pier=None) -> pd.DataFrame:
    """Rows of the three columns; holiday and pier are constant unless given."""
    n = len(wind)
    return pd.DataFrame(
        {
            "wind": np.array(wind, dtype=float),
            "holiday": np.zeros(n) if holiday is None else np.array(holiday, dtype=float),
            "pier": pd.Series(["A"] * n if pier is None else pier, dtype=object),
        }
    )


def test_ten_values_in_two_bins_are_counted_by_hand(use_case):
    """The median of 1..10 is 5.5: five below, five from it on, nothing beyond the extremes."""
    column = build_profile(frame(range(1, 11)), kinds_of(use_case), bins=2).columns["wind"]

    beyond = math.nextafter(10.0, math.inf)
    assert column == NumberProfile(
        edges=(1.0, 5.5, beyond), counts=(0, 5, 5, 0), missing=0, mean=5.5, m2=82.5, minimum=1.0, maximum=10.0
    )


def test_bins_are_closed_below_and_open_above(use_case):
    """A value on an edge belongs to the bin above it; what lies beyond the extremes has bins of its own."""
    reference = build_profile(frame(range(1, 11)), kinds_of(use_case), bins=2)
    live = build_profile(frame([0.9, 1.0, 5.4, 5.5, 10.0, 10.1]), kinds_of(use_case), edges=reference)

    assert live.columns["wind"].edges == reference.columns["wind"].edges
    assert live.columns["wind"].counts == (1, 2, 2, 1)


def test_edges_are_the_extremes_and_the_quantiles(use_case, rng):
    """Compared with pandas' quantiles; each of 64 bins holds a 64th."""
    wind = rng.gamma(2.0, 5.0, size=6400)
    column = build_profile(frame(wind), kinds_of(use_case)).columns["wind"]

    quantiles = pd.Series(wind).quantile(np.arange(1, 64) / 64)
    np.testing.assert_allclose(column.edges, [wind.min(), *quantiles, wind.max()], rtol=1e-12)
    assert column.counts == (0, *(100,) * 64, 0)


def test_a_table_of_any_kind_has_the_same_profile(use_case, rng):
    """pandas, an Arrow table and a record batch."""
    rows = frame(rng.normal(size=50), pier=["A", "B", None, "", "C"] * 10)
    table = pa.Table.from_pandas(rows, preserve_index=False)
    profiles = [build_profile(found, kinds_of(use_case)) for found in (rows, table, table.to_batches()[0])]

    assert profiles[0] == profiles[1] == profiles[2]


def test_pieces_of_a_window_merge_to_the_window(use_case, rng):
    """Days that were profiled by themselves give the week, moments up to rounding."""
    rows = frame(rng.normal(size=168)).assign(event_time=pd.date_range(START, periods=168, freq="h"))
    edges = build_profile(rows, kinds_of(use_case))
    week = window(0, 7)

    pieces = build_pieces(rows, kinds_of(use_case), window=week, block=timedelta(days=1), edges=edges)

    assert [piece.n for piece in pieces] == [24] * 7
    assert same(merge_all(pieces), build_profile(rows, kinds_of(use_case), window=week, edges=edges))


def test_distances_of_profiles_are_near_the_exact_ones(use_case):
    """KS never above SciPy's and within 1/64 of it; scaled Wasserstein within a twentieth of a standard deviation."""
    for seed in range(20):
        rng = np.random.default_rng(seed)
        first, second = rng.normal(size=3000), rng.normal(rng.uniform(0, 0.5), rng.uniform(0.8, 1.2), size=2000)
        reference = build_profile(frame(first), kinds_of(use_case))
        live = build_profile(frame(second), kinds_of(use_case), edges=reference)
        columns = reference.columns["wind"], live.columns["wind"]

        exact = stats.ks_2samp(first, second).statistic
        assert exact - 1 / 64 <= find_statistic("kolmogorov_smirnov").between(*columns) <= exact + 1e-12
        area = stats.wasserstein_distance(first, second) / first.std()
        assert find_statistic("wasserstein").between(*columns) == pytest.approx(area, abs=0.05)


def test_ties_make_fewer_bins_instead_of_empty_ones(use_case):
    """Half the values are zero, so half the deciles are."""
    column = build_profile(frame([0.0] * 50 + list(range(1, 51))), kinds_of(use_case)).columns["wind"]

    assert len(set(column.edges)) == len(column.edges) < 40
    assert sum(column.counts) == 100


def test_a_constant_column_sees_both_a_rise_and_a_fall(use_case):
    """Its only value gets a bin of its own."""
    reference = build_profile(frame([7.0] * 20), kinds_of(use_case))
    live = build_profile(frame([6.9, 7.0, 7.1]), kinds_of(use_case), edges=reference)

    assert reference.columns["wind"].counts == (0, 20, 0)
    assert live.columns["wind"].counts == (1, 1, 1)


def test_missing_and_infinite_values_have_a_slot_of_their_own(use_case):
    """They touch neither counts nor moments; an empty category is missing as it is for the model."""
    found = build_profile(
        frame([1.0, np.nan, np.inf, -np.inf], pier=["A", None, "", np.nan]), kinds_of(use_case)
    ).columns

    assert (found["wind"].missing, found["wind"].mean, found["wind"].maximum) == (3, 1.0, 1.0)
    assert found["pier"] == CategoryProfile(counts={"A": 1}, other=0, missing=3)


def test_a_column_without_any_value_has_a_profile(use_case):
    """Nothing present is a fact, not a fault, in whatever type such a column arrives."""
    nothing = frame([np.nan] * 3, holiday=[np.nan] * 3, pier=[None] * 3)
    for rows in (nothing, nothing.astype({"pier": float}), nothing.astype({"wind": object})):
        found = build_profile(rows, kinds_of(use_case)).columns

        assert found["wind"] == NumberProfile(
            edges=(), counts=(0,), missing=3, mean=0.0, m2=0.0, minimum=None, maximum=None
        )
        assert found["pier"] == CategoryProfile(counts={}, other=0, missing=3)


def test_the_most_frequent_categories_have_names_and_the_rest_is_other(use_case):
    """Forty categories, the first thirty more frequent; ties are broken by name."""
    pier = [f"{i:02}" for i in range(40) for _ in range(2 if i < 25 else 1)]
    column = build_profile(frame([1.0] * len(pier), pier=pier), kinds_of(use_case)).columns["pier"]

    assert list(column.counts) == [f"{i:02}" for i in range(NAMED_CATEGORIES)]
    assert (column.counts["24"], column.counts["25"], column.other) == (2, 1, 10)


def test_live_categories_are_counted_under_the_reference_names(use_case):
    """A category that the reference does not name is other."""
    reference = build_profile(frame([1.0] * 2, pier=["A", "B"]), kinds_of(use_case))
    live = build_profile(frame([1.0] * 3, pier=["B", "C", "C"]), kinds_of(use_case), edges=reference)

    assert live.columns["pier"] == CategoryProfile(counts={"A": 0, "B": 1}, other=2, missing=0)


def test_an_empty_window_has_a_profile_on_given_bins_and_none_of_its_own(use_case):
    """Zero rows are counted on a reference's bins; without one there is nothing to take bins from."""
    reference = build_profile(frame([1.0, 2.0]), kinds_of(use_case))
    empty = build_profile(frame([]), kinds_of(use_case), window=window(0, 1), edges=reference)

    assert (empty.n, empty.columns["wind"].counts) == (0, (0,) * len(reference.columns["wind"].counts))
    with pytest.raises(DataError, match="no rows to take bins from"):
        build_profile(frame([]), kinds_of(use_case))


def test_a_feature_that_the_reference_lacks_gets_bins_of_its_own(use_case):
    """The profile stays whole; that the two cannot be compared is for the check to say."""
    reference = build_profile(frame([1.0, 2.0]), kinds_of(use_case))
    lacking = reference.model_copy(update={"columns": {"pier": reference.columns["wind"]}})
    live = build_profile(frame([5.0, 6.0]), kinds_of(use_case), edges=lacking)

    assert list(live.columns) == ["wind", "holiday", "pier"]
    assert live.columns["pier"].kind == "category"


def test_numbers_at_the_end_of_the_scale_do_not_overflow(use_case):
    """The profile stays finite, so it can be stored; moments stop at the largest float."""
    huge = sys.float_info.max
    for wind in ([huge, -huge], [huge] * 3, [-huge, 1.0, huge]):
        column = build_profile(frame(wind), kinds_of(use_case))
        merged = merge_profiles(column, column).columns["wind"]

        assert math.isfinite(merged.mean)
        assert merged.m2 <= huge
        assert sum(merged.counts) == 2 * len(wind)


def test_columns_that_cannot_be_profiled_are_named(use_case):
    """Absent, or text where numbers should be."""
    with pytest.raises(DataError, match="column is absent; where: holiday; got: wind, pier"):
        build_profile(frame([1.0]).drop(columns="holiday"), kinds_of(use_case))
    with pytest.raises(DataError, match="column is not numeric; where: wind"):
        build_profile(frame([1.0]).assign(wind=["strong"]), kinds_of(use_case))


def test_profiles_on_other_bins_are_not_merged(use_case):
    """Nor those of other columns."""
    first = build_profile(frame([1.0, 2.0]), kinds_of(use_case))
    for other in (frame([3.0, 4.0]), frame([1.0, 2.0], pier=["B", "B"])):
        with pytest.raises(DataError, match="other bins"):
            merge_profiles(first, build_profile(other, kinds_of(use_case)))
    with pytest.raises(DataError, match="other columns"):
        merge_profiles(first, first.model_copy(update={"columns": {}}))


def test_a_profile_comes_back_from_json_unchanged(use_case, rng):
    """Edges to the last bit: live rows are counted on them years later."""
    profile = build_profile(frame(rng.normal(size=100)), kinds_of(use_case), window=window(0, 1))

    assert Profile.model_validate_json(profile.model_dump_json()) == profile


rows = st.lists(
    st.tuples(
        st.one_of(st.floats(-1e6, 1e6), st.sampled_from([math.nan, math.inf, 0.0, 1.0])),
        st.sampled_from([0.0, 1.0, math.nan]),
        st.sampled_from(["A", "B", "C", "", None]),
    ),
    max_size=30,
)


def build(found, use_case: UseCase, edges: Profile | None = None, at: Window | None = None) -> Profile:
    """Profile of generated rows."""
    return build_profile(
        frame(*map(list, zip(*found, strict=True))) if found else frame([]), kinds_of(use_case), window=at, edges=edges
    )


def same(first: Profile, second: Profile) -> bool:
    """Equal, moments up to rounding."""

    def rounded(profile: Profile) -> Profile:
        columns = {
            name: column.model_copy(update={"mean": 0.0, "m2": 0.0}) if column.kind == "number" else column
            for name, column in profile.columns.items()
        }
        return profile.model_copy(update={"columns": columns, "oddities": None})  # windows here share their times

    numbers = [name for name, column in first.columns.items() if column.kind == "number"]
    return rounded(first) == rounded(second) and all(
        math.isclose(getattr(first.columns[name], key), getattr(second.columns[name], key), rel_tol=1e-9, abs_tol=1e-3)
        for name in numbers
        for key in ("mean", "m2")
    )


@settings(max_examples=80, deadline=None)
@given(rows, rows, rows)
@example(
    [(0.0, 0.0, "A"), (52.43903912010137, 1.0, "C"), (2.0, 0.0, "B")],
    [(1.0, 0.0, "A"), (math.nan, 0.0, "B"), (287905.0, 1.0, None), (math.nan, 0.0, "B"), (12.0, 0.0, None)],
    [],
)
def test_merging_is_the_profile_of_all_rows_in_any_order(use_case, first, second, third):
    """Merged parts are the whole; merging commutes and associates; the empty profile changes nothing."""
    together = first + second + third
    assume(together)
    edges = build(together, use_case)
    a, b, c = (build(part, use_case, edges, window(i, i + 1)) for i, part in enumerate((first, second, third)))
    empty = build([], use_case, edges)

    left, right = merge_profiles(merge_profiles(a, b), c), merge_profiles(a, merge_profiles(b, c))

    assert same(left, build(together, use_case, edges, window(0, 3)))
    assert same(left, right)
    assert merge_profiles(a, b) == merge_profiles(b, a)
    assert merge_profiles(a, empty) == a


@settings(max_examples=80, deadline=None)
@given(rows)
def test_every_row_is_counted_exactly_once_in_every_column(use_case, found):
    """Whatever the values."""
    assume(found)
    profile = build(found, use_case)

    for column in profile.columns.values():
        counts = column.counts if column.kind == "number" else [*column.counts.values(), column.other]
        assert sum(counts) + column.missing == profile.n == len(found)


@settings(max_examples=50, deadline=None)
@given(st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=30))
def test_moments_agree_with_numpy(use_case, values):
    """Mean and sum of squared deviations."""
    column = build_profile(frame(values), kinds_of(use_case)).columns["wind"]

    assert math.isclose(column.mean, np.mean(values), rel_tol=1e-9, abs_tol=1e-6)
    assert math.isclose(column.m2, np.var(values) * len(values), rel_tol=1e-6, abs_tol=1e-3)
