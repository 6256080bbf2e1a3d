"""Bad live rows by the functions that the monitor DAG calls: undecidable or told, never a silent ``no_drift``."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import numpy as np
import pandas as pd
import pytest

from ml.drift.calibrate import rule_of
from ml.drift.multivariate import check_together, live_pieces, live_profile
from ml.drift.profile import merge_all
from ml.drift.reference import build_reference
from ml.errors import DataError
from ml.records.measure import Window

WINDOW = Window(start=datetime(2024, 4, 10, tzinfo=UTC), end=datetime(2024, 4, 11, tzinfo=UTC))


def rows(seed: int, first: str, n: int) -> pd.DataFrame:
    """Rows every quarter of an hour, received at once."""
    rng = np.random.default_rng(seed)
    times = pd.date_range(first, periods=n, freq="15min", tz="UTC").as_unit("us")
    return pd.DataFrame(
        {
            "event_time": times,
            "received_at": times,
            "wind": rng.normal(20, 5, n),
            "holiday": rng.random(n) < 0.1,
            "pier": rng.choice(["A", "B"], n),
        }
    )


LIVE = rows(2, "2024-04-10", 96)


@pytest.fixture(scope="module")
def reference(use_case):
    """A hundred days of training rows."""
    return build_reference(rows(1, "2024-01-01", 9600), use_case, fingerprint="f")


@pytest.mark.parametrize(
    ("live", "verdict", "said"),
    [
        (LIVE, "no_drift", "The largest score over 3 columns"),
        (LIVE[:0], "undecidable", "The window holds 0 rows; 10 are needed."),
        (LIVE[:1], "undecidable", "The window holds 1 rows; 10 are needed."),
        (pd.concat([LIVE, LIVE]), "undecidable", "96 of 192 live rows are exact copies of other live rows; the number"),
        (pd.concat([LIVE, LIVE[:1]]), "no_drift", "1 of 97 live rows are exact copies"),
        (
            LIVE.assign(received_at=LIVE["received_at"] - timedelta(hours=1)),
            "no_drift",
            "96 of 96 live rows have an event time in the future",
        ),
        (LIVE.assign(wind=np.inf), "drift", "96 of 96 live values of wind are infinite and count as missing."),
        (LIVE.assign(wind=np.nan, pier=None), "drift", "Drifted: pier, wind."),
    ],
    ids=["good", "empty", "one row", "all twice", "one twice", "future", "infinite", "missing"],
)
def test_what_the_monitor_says(use_case, reference, live, verdict, said):
    """From the whole window and from its pieces by the hour, in any order of the rows."""
    shuffled = live.sample(frac=1, random_state=3)
    pieces = live_pieces(shuffled, reference, window=WINDOW, block=timedelta(hours=1))
    profiles = (live_profile(live, reference, window=WINDOW), merge_all(pieces))

    checks = [check_together(reference, one, rule_of(use_case), sides=pytest.fail, window=WINDOW) for one in profiles]

    for check in checks:
        assert check.verdict == verdict
        assert any(reason.startswith(said) for reason in check.reasons), check.reasons
    assert checks[0].reasons == checks[1].reasons


def test_a_reference_from_before_is_not_asked_for_copies(use_case, reference):
    """Nobody counted its copies, so those of the live rows may be its own way."""
    whole = reference.whole.model_copy(update={"oddities": None})
    live = live_profile(pd.concat([LIVE, LIVE]), reference, window=WINDOW)

    check = check_together(
        reference.model_copy(update={"whole": whole}), live, rule_of(use_case), sides=pytest.fail, window=WINDOW
    )

    assert check.verdict == "no_drift"


def test_words_among_numbers_are_an_error_with_the_column(use_case, reference):
    """The lake would not let them in; a caller of the functions is told."""
    with pytest.raises(DataError, match="not numeric; where: wind"):
        live_profile(LIVE.assign(wind="strong"), reference, window=WINDOW)
