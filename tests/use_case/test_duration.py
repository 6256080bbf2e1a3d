"""Durations as people write them."""

from __future__ import annotations

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ml.use_case.duration import format_duration, parse_duration


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("45s", 45), ("90m", 5400), ("1h", 3600), ("7d", 604800), ("2w", 1209600), ("1.5h", 5400), (" 7 d ", 604800)],
)
def test_a_number_and_a_unit(text, seconds):
    """Seconds, minutes, hours, days, weeks."""
    assert parse_duration(text) == timedelta(seconds=seconds)


@pytest.mark.parametrize("text", ["", "7", "d", "-7d", "7 days", "7D", "1d12h", "1e3s", "nan d", 7, None, ["7d"], True])
def test_another_form_is_refused_with_an_example(text):
    """Numbers without unit, negative ones, words, mixtures."""
    with pytest.raises(ValueError, match="such as 7d; got"):
        parse_duration(text)


def test_a_timedelta_passes_through():
    """A value that is one already."""
    assert parse_duration(timedelta(hours=3)) == timedelta(hours=3)


@pytest.mark.parametrize("text", ["99999999999d", "9" * 400 + "s"])
def test_more_than_a_timedelta_holds_is_refused(text):
    """As any other wrong value is, so that it is listed with its path."""
    with pytest.raises(ValueError, match="at most 999999999 days"):
        parse_duration(text)


@given(st.timedeltas(timedelta(0), timedelta(days=3000)))
def test_formatting_reads_back_as_the_same_duration(duration):
    """To the microsecond; a million seconds are no 1e+06s."""
    assert parse_duration(format_duration(duration)) == duration
