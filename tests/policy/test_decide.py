"""What a check leads to, as a table, and the reasons in words and numbers."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ml.policy.decide import decide, decision_key
from ml.records.decision import DriftCheck, MonitorDecision
from ml.records.measure import Estimate, Window

NOW = datetime(2013, 4, 19, tzinfo=UTC)
LOSS = Estimate(value=0.1234567, n=480, low=0.1, high=0.15)
NO_LOSS = Estimate(value=None, n=0, detail="no labelled rows")


def check(verdict: str, n_live: int = 504) -> DriftCheck:
    """A check with this verdict."""
    score = {"drift": 1.2, "no_drift": 0.3, "undecidable": None}[verdict]
    return DriftCheck(
        use_case="ferry",
        window=Window(start=NOW - timedelta(days=7), end=NOW),
        model_version=3,
        statistic="psi",
        score=score,
        threshold=0.5,
        calibrated_threshold=None,
        n_reference=4000,
        n_live=n_live,
        columns=(),
        verdict=verdict,
        reasons=(f"The check says {verdict}: {score} against 0.5.",),
    )


def decided(use_case, verdict: str, *, n_live: int = 504, labelled: int = 300, days: float | None = None, loss=LOSS):
    """Decision so many days after the last retraining."""
    last = None if days is None else NOW - timedelta(days=days)
    return decide(
        check(verdict, n_live), use_case=use_case, as_of=NOW, labelled=labelled, live_loss=loss, last_retraining=last
    )


@pytest.mark.parametrize(
    ("verdict", "n_live", "labelled", "days", "action"),
    [
        ("no_drift", 504, 300, None, "wait"),
        ("no_drift", 504, 0, 1, "wait"),
        ("drift", 504, 300, None, "retrain"),
        ("drift", 504, 300, 14, "retrain"),
        ("drift", 504, 299, None, "alert"),
        ("drift", 504, 300, 13.99, "alert"),
        ("drift", 504, 0, 0, "alert"),
        ("drift", 504, 9999, -7, "alert"),
        ("undecidable", 0, 9999, None, "wait"),
        ("undecidable", 1, 9999, None, "alert"),
        ("undecidable", 504, 9999, None, "alert"),
    ],
)
def test_the_policy_is_this_table(use_case, verdict, n_live, labelled, days, action):
    """Each line is a rule or the edge of one; -7 days is an old window looked at again after a newer retraining."""
    assert decided(use_case, verdict, n_live=n_live, labelled=labelled, days=days).action == action


@pytest.mark.parametrize(
    ("labelled", "days", "sentence"),
    [
        (412, None, "412 labelled live rows since the champion's data ends are enough: 300 are needed."),
        (12, None, "12 labelled live rows since the champion's data ends are too few: 300 are needed."),
        (300, None, "There was no retraining before, so no cool-down runs."),
        (300, 21, "The cool-down of 14d is over: the last retraining was 21d ago."),
        (300, 3, "The cool-down of 14d still runs: the last retraining was 3d ago."),
        (300, -7, "The last retraining, as of 2013-04-26 00:00, knew newer data than this window."),
    ],
)
def test_both_conditions_of_a_retraining_are_told_with_their_numbers(use_case, labelled, days, sentence):
    """Whether they hold or not."""
    assert sentence in decided(use_case, "drift", labelled=labelled, days=days).reasons


@pytest.mark.parametrize("verdict", ["drift", "no_drift", "undecidable"])
def test_every_decision_begins_with_what_the_check_said_and_ends_with_the_loss(use_case, verdict):
    """A reader of the reasons alone understands the decision."""
    reasons = decided(use_case, verdict).reasons

    assert reasons[0].startswith(f"The check says {verdict}")
    assert reasons[-1] == "The realised log_loss of the window is 0.1235 (0.1 to 0.15) on 480 labelled rows."
    assert all(re.search(r"\.$", reason) for reason in reasons)


def test_an_unknown_loss_is_told_as_unknown(use_case):
    """Never as zero."""
    reasons = decided(use_case, "no_drift", loss=NO_LOSS).reasons

    assert reasons[-1] == "The realised log_loss of the window is unknown: no labelled rows."


def test_the_decision_carries_its_evidence(use_case):
    """Whole, under a key that names the window."""
    found = decided(use_case, "drift")

    assert (found.key, found.as_of, found.labelled) == ("ferry/2013-04-19T00:00:00+00:00", NOW, 300)
    assert (found.check, found.live_loss) == (check("drift"), LOSS)
    assert MonitorDecision.model_validate_json(found.model_dump_json()) == found


def test_the_key_is_the_same_in_every_time_zone():
    """One window, one decision."""
    tokyo = NOW.astimezone(timezone(timedelta(hours=9)))

    assert decision_key("ferry", tokyo) == decision_key("ferry", NOW) == decision_key("ferry", NOW.replace(tzinfo=None))


@given(labelled=st.integers(0, 10**6), days=st.one_of(st.none(), st.floats(-1000, 1000)))
def test_only_drift_retrains_and_more_rows_or_rest_never_take_it_back(use_case, labelled, days):
    """Retraining is monotone in both conditions, and never follows from anything but drift."""
    assert decided(use_case, "no_drift", labelled=labelled, days=days).action == "wait"
    assert decided(use_case, "undecidable", labelled=labelled, days=days).action == "alert"
    if decided(use_case, "drift", labelled=labelled, days=days).action == "retrain":
        later = None if days is None else days + 1
        assert decided(use_case, "drift", labelled=labelled + 1, days=later).action == "retrain"
