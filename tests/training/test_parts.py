"""A training set is cut by time, and no truth is shared between its parts."""

from datetime import UTC, datetime, timedelta

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from ml.training.parts import assign_parts, rows_of, split_by_time

START = datetime(2013, 1, 1, tzinfo=UTC)


def test_the_parts_lie_where_a_calendar_puts_them(make_use_case):
    """Thirty days, three held out, four for validation, an hour's gap before each."""
    split = split_by_time(make_use_case(), start=START, end=START + timedelta(days=30))

    assert (split.holdout.start, split.holdout.end) == (datetime(2013, 1, 28, tzinfo=UTC), START + timedelta(days=30))
    assert split.validation.start == datetime(2013, 1, 24, tzinfo=UTC)
    assert split.validation.end == datetime(2013, 1, 27, 23, tzinfo=UTC)
    assert (split.fit.start, split.fit.end) == (START, datetime(2013, 1, 23, 23, tzinfo=UTC))


def test_a_sliding_window_bounds_fit_and_validation_together(make_use_case):
    """Ten days before the holdout, four of them validation."""
    history = {"file": "ferry.csv"}
    sliding = make_use_case(training={"history": history, "strategy": "sliding_window", "sliding_window": "10d"})

    split = split_by_time(sliding, start=START, end=START + timedelta(days=30))

    assert split.holdout.start - split.fit.start == timedelta(days=10)


@pytest.mark.parametrize(
    ("training", "message"),
    [
        ({"strategy": "sliding_window", "sliding_window": "4d"}, "sliding_window must be longer than validation"),
        ({"holdout": "0s"}, "holdout must be longer than nothing"),
        ({"validation": "1h"}, "validation must be longer than target.horizon"),
    ],
)
def test_lengths_that_leave_nothing_are_refused_in_the_file(make_use_case, training, message):
    """The use case file is told, not the run."""
    with pytest.raises(ValidationError, match=message):
        make_use_case(training={"history": {"file": "ferry.csv"}} | training)


def test_a_history_that_is_too_short_has_no_split(make_use_case):
    """Seven days and the gap are taken by holdout and validation; a minute more is something to fit on."""
    enough = timedelta(days=7, hours=1)

    assert split_by_time(make_use_case(), start=START, end=START + enough) is None
    assert split_by_time(make_use_case(), start=START, end=START + enough + timedelta(minutes=1)) is not None


@given(minutes=st.lists(st.integers(0, 30 * 24 * 60 - 1), min_size=1, max_size=60, unique=True))
def test_every_row_is_in_one_part_or_in_a_gap(make_use_case, minutes):
    """Parts follow each other in time; a row's truth, an hour later, lies before the next part begins."""
    times = pd.Series([START + timedelta(minutes=m) for m in minutes]).astype("datetime64[us, UTC]")
    frame = pd.DataFrame({"id": [str(m) for m in minutes], "event_time": times})
    split = split_by_time(make_use_case(), start=START, end=START + timedelta(days=30))

    parted = assign_parts(frame, split)

    gaps = {m for m in minutes if 22 * 1440 + 1380 <= m < 23 * 1440 or 26 * 1440 + 1380 <= m < 27 * 1440}
    assert set(parted["id"]) == {str(m) for m in minutes} - {str(m) for m in gaps}
    for part, following in (("fit", split.validation), ("validation", split.holdout)):
        assert (rows_of(parted, part)["event_time"] + timedelta(hours=1) < following.start).all()


def test_rows_of_parts_come_in_order_of_time_and_id():
    """However they are stored."""
    moment = pd.Timestamp("2013-01-01", tz="UTC")
    frame = pd.DataFrame({"id": ["b", "a", "c"], "event_time": [moment] * 3, "part": ["fit", "fit", "holdout"]})

    assert rows_of(frame, "fit")["id"].tolist() == ["a", "b"]
    assert rows_of(frame, "holdout", "fit")["id"].tolist() == ["a", "b", "c"]
