"""The return match: all that has become known since a rejected challenger was trained, and nothing that it has seen."""

from datetime import UTC, datetime, timedelta

import pandas as pd
from hypothesis import given
from hypothesis import strategies as st

from ml.evaluation.return_match import meet_again

START = datetime(2013, 3, 1, tzinfo=UTC)
HOUR = timedelta(hours=1)


def rows(hours: range, parts: dict[str, range]) -> pd.DataFrame:
    """An hourly training set; hours of no part were cut out."""
    named = [(hour, name) for hour in hours for name, part in parts.items() if hour in part]
    return pd.DataFrame(
        {
            "id": [str(hour) for hour, _ in named],
            "event_time": pd.to_datetime([START + hour * HOUR for hour, _ in named]).astype("datetime64[us, UTC]"),
            "part": [name for _, name in named],
        }
    )


@given(
    st.integers(1, 30),
    st.integers(1, 30),
    st.integers(1, 30),
    st.integers(1, 60),
    st.integers(0, 20),
    st.integers(1, 3),
)
def test_the_holdout_is_all_that_is_newer_than_what_was_learnt(fit, validation, holdout, later, dropped, horizon):
    """Against a loop over the hours; a newer set may have forgotten the oldest rows."""
    learnt, known_until = fit + validation, fit + validation + holdout + later
    dropped = min(dropped, learnt)
    trained = rows(
        range(learnt + holdout),
        {"fit": range(fit), "validation": range(fit, learnt), "holdout": range(learnt, learnt + holdout)},
    )
    newer = rows(range(dropped, known_until + horizon), {"fit": range(dropped, known_until + horizon)})

    frame, window = meet_again(trained, newer, horizon * HOUR)

    told = list(zip(frame["id"].astype(int), frame["part"], strict=True))
    assert [hour for hour, part in told if part != "holdout"] == list(range(learnt))
    expected = [hour for hour in range(known_until + horizon) if hour > learnt - 1 + horizon and hour >= dropped]
    assert [hour for hour, part in told if part == "holdout"] == expected
    assert window.start == START + expected[0] * HOUR
    assert window.start <= START + expected[-1] * HOUR < window.end
