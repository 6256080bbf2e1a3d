"""What is found in a shadow's answers, counted by hand, and when that ends a release."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from benchmarks.toy_models import TOY
from ml.evaluation.shadow import compare_shadow, judge_shadow
from ml.use_case.serving_options import Shadow

OK, FAILED = 0, 401
NOW = pd.Timestamp("2026-01-01", tz="UTC")


def answers(*rows: tuple[str, float | None, float | None]) -> pd.DataFrame:
    """Rows by request, with what champion and candidate give for "late"; None is no answer."""
    frame = pd.DataFrame(
        {
            "request_id": [request for request, _, _ in rows],
            "id": [f"row-{number}" for number in range(len(rows))],
            "received_at": [NOW + pd.Timedelta(seconds=number) for number in range(len(rows))],
            "event_time": [NOW + pd.Timedelta(seconds=number) for number in range(len(rows))],
            "seconds": 0.002,
            "champion_seconds": 0.001,
            "detail": None,
        }
    )
    for prefix, place in (("champion_", 1), ("", 2)):
        late = np.array([np.nan if row[place] is None else row[place] for row in rows])
        frame[f"{prefix}code"] = np.where(np.isnan(late), FAILED, OK)
        frame[f"{prefix}p_0"], frame[f"{prefix}p_1"] = late, 1 - late
        frame[f"{prefix}predicted"] = np.where(late > 0.5, "late", "on time")
    return frame


NONE = answers().assign(label=pd.Series(dtype=object))


def test_everything_is_counted_by_hand():
    """Five rows of four requests: one decided otherwise, and failures of the candidate, the champion and both."""
    rows = answers(("a", 0.2, 0.4), ("a", 0.9, 0.3), ("b", 0.6, None), ("c", None, 0.7), ("d", None, None))

    found = compare_shadow(rows, NONE, TOY)

    assert (found.requests, found.rows, found.compared) == (4, 5, 2)
    assert (found.failures.candidate_alone, found.failures.champion_alone, found.failures.both) == (1, 1, 1)
    assert (found.disagreement.value, found.disagreement.n) == (0.5, 2)
    assert found.difference.value == pytest.approx((0.2 + 0.6) / 2)
    assert found.largest_difference == pytest.approx(0.6)
    assert (found.seconds.champion, found.seconds.candidate, found.seconds.n) == (0.001, 0.002, 2)
    assert (found.loss.value, found.loss.n) == (None, 0)
    assert found.failures_by == {"401: ": 1}


def test_losses_are_paired_where_the_truth_is_known():
    """The candidate is right where the champion was not: -log 0.2 + log 0.8 on each of two rows."""
    rows = answers(("a", 0.2, 0.8), ("b", 0.2, 0.8), ("c", 0.9, 0.1))
    labelled = rows.head(2).assign(label="late")

    found = compare_shadow(rows, labelled, TOY)

    assert (found.loss.n, found.loss.value) == (2, pytest.approx(np.log(4)))


def test_nothing_that_was_scored_is_no_number():
    """Undefined, not 0; and no reason to refuse anything."""
    found = compare_shadow(answers(), NONE, TOY)

    assert (found.requests, found.disagreement.value, found.difference.value, found.seconds.n) == (0, None, None, 0)
    assert judge_shadow(found, Shadow(most_disagreement=0.0))[0]


@pytest.mark.parametrize(
    ("options", "accepted", "says"),
    [
        ({}, True, "decides otherwise in 50.00%"),
        ({"most_disagreement": 0.5}, True, ""),
        ({"most_disagreement": 0.49}, False, "it decides otherwise by 0.5, 0.49 allowed"),
        ({"most_difference": 0.41}, True, ""),
        ({"most_difference": 0.39}, False, "it differs by 0.4, 0.39 allowed"),
    ],
)
def test_bounds_hold_at_their_value(options, accepted, says):
    """What is not set is not asked for."""
    found = compare_shadow(answers(("a", 0.2, 0.4), ("b", 0.9, 0.3)), NONE, TOY)

    assert judge_shadow(found, Shadow(**options))[0] is accepted
    assert says in judge_shadow(found, Shadow(**options))[1]


@given(alone=st.integers(0, 12), theirs=st.integers(0, 12))
@settings(max_examples=30)
def test_failures_are_judged_by_the_exact_sign_test(alone, theirs):
    """As SciPy's binomial test of the requests on which one alone failed."""
    rows = [(f"own-{number}", 0.2, None) for number in range(alone)]
    rows += [(f"their-{number}", None, 0.2) for number in range(theirs)] + [("both", None, None), ("none", 0.1, 0.1)]
    found = compare_shadow(answers(*rows), NONE, TOY)
    p = stats.binomtest(alone, alone + theirs, 0.5, alternative="greater").pvalue if alone + theirs else 1.0

    assert judge_shadow(found, Shadow(level=0.05))[0] is not (p < 0.05)
