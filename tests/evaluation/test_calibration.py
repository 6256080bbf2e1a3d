"""Calibration: the error is a hand count, its interval covers, and an overconfident challenger is rejected."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from ml.evaluation.bootstrap import resample_blocks
from ml.evaluation.calibration_error import calibration_tables, error_of
from ml.evaluation.gate import decide_gate
from ml.evaluation.metrics import LOSSES

WEEKS = pd.date_range("2013-03-01", periods=1000, freq="h", tz="UTC")


def brute_force(probabilities: np.ndarray, truth: np.ndarray, bins: int) -> float:
    """Bin by bin, of the second class."""
    said = probabilities[:, 1]
    edges = np.unique(np.quantile(said, np.arange(1, bins) / bins))
    place = np.array([sum(value > edge for edge in edges) for value in said])
    gaps = [abs(said[place == b].mean() - truth[place == b].mean()) * (place == b).mean() for b in set(place)]
    return float(sum(gaps))


def test_the_error_is_that_of_a_brute_force():
    """Ten bins of 500 rows, also with ties."""
    rng = np.random.default_rng(1)
    said = rng.beta(2, 5, 500).round(2)
    truth = (rng.uniform(size=500) < said**2).astype(int)
    both = np.column_stack([1 - said, said])

    found = error_of(calibration_tables(both, truth, bins=10).sum(axis=0))

    assert float(found) == pytest.approx(brute_force(both, truth, 10))


def test_of_three_classes_each_is_looked_at():
    """Always sure of the first class, which happens in half of the rows: 0.5, 0.25 and 0.25 on average."""
    said = np.tile([1.0, 0.0, 0.0], (8, 1))
    truth = np.array([0, 0, 0, 0, 1, 1, 2, 2])

    assert float(error_of(calibration_tables(said, truth, bins=5).sum(axis=0))) == pytest.approx(
        (0.5 + 0.25 + 0.25) / 3
    )


def reach(rng: np.random.Generator, hours: int) -> float:
    """Half the 95 % interval of a mean of 1,000 rows, of which so many neighbours agree."""
    values = np.repeat(rng.standard_normal((1000 // hours, 1)), hours, axis=0)
    found = resample_blocks(values / 1000, WEEKS, lambda sums: sums[..., 0], level=0.025)
    assert found.value == pytest.approx(values.mean())
    assert found.value - found.low == pytest.approx(found.high - found.value)
    return found.high - found.value


@pytest.mark.parametrize("hours", [1, 4])
def test_the_interval_of_a_mean_is_that_of_its_error(hours):
    """1.96 times the standard error of the rows that are draws of their own, on average over 40 series."""
    rng = np.random.default_rng(2)

    found = np.mean([reach(rng, hours) for _ in range(40)])

    assert found == pytest.approx(1.96 / np.sqrt(1000 / hours), rel=0.1)


def test_a_few_moments_have_no_interval():
    """Nor does what is undefined in most resamples."""
    few = resample_blocks(np.ones((4, 1)), WEEKS[:4], lambda sums: sums[..., 0], level=0.05)
    rare = resample_blocks(
        np.eye(1000)[:, :1], WEEKS, lambda sums: np.where(sums[..., 0] > 0, sums[..., 0], np.nan), level=0.05
    )

    assert (few.low, few.high, rare.low) == (None, None, None)


def sharpened(evidence, use_case, power: float):
    """Evidence with a challenger whose odds are raised to a power: the same order, other confidence."""
    odds = (evidence.challenger_answers[:, 1] / evidence.challenger_answers[:, 0]) ** power
    answers = np.column_stack([1 / (1 + odds), odds / (1 + odds)])
    loss = LOSSES[use_case.gate.metric](evidence.labels, answers, use_case.answers)
    return replace(evidence, challenger_answers=answers, challenger_loss=loss)


def test_an_overconfident_challenger_is_rejected(use_case, evidence):
    """Odds to the fifth decide as the champion does, and are worth less as probabilities."""
    champion = replace(
        evidence, champion_answers=evidence.challenger_answers, champion_loss=evidence.challenger_loss + 0.5
    )
    same, sure = (decide_gate(sharpened(champion, use_case, power), use_case) for power in (1.0, 5.0))

    assert same.decision == "promote"
    failed = {rule.name for rule in sure.rules if rule.verdict == "fail"}
    assert {"brier", "calibration_error"} <= failed
    found = next(rule for rule in sure.rules if rule.name == "calibration_error")
    truth = (evidence.labels == use_case.answers[1]).astype(int)
    sharp = sharpened(champion, use_case, 5.0).challenger_answers
    worse = brute_force(sharp, truth, 10) - brute_force(evidence.challenger_answers, truth, 10)
    assert found.value == pytest.approx(worse)


def test_calibration_is_judged_as_the_file_says(use_case, evidence):
    """``null`` switches a rule off."""
    calibration = use_case.gate.calibration.model_copy(update={"brier": None, "expected_error": None})
    off = use_case.model_copy(update={"gate": use_case.gate.model_copy(update={"calibration": calibration})})

    names = [rule.name for rule in decide_gate(evidence, off).rules]

    assert "brier" not in names
    assert "calibration_error" not in names
