"""Profiles: counted right, in one pass, mergeable in any order."""

from __future__ import annotations

import math
import sys
from datetime import UTC, datetime, timedelta

import numpy as np
import pandas as pd
import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st

from ml.drift.profile import NAMED_CATEGORIES, build_profile, merge_profiles
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
    """The median of 1..10 is 5.5: five below, five from it on."""
    column = build_profile(frame(range(1, 11)), use_case, window=None, bins=2).columns["wind"]

    assert column == NumberProfile(edges=(5.5,), counts=(5, 5), missing=0, mean=5.5, m2=82.5, minimum=1.0, maximum=10.0)


def test_bins_are_closed_below_and_open_above(use_case):
    """A value on an edge belongs to the bin above it."""
    reference = build_profile(frame(range(1, 11)), use_case, window=None, bins=2)
    live = build_profile(frame([5.4, 5.5, 5.6]), use_case, window=None, edges=reference)

    assert live.columns["wind"].edges == (5.5,)
    assert live.columns["wind"].counts == (1, 2)


def test_edges_are_the_deciles(use_case, rng):
    """Compared with pandas' quantiles; each bin holds a tenth."""
    wind = rng.gamma(2.0, 5.0, size=1000)
    column = build_profile(frame(wind), use_case, window=None).columns["wind"]

    np.testing.assert_allclose(column.edges, pd.Series(wind).quantile(np.linspace(0.1, 0.9, 9)), rtol=1e-12)
    assert column.counts == (100,) * 10


def test_ties_make_fewer_bins_instead_of_empty_ones(use_case):
    """Half the values are zero, so half the deciles are."""
    column = build_profile(frame([0.0] * 50 + list(range(1, 51))), use_case, window=None).columns["wind"]

    assert len(set(column.edges)) == len(column.edges) < 9
    assert sum(column.counts) == 100


def test_a_constant_column_sees_both_a_rise_and_a_fall(use_case):
    """Its only value gets a bin of its own."""
    reference = build_profile(frame([7.0] * 20), use_case, window=None)
    live = build_profile(frame([6.9, 7.0, 7.1]), use_case, window=None, edges=reference)

    assert reference.columns["wind"].counts == (0, 20, 0)
    assert live.columns["wind"].counts == (1, 1, 1)


def test_missing_and_infinite_values_have_a_slot_of_their_own(use_case):
    """They touch neither counts nor moments; an empty category is missing as it is for the model."""
    found = build_profile(
        frame([1.0, np.nan, np.inf, -np.inf], pier=["A", None, "", np.nan]), use_case, window=None
    ).columns

    assert (found["wind"].missing, found["wind"].mean, found["wind"].maximum) == (3, 1.0, 1.0)
    assert found["pier"] == CategoryProfile(counts={"A": 1}, other=0, missing=3)


def test_a_column_without_any_value_has_a_profile(use_case):
    """Nothing present is a fact, not a fault, in whatever type such a column arrives."""
    nothing = frame([np.nan] * 3, holiday=[np.nan] * 3, pier=[None] * 3)
    for rows in (nothing, nothing.astype({"pier": float}), nothing.astype({"wind": object})):
        found = build_profile(rows, use_case, window=None).columns

        assert found["wind"] == NumberProfile(
            edges=(), counts=(0,), missing=3, mean=0.0, m2=0.0, minimum=None, maximum=None
        )
        assert found["pier"] == CategoryProfile(counts={}, other=0, missing=3)


def test_the_most_frequent_categories_have_names_and_the_rest_is_other(use_case):
    """Forty categories, the first thirty more frequent; ties are broken by name."""
    pier = [f"{i:02}" for i in range(40) for _ in range(2 if i < 25 else 1)]
    column = build_profile(frame([1.0] * len(pier), pier=pier), use_case, window=None).columns["pier"]

    assert list(column.counts) == [f"{i:02}" for i in range(NAMED_CATEGORIES)]
    assert (column.counts["24"], column.counts["25"], column.other) == (2, 1, 10)


def test_live_categories_are_counted_under_the_reference_names(use_case):
    """A category that the reference does not name is other."""
    reference = build_profile(frame([1.0] * 2, pier=["A", "B"]), use_case, window=None)
    live = build_profile(frame([1.0] * 3, pier=["B", "C", "C"]), use_case, window=None, edges=reference)

    assert live.columns["pier"] == CategoryProfile(counts={"A": 0, "B": 1}, other=2, missing=0)


def test_an_empty_window_has_a_profile_on_given_bins_and_none_of_its_own(use_case):
    """Zero rows are counted on a reference's bins; without one there is nothing to take bins from."""
    reference = build_profile(frame([1.0, 2.0]), use_case, window=None)
    empty = build_profile(frame([]), use_case, window=window(0, 1), edges=reference)

    assert (empty.n, empty.columns["wind"].counts) == (0, (0,) * len(reference.columns["wind"].counts))
    with pytest.raises(DataError, match="no rows to take bins from"):
        build_profile(frame([]), use_case, window=None)


def test_a_feature_that_the_reference_lacks_gets_bins_of_its_own(use_case):
    """The profile stays whole; that the two cannot be compared is for the check to say."""
    reference = build_profile(frame([1.0, 2.0]), use_case, window=None)
    lacking = reference.model_copy(update={"columns": {"pier": reference.columns["wind"]}})
    live = build_profile(frame([5.0, 6.0]), use_case, window=None, edges=lacking)

    assert list(live.columns) == ["wind", "holiday", "pier"]
    assert live.columns["pier"].kind == "category"


def test_numbers_at_the_end_of_the_scale_do_not_overflow(use_case):
    """The profile stays finite, so it can be stored; moments stop at the largest float."""
    huge = sys.float_info.max
    for wind in ([huge, -huge], [huge] * 3, [-huge, 1.0, huge]):
        column = build_profile(frame(wind), use_case, window=None)
        merged = merge_profiles(column, column).columns["wind"]

        assert math.isfinite(merged.mean)
        assert merged.m2 <= huge
        assert sum(merged.counts) == 2 * len(wind)


def test_columns_that_cannot_be_profiled_are_named(use_case):
    """Absent, or text where numbers should be."""
    with pytest.raises(DataError, match="feature column is absent; where: holiday; got: wind, pier"):
        build_profile(frame([1.0]).drop(columns="holiday"), use_case, window=None)
    with pytest.raises(DataError, match="feature column is not numeric; where: wind"):
        build_profile(frame([1.0]).assign(wind=["strong"]), use_case, window=None)


def test_profiles_on_other_bins_are_not_merged(use_case):
    """Nor those of other columns."""
    first = build_profile(frame([1.0, 2.0]), use_case, window=None)
    for other in (frame([3.0, 4.0]), frame([1.0, 2.0], pier=["B", "B"])):
        with pytest.raises(DataError, match="other bins"):
            merge_profiles(first, build_profile(other, use_case, window=None))
    with pytest.raises(DataError, match="other columns"):
        merge_profiles(first, first.model_copy(update={"columns": {}}))


def test_a_profile_comes_back_from_json_unchanged(use_case, rng):
    """Edges to the last bit: live rows are counted on them years later."""
    profile = build_profile(frame(rng.normal(size=100)), use_case, window=window(0, 1))

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
        frame(*map(list, zip(*found, strict=True))) if found else frame([]), use_case, window=at, edges=edges
    )


def same(first: Profile, second: Profile) -> bool:
    """Equal, moments up to rounding."""

    def rounded(profile: Profile) -> Profile:
        columns = {
            name: column.model_copy(update={"mean": 0.0, "m2": 0.0}) if column.kind == "number" else column
            for name, column in profile.columns.items()
        }
        return profile.model_copy(update={"columns": columns})

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
    column = build_profile(frame(values), use_case, window=None).columns["wind"]

    assert math.isclose(column.mean, np.mean(values), rel_tol=1e-9, abs_tol=1e-6)
    assert math.isclose(column.m2, np.var(values) * len(values), rel_tol=1e-6, abs_tol=1e-3)
