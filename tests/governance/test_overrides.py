"""How often people decide otherwise than the model, and who is right: counted by hand, and against a brute force."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binomtest

from ml.governance.overrides import judge_overrides, share_of
from ml.records.measure import Window
from tests.governance.conftest import WEATHER

START = datetime(2013, 3, 1, tzinfo=UTC)
WINDOW = Window(start=START, end=START + timedelta(days=7))


def frame(*rows):
    """Answers that people decided on: model's answer, override, truth or None, by whom."""
    told = pd.DataFrame(rows, columns=["predicted", "override", "truth", "override_by"])
    moments = pd.Series([START + timedelta(hours=n) for n in range(len(rows))], dtype="datetime64[us, UTC]")
    return told.assign(
        id=[f"row {n}" for n in range(len(rows))],
        event_time=moments,
        overridden_at=moments,
        model_version=1,
        override_reason="fog",
    )


def judge(table, use_case=WEATHER, answered=10):
    """The review of ten answers."""
    return judge_overrides(table, use_case, window=WINDOW, as_of=WINDOW.end, answered=answered)


def test_counted_by_hand():
    """Six decisions: one agrees with the model, five do not; the truth of four of these is known."""
    found = judge(
        frame(
            ("Rain", "Rain", "Rain", "ana"),
            ("Rain", "No Rain", "No Rain", "ana"),
            ("Rain", "No Rain", "Rain", "ana"),
            ("Rain", "No Rain", None, "bo"),
            ("No Rain", "Rain", "Rain", "bo"),
            ("Hail", "Rain", "No Rain", "bo"),
        )
    )

    assert (found.answered, found.decided, found.overridden, found.known) == (10, 6, 5, 4)
    assert (found.person_right, found.model_right, found.neither) == (2, 1, 1)
    assert (found.rate.value, found.rate.n) == (0.5, 10)
    assert (found.person_share.value, found.person_share.n) == (0.5, 4)
    assert [(p.by, p.decided, p.overridden, p.known, p.right) for p in found.people] == [
        ("ana", 3, 2, 2, 1),
        ("bo", 3, 3, 2, 1),
    ]
    assert [(one.id, one.truth) for one in found.recent][:3] == [
        ("row 5", "No Rain"),
        ("row 4", "Rain"),
        ("row 3", None),
    ]


def test_where_nobody_decided_the_shares_are_undefined_or_nought():
    """No truth is no share of it; no answer is no rate."""
    found = judge(frame())

    assert (found.decided, found.overridden, found.rate.value) == (0, 0, 0.0)
    assert (found.person_share.value, found.person_share.n) == (None, 0)
    assert judge(frame(), answered=0).rate.value is None


def test_of_numbers_who_is_nearer_is_right():
    """Equally near is neither."""
    regression = WEATHER.model_copy(update={"task": "regression"})
    table = frame(
        (None, 12.0, 12.5, "ana"), (None, 12.0, 10.0, "ana"), (None, 12.0, 11.0, "ana"), (None, 10.0, 10.0, "ana")
    ).assign(p_0=10.0)

    found = judge(table, regression)

    assert (found.overridden, found.person_right, found.model_right, found.neither) == (3, 1, 1, 1)


CLASSES = st.sampled_from(["Rain", "No Rain", "Hail"])


@given(
    st.lists(st.tuples(CLASSES, CLASSES, st.one_of(st.none(), CLASSES), st.sampled_from(["ana", "bo"])), max_size=30)
)
def test_a_brute_force_counts_the_same(rows):
    """Row by row; what is known splits into person, model, neither; people add up."""
    found = judge(frame(*rows), answered=50)

    over = [row for row in rows if row[1] != row[0]]
    known = [row for row in over if row[2] is not None]
    assert (found.overridden, found.known) == (len(over), len(known))
    assert found.person_right == sum(row[1] == row[2] for row in known)
    assert found.model_right == sum(row[0] == row[2] for row in known)
    assert found.person_right + found.model_right + found.neither == found.known
    assert sum(person.right for person in found.people) == found.person_right
    assert sum(person.decided for person in found.people) == len(rows)


@pytest.mark.parametrize(("count", "n"), [(0, 1), (1, 1), (3, 10), (0, 40), (17, 40), (1000, 1000)])
def test_the_interval_is_wilsons(count, n):
    """SciPy's is the oracle."""
    oracle = binomtest(count, n).proportion_ci(0.9, method="wilson")
    found = share_of(count, n, "")

    np.testing.assert_allclose((found.low, found.high), (oracle.low, oracle.high), atol=1e-12)
