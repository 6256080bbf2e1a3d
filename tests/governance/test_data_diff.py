"""The difference of two data versions: counted by hand on small frames."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from ml.governance.data_diff import diff_data

BEFORE = pd.DataFrame(
    {"id": ["a", "b", "c", "d"], "x": [1.0, 2.0, np.nan, 4.0], "pier": ["A", "A", "B", None], "old": [1, 1, 1, 1]}
)
AFTER = pd.DataFrame(
    {"id": ["b", "c", "d", "e"], "x": [2.0, np.nan, 40.0, 5.0], "pier": ["A", "B", "C", "C"], "new": [1, 1, 1, 1]}
)


def test_rows_are_counted_by_id():
    """Row e is added, a removed; d has another x and another pier; c is missing x on both sides, which is no change."""
    found = diff_data(BEFORE, AFTER, before=1, after=2)

    assert (found.rows_before, found.rows_after, found.added, found.removed, found.changed) == (4, 4, 1, 1, 1)
    assert (found.columns_added, found.columns_removed, found.retyped) == (("new",), ("old",), ())


def test_distances_are_worked_out_by_hand():
    """Piers: A 2/3, B 1/3 against A 1/4, B 1/4, C 1/2; numbers by SciPy."""
    pier, x = sorted(diff_data(BEFORE, AFTER, before=1, after=2).columns, key=lambda c: c.name)

    assert pier.distance == pytest.approx((abs(2 / 3 - 1 / 4) + abs(1 / 3 - 1 / 4) + 1 / 2) / 2)
    assert (pier.before, pier.after, pier.missing_before, pier.missing_after) == ("A", "C", 0.25, 0.0)
    assert x.distance == pytest.approx(stats.ks_2samp([1, 2, 4], [2, 40, 5]).statistic)
    assert (x.before, x.missing_after) == (pytest.approx(7 / 3), 0.25)


def test_a_column_without_values_has_no_distance():
    """Undefined, not 0."""
    empty = BEFORE.assign(x=np.nan)

    found = {c.name: c for c in diff_data(empty, AFTER, before=1, after=2).columns}

    assert (found["x"].distance, found["x"].before, found["x"].missing_before) == (None, None, 1.0)


def test_a_column_that_holds_something_else_is_named():
    """Numbers became text."""
    found = diff_data(BEFORE, AFTER.assign(x=["2", "3", "4", "5"]), before=1, after=2)

    assert [text.split(":")[0] for text in found.retyped] == ["x"]


@given(st.lists(st.tuples(st.integers(0, 20), st.floats(-5, 5)), unique_by=lambda row: row[0], min_size=1))
def test_a_version_does_not_differ_from_itself(rows):
    """In whatever order its rows come."""
    frame = pd.DataFrame(rows, columns=["id", "x"])

    found = diff_data(frame, frame.iloc[::-1], before=1, after=1)

    assert (found.added, found.removed, found.changed, found.columns[0].distance) == (0, 0, 0, 0.0)
