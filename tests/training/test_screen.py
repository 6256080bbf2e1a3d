"""Rows that no model should see are told apart by what the use case file allows."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ml.training.screen import screen_rows


@given(wind=st.floats(allow_nan=True, allow_infinity=True))
def test_exactly_the_declared_range_is_allowed(make_use_case, make_rows, wind):
    """Both ends of 0 .. 200 belong to it, a missing nullable value is allowed, infinity is not."""
    row = make_rows(1).assign(wind=wind)

    assert (screen_rows(row, make_use_case()) == [""]) == (np.isnan(wind) or 0 <= wind <= 200)


@pytest.mark.parametrize(("tide", "allowed"), [(1e38, True), (-1e38, True), (1e39, False), (np.nan, False)])
def test_a_number_without_range_must_fit_into_float32(make_use_case, make_rows, tide, allowed):
    """Beyond it, it would be infinite inside the graph."""
    assert (screen_rows(make_rows(1).assign(tide=tide), make_use_case()) == [""]) == allowed


def test_a_category_without_declared_values_may_be_anything(make_use_case, make_rows):
    """Only `weather` has values; `pier` may be missing, `weather` may not."""
    rows = make_rows(4).assign(pier=["", "quay", None, "A"], weather=["fair", "hail", "fog", None])

    assert screen_rows(rows, make_use_case()) == [
        "",
        "weather: hail is none of fair, fog, storm",
        "",
        "weather: is missing and not nullable",
    ]
