"""Losses of served answers, with labels and without: right, with honest intervals, and undefined where they are."""

from __future__ import annotations

import math
from datetime import UTC, datetime, timedelta

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats
from sklearn.metrics import log_loss

from ml.errors import DataError
from ml.policy.live import compare_live, estimated_loss, gather_evidence, realised_loss, trust_estimates
from ml.policy.reducible import reducible_loss
from ml.records.decision import DriftCheck, MonitorDecision
from ml.records.measure import Estimate, Window

START = datetime(2013, 3, 1, tzinfo=UTC)


def served(p_late: list[float], labels: list[str], *, every: str = "h") -> pd.DataFrame:
    """Answers with this probability of being late, and the truth."""
    return pd.DataFrame(
        {
            "id": [f"{i}" for i in range(len(labels))],
            "event_time": pd.date_range(START, periods=len(labels), freq=every).as_unit("us"),
            "p_0": p_late,
            "p_1": [1 - p for p in p_late],
            "label": labels,
        }
    )


def with_metric(use_case, metric: str):
    """The use case with another metric."""
    return use_case.model_copy(update={"gate": use_case.gate.model_copy(update={"metric": metric})})


def test_two_rows_by_hand(use_case):
    """Class names are sorted: p_0 is "late". Log loss (-log 0.8 - log 0.4) / 2, Brier (2 * 0.04 + 2 * 0.36) / 2."""
    rows = served([0.8, 0.6], ["late", "on time"])

    assert realised_loss(rows, use_case).value == pytest.approx((-math.log(0.8) - math.log(0.4)) / 2, rel=1e-12)
    assert realised_loss(rows, with_metric(use_case, "brier")).value == pytest.approx(0.4, rel=1e-12)


@given(st.lists(st.tuples(st.floats(0.001, 0.999), st.sampled_from(["late", "on time"])), min_size=1, max_size=50))
def test_log_loss_agrees_with_scikit_learn(use_case, rows):
    """And carries its number of rows."""
    p, labels = map(list, zip(*rows, strict=True))

    found = realised_loss(served(p, labels), use_case)

    expected = log_loss(labels, [[x, 1 - x] for x in p], labels=["late", "on time"])
    assert found.value == pytest.approx(expected, rel=1e-9)
    assert found.n == len(rows)


def test_a_certain_and_wrong_answer_is_expensive_not_infinite(use_case):
    """An infinite mean would hide every other row."""
    found = realised_loss(served([0.0], ["late"]), use_case)

    assert found.value == pytest.approx(-math.log(1e-15))


def test_no_rows_are_undefined(use_case):
    """Never 0."""
    found = realised_loss(served([], []), use_case)

    assert (found.value, found.n, found.detail) == (None, 0, "there are no rows")


def test_rows_that_cannot_be_judged_are_left_out_and_counted(use_case):
    """No probabilities since the classes changed; a truth that is no class of today."""
    rows = served([0.8, math.nan, 0.7], ["late", "late", "sunk"])

    found = realised_loss(rows, use_case)

    assert (found.n, found.value) == (1, pytest.approx(-math.log(0.8)))
    assert "2 rows without usable answer or truth are left out" in found.detail
    assert realised_loss(rows.iloc[1:], use_case).value is None


def test_one_day_has_no_interval(use_case):
    """Its rows are one draw."""
    found = realised_loss(served([0.8] * 5, ["late"] * 5), use_case)

    assert (found.low, found.high) == (None, None)
    assert found.detail == "a single block gives no interval"


def test_with_equal_days_the_interval_is_students_on_the_days_means(use_case):
    """SciPy's interval of the mean of 30 daily means."""
    rng = np.random.default_rng(3)
    p = rng.uniform(0.1, 0.9, size=30 * 24)
    rows = served(list(p), ["late"] * len(p))
    daily = (-np.log(p)).reshape(30, 24).mean(axis=1)

    found = realised_loss(rows, use_case)

    expected = stats.t.interval(0.9, df=29, loc=daily.mean(), scale=stats.sem(daily))
    assert (found.low, found.high) == pytest.approx(expected, rel=1e-9)
    assert found.confidence == 0.9


def test_the_interval_covers_the_truth_when_rows_of_a_day_move_together(use_case):
    """300 times 20 days whose loss has a level of its own per day: about 90 % of the intervals hold the true mean."""
    rng = np.random.default_rng(11)
    true, covered = 0.5, 0
    for _ in range(300):
        level = np.repeat(rng.uniform(0.2, 0.8, size=20), 24)
        losses = level + rng.uniform(-0.1, 0.1, size=480)
        found = realised_loss(served(list(np.exp(-losses)), ["late"] * 480), use_case)
        covered += found.low <= true <= found.high

    interval = stats.binomtest(covered, 300).proportion_ci(0.99)
    assert interval.low <= 0.9 <= interval.high, covered


def test_the_interval_never_reaches_below_zero(use_case):
    """A loss cannot."""
    rows = served([0.999] * 24 + [0.5] * 24, ["late"] * 48)

    assert realised_loss(rows, use_case).low == 0.0


def test_columns_that_are_not_there_are_named(use_case):
    """All of them."""
    with pytest.raises(DataError, match="where: p_1, label"):
        realised_loss(served([0.5], ["late"]).drop(columns=["p_1", "label"]), use_case)


def test_what_answers_expect_of_themselves_by_hand(use_case):
    """The entropy of 0.8 and of 0.5; for Brier 1 - 0.64 - 0.04 and 0.5; errors 0.2 and 0.5. No label is looked at."""
    rows = served([0.8, 0.5], ["late", "late"]).drop(columns="label")
    entropy = -0.8 * math.log(0.8) - 0.2 * math.log(0.2)

    assert estimated_loss(rows, use_case).value == pytest.approx((entropy + math.log(2)) / 2, rel=1e-12)
    assert estimated_loss(rows, with_metric(use_case, "brier")).value == pytest.approx((0.32 + 0.5) / 2, rel=1e-12)
    assert estimated_loss(rows, with_metric(use_case, "error_rate")).value == pytest.approx((0.2 + 0.5) / 2, rel=1e-12)


@given(st.lists(st.floats(0, 1), min_size=1, max_size=30))
def test_the_expected_loss_is_the_entropy_of_scipy(use_case, p):
    """Certainty expects no loss, and nothing expects more than the logarithm of the number of classes."""
    found = estimated_loss(served(p, ["late"] * len(p)), use_case)

    expected = stats.entropy([[x, 1 - x] for x in p], axis=1).mean()
    assert found.value == pytest.approx(expected, rel=1e-9, abs=1e-12)
    assert 0 <= found.value <= math.log(2) + 1e-12


@pytest.mark.parametrize("metric", ["log_loss", "brier"])
def test_calibrated_answers_expect_what_they_get(use_case, metric):
    """40,000 labels that fall as the answers say: both losses agree within four standard errors."""
    rng = np.random.default_rng(8)
    p = rng.uniform(0.02, 0.98, 40_000)
    rows = served(list(p), list(np.where(rng.random(len(p)) < p, "late", "on time")), every="min")
    chosen = with_metric(use_case, metric)

    real, expected = realised_loss(rows, chosen), estimated_loss(rows, chosen)

    assert real.value == pytest.approx(expected.value, abs=4 * 0.6 / math.sqrt(len(p)))


def test_answers_that_are_too_sure_expect_too_little(use_case):
    """Which is why an estimate is watched."""
    rng = np.random.default_rng(8)
    p = rng.choice([0.05, 0.95], 5_000)
    truth = np.where(rng.random(len(p)) < 0.5 + (p - 0.5) / 2, "late", "on time")
    rows = served(list(p), list(truth))

    real, expected = realised_loss(rows, use_case), estimated_loss(rows, use_case)

    assert expected.high < real.low


def test_answers_without_probabilities_expect_nothing_and_are_counted(use_case):
    """As for the realised loss; a missing column is named."""
    found = estimated_loss(served([0.8, math.nan], ["late", "late"]), use_case)

    assert found.n == 1
    assert "1 rows without usable answer or truth are left out" in found.detail
    assert estimated_loss(served([], []), use_case).value is None
    with pytest.raises(DataError, match="where: p_1"):
        estimated_loss(served([0.5], ["late"]).drop(columns="p_1"), use_case)


def interval(low: float, high: float) -> Estimate:
    """An estimate in the middle of its interval."""
    return Estimate(value=(low + high) / 2, n=500, low=low, high=high)


HIT, MISS = (interval(0.1, 0.2), interval(0.2, 0.3)), (interval(0.1, 0.2), interval(0.21, 0.3))
UNKNOWN = (interval(0.1, 0.2), Estimate(value=None, n=0))


@pytest.mark.parametrize(
    ("pairs", "trusted"),
    [
        ([], None),
        ([MISS] * 3, None),
        ([HIT] * 3 + [UNKNOWN] * 9, None),
        ([HIT] * 4, True),
        ([HIT] * 3 + [MISS], True),
        ([HIT] * 2 + [MISS] * 2, True),
        ([HIT] + [MISS] * 3, False),
        ([MISS] * 4, False),
        ([HIT] * 10 + [MISS] * 2, True),
        ([HIT] * 9 + [MISS] * 3, True),
        ([HIT] * 8 + [MISS] * 4, False),
        ([tuple(reversed(MISS))] * 4, False),
    ],
)
def test_estimates_are_distrusted_when_they_miss_more_often_than_chance(pairs, trusted):
    """Of 4 pairs 2 misses come by chance in 5.23 % of cases and 3 in 0.4 %; of 12, 3 come in 11 % and 4 in 2.6 %."""
    assert trust_estimates(pairs) is trusted


def test_honest_estimates_are_rarely_distrusted():
    """1,000 times twelve intervals of one truth: probation in fewer than 5 % of them."""
    rng = np.random.default_rng(4)
    reach = stats.norm.ppf(0.95)

    def once() -> bool | None:
        drawn = rng.normal(size=(12, 2))
        return trust_estimates([tuple(interval(x - reach, x + reach) for x in pair) for pair in drawn])

    assert sum(once() is False for _ in range(1000)) < 50


def decision(window: Window, estimated: Estimate | None, live: Estimate) -> MonitorDecision:
    """An earlier decision, of which only the losses count."""
    check = DriftCheck(
        use_case="ferry",
        window=window,
        model_version=1,
        score=1.0,
        threshold=4.0,
        false_alarm_budget=0.01,
        n_reference=1000,
        n_live=168,
        columns=(),
        verdict="no_drift",
        reasons=("No drift.",),
    )
    return MonitorDecision(
        key=f"ferry/{window.end}",
        use_case="ferry",
        as_of=window.end,
        action="wait",
        reasons=("No drift.",),
        check=check,
        live_loss=live,
        estimated_loss=estimated,
        labelled=0,
    )


def test_the_evidence_of_a_window(use_case):
    """All labelled rows weigh the champion, whoever answered; the window's rows alone make its losses."""
    rng = np.random.default_rng(2)
    p = rng.uniform(0.1, 0.9, 21 * 24)
    rows = served(list(p), list(np.where(rng.random(len(p)) < p, "late", "on time"))).assign(wind=p)
    week = Window(start=START + timedelta(days=14), end=START + timedelta(days=21))
    inside = rows[rows["event_time"] >= week.start]
    useless = np.full((len(rows), 2), 0.5)

    found = gather_evidence(rows, inside, useless, use_case=use_case, window=week)

    assert (found.labelled, found.span) == (504, timedelta(days=21))
    assert found.live_loss == realised_loss(inside, use_case)
    assert found.estimated_loss == estimated_loss(inside, use_case)
    assert found.estimate_trusted is None
    assert found.reducible == reducible_loss(rows.assign(p_0=0.5, p_1=0.5), use_case)
    assert found.reducible.low > 0 > reducible_loss(rows, use_case).low


def test_the_evidence_remembers_whether_earlier_estimates_held(use_case):
    """Twelve known pairs, newest first; what is older is forgotten, what had no estimate does not count."""
    week = Window(start=START, end=START + timedelta(days=7))
    none = served([], []).assign(wind=[])

    def trusted(pairs: list[tuple[Estimate | None, Estimate]]) -> bool | None:
        earlier = [decision(week, *pair) for pair in pairs]
        empty = np.empty((0, 2))
        return gather_evidence(none, none, empty, use_case=use_case, window=week, earlier=earlier).estimate_trusted

    assert trusted([MISS] * 4) is False
    assert trusted([HIT] * 12 + [MISS] * 12) is True
    assert trusted([(None, MISS[1])] * 12 + [HIT] * 4) is True


def test_evidence_of_no_rows_is_unknown_not_an_error(use_case):
    """A window without labels is the rule, not the exception."""
    week = Window(start=START, end=START + timedelta(days=7))
    none = served([], []).assign(wind=[])

    found = gather_evidence(none, none, np.empty((0, 2)), use_case=use_case, window=week)

    assert (found.labelled, found.span) == (0, timedelta(0))
    assert (found.reducible.value, found.live_loss.value, found.estimated_loss.value) == (None, None, None)


def test_a_challenger_that_answers_better_is_ahead_by_the_difference(use_case):
    """Nine days of hours: 0.9 for what happened against 0.6 is log 1.5 a row, the same every day."""
    times = pd.date_range("2013-04-01", periods=216, freq="h", tz="UTC")
    labels = np.where(np.arange(216) % 3 == 0, "late", "on time")
    rows = pd.DataFrame({"event_time": times, "label": labels})
    happened = np.column_stack([labels == "late", labels == "on time"])
    champion, challenger = (np.where(happened, share, 1 - share) for share in (0.6, 0.9))

    found, turned = (compare_live(rows, *pair, use_case) for pair in ((champion, challenger), (challenger, champion)))

    assert (found.value, found.low) == (pytest.approx(np.log(1.5)), pytest.approx(np.log(1.5)))
    assert turned.value == pytest.approx(-np.log(1.5))
    assert found.n == 216


@pytest.mark.parametrize(("hours", "known"), [(96, False), (97, True)])
def test_a_challenger_is_not_compared_on_fewer_than_five_days(use_case, hours, known):
    """Nothing is said; rows of an unknown class do not count."""
    rows = pd.DataFrame(
        {
            "event_time": pd.date_range("2013-04-01", periods=hours + 1, freq="h", tz="UTC"),
            "label": ["late"] * hours + ["sunk"],
        }
    )
    even = np.full((hours + 1, 2), 0.5)

    found = compare_live(rows, even, even, use_case)

    assert (found.value is not None, found.n) == (known, hours)
    assert known or "4 blocks of labelled rows are too few" in found.detail
