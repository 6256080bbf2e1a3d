"""No cell of few rows can be read or worked out."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from ml.governance.reports.small_cells import keep_back, merge_small, spread_evenly

COUNTS = st.lists(st.integers(min_value=0, max_value=60), max_size=12)
LIMITS = st.integers(min_value=1, max_value=30)


@given(counts=COUNTS, limit=LIMITS)
def test_what_is_kept_back_cannot_be_worked_out_from_the_total(counts, limit):
    """What is hidden sums up to ``limit`` rows in two cells at least, unless there is nothing more to hide."""
    named = {f"cell {place}": count for place, count in enumerate(counts)}

    hidden = keep_back(named, limit)

    assert {name for name, count in named.items() if 0 < count < limit} <= hidden
    assert all(named[name] for name in hidden)
    if hidden and len(hidden) < sum(count > 0 for count in counts):
        assert len(hidden) >= 2
        assert sum(named[name] for name in hidden) >= limit
    if all(count >= limit or not count for count in counts):
        assert not hidden


def test_as_little_as_possible_is_kept_back_with_a_small_cell():
    """The next smallest goes with it."""
    assert keep_back({"a": 3, "b": 500, "c": 80, "d": 70}, 10) == {"a", "d"}
    assert keep_back({"a": 9, "b": 9, "c": 80}, 10) == {"a", "b"}
    assert keep_back({"a": 3, "b": 0}, 10) == {"a"}


@given(counts=COUNTS, limit=LIMITS)
def test_merged_bins_hold_enough_rows_or_none(counts, limit):
    """Runs cover every bin once, in order; only when all rows are too few is a single run short of them."""
    runs = merge_small(counts, limit)

    assert [place for first, last in runs for place in range(first, last)] == list(range(len(counts)))
    sums = [sum(counts[first:last]) for first, last in runs]
    if sum(counts) >= limit:
        assert all(found == 0 or found >= limit for found in sums)
    else:
        assert sum(found > 0 for found in sums) <= 1


@given(counts=COUNTS, limit=LIMITS)
def test_spreading_keeps_all_rows(counts, limit):
    """Rows are moved between neighbours, not lost."""
    widths = [1.0 + place for place in range(len(counts))]

    told = spread_evenly(counts, widths, limit)

    assert len(told) == len(counts)
    assert abs(sum(told) - sum(counts)) < 1e-9 * max(sum(counts), 1)
    assert all(rows >= 0 for rows in told)


def test_merged_bins_share_their_rows_by_width():
    """Four rows over widths 1 and 3 are one and three."""
    assert spread_evenly([1, 3, 10], [1.0, 3.0, 2.0], 4) == (1.0, 3.0, 10.0)
