"""Avoidable loss: found where it was put, absent where it is not, and undefined where nobody can tell."""

from __future__ import annotations

import math
from datetime import UTC, datetime, timedelta

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import optimize, special, stats

from ml.errors import DataError
from ml.policy import reducible
from ml.policy.correction import RIDGE, fit_correction
from ml.policy.reducible import learning_curve, more_rows_needed, reducible_loss
from ml.records.measure import Estimate
from ml.use_case import UseCase

START = datetime(2013, 3, 1, tzinfo=UTC)
CLASSES = {2: {"0": "late", "1": "on time"}, 3: {"0": "cancelled", "1": "late", "2": "on time"}}


def ferry(classes: int = 2, **features: str) -> UseCase:
    """A use case with numbers wind and tide and more features of these types."""
    types = {"wind": "number", "tide": "number"} | features
    return UseCase.model_validate(
        {
            "name": "ferry",
            "task": "binary_classification" if classes == 2 else "multiclass_classification",
            "time_column": "time",
            "features": {name: {"type": kind, "nullable": True} for name, kind in types.items()},
            "target": {"column": "fate", "classes": CLASSES[classes]},
            "training": {"history": {"file": "ferry.csv"}},
            "monitoring": {},
        }
    )


def sailed(rng: np.random.Generator, truth, claimed, *, days: int = 40, classes: int = 2) -> pd.DataFrame:
    """Hourly rows whose labels fall by ``truth(wind, tide)`` and whose answers are ``claimed(wind, tide)``.

    Both are log odds against the first class, of shape ``(n, n_classes - 1)``.
    """
    n = days * 24
    wind, tide = rng.normal(size=(2, n))
    true, told = (probabilities(odds(wind, tide)) for odds in (truth, claimed))
    codes = (rng.random((n, 1)) > np.cumsum(true, axis=1)).sum(axis=1)
    return pd.DataFrame(
        {
            "id": [f"{i}" for i in range(n)],
            "event_time": pd.date_range(START, periods=n, freq="h").as_unit("us"),
            "wind": wind,
            "tide": tide,
            "label": np.array(list(CLASSES[classes].values()), dtype=object)[codes],
            **{f"p_{i}": told[:, i] for i in range(classes)},
            "cost": special.rel_entr(true, told).sum(axis=1),
        }
    )


def probabilities(odds) -> np.ndarray:
    """Of all classes."""
    table = np.column_stack(odds) if isinstance(odds, tuple) else odds[:, None]
    return special.softmax(np.column_stack([np.zeros(len(table)), table]), axis=1)


def blows(wind, tide):
    """The truth: wind and tide decide."""
    return 1.2 * wind + 0.8 * tide - 0.5


def test_a_calibrated_champion_is_suspected_no_more_often_than_the_level():
    """200 champions that know the truth: a gain beyond doubt in about 5 % at most, though the ridge has 3 columns."""
    rng = np.random.default_rng(5)
    suspected = sum(reducible_loss(sailed(rng, blows, blows), ferry()).low > 0 for _ in range(200))

    assert stats.binomtest(suspected, 200).proportion_ci(0.99).low <= 0.05


@pytest.mark.parametrize("classes", [2, 3])
def test_what_bad_weather_costs_is_not_avoidable(classes):
    """A window in which everything is a coin's throw is dear for every model: the loss is high, the gain is not."""

    def coin(wind, tide):
        return tuple(0.0 * wind for _ in range(classes - 1))

    rows = sailed(np.random.default_rng(1), coin, coin, classes=classes)

    found = reducible_loss(rows, ferry(classes))

    assert found.value <= 0.005
    assert found.low <= 0


WRONG = {
    "too gloomy": lambda wind, tide: blows(wind, tide) + 0.8,
    "too sure": lambda wind, tide: 2.5 * blows(wind, tide),
    "too shy": lambda wind, tide: 0.3 * blows(wind, tide),
    "without the tide": lambda wind, tide: 1.2 * wind - 0.5,
    "the tide reversed": lambda wind, tide: 1.2 * wind - 0.8 * tide - 0.5,
}


@pytest.mark.parametrize("claimed", WRONG.values(), ids=WRONG)
def test_what_a_wrong_champion_loses_is_found_to_its_amount(claimed):
    """The loss that the truth would have saved is the relative entropy of the answers, a fifth more or less."""
    rows = sailed(np.random.default_rng(7), blows, claimed, days=150)

    found = reducible_loss(rows, ferry())

    assert found.low > 0
    assert found.value == pytest.approx(rows["cost"].mean(), rel=0.2)
    assert found.n == 3600


def test_three_classes_are_corrected_together():
    """A champion that ignores the tide, which decides between late and cancelled."""

    def truth(wind, tide):
        return wind + tide, 0.5 * wind - tide

    rows = sailed(np.random.default_rng(3), truth, lambda wind, tide: (wind, 0.5 * wind), days=150, classes=3)

    found = reducible_loss(rows, ferry(3))

    assert found.low > 0
    assert found.value == pytest.approx(rows["cost"].mean(), rel=0.2)


def test_brier_is_weighed_in_its_own_units():
    """The expected saving is the squared distance of the answers from the truth."""
    rows = sailed(np.random.default_rng(7), blows, WRONG["too gloomy"], days=150)
    true = probabilities(blows(rows["wind"].to_numpy(), rows["tide"].to_numpy()))
    use_case = ferry()
    use_case = use_case.model_copy(update={"gate": use_case.gate.model_copy(update={"metric": "brier"})})

    found = reducible_loss(rows, use_case)

    assert found.value == pytest.approx(((rows[["p_0", "p_1"]].to_numpy() - true) ** 2).sum(axis=1).mean(), rel=0.2)


def test_a_certain_champion_can_be_corrected():
    """Answers of 0 and 1 have infinite log odds; they count as one in a thousand."""

    def certain(wind, tide):
        return np.where(blows(wind, tide) > 0, 40.0, -40.0)

    found = reducible_loss(sailed(np.random.default_rng(2), blows, certain), ferry())

    assert math.isfinite(found.value)
    assert found.low > 0


def test_a_category_that_the_champion_ignores_is_found():
    """Also when it is sometimes missing, which is a category of its own."""
    rng = np.random.default_rng(4)
    rows = sailed(rng, lambda wind, tide: 0 * wind, lambda wind, tide: 0 * wind, days=100)
    rows["pier"] = rng.choice(np.array(["A", "B", None], dtype=object), len(rows))
    share = rows["pier"].map({"A": 0.8, "B": 0.5}).fillna(0.2).to_numpy()
    rows["label"] = np.where(rng.random(len(rows)) < share, "late", "on time")
    entropy = stats.entropy([[s, 1 - s] for s in share], axis=1).mean()

    found = reducible_loss(rows, ferry(pier="category"))

    assert found.low > 0
    assert found.value == pytest.approx(math.log(2) - entropy, rel=0.2)


def test_missing_and_constant_numbers_do_no_harm():
    """A gap counts as the mean; a column of one value, or of none, tells nothing."""
    rows = sailed(np.random.default_rng(7), blows, WRONG["too gloomy"], days=60)
    whole = reducible_loss(rows, ferry())
    rows = rows.assign(empty=np.nan, same=7.0, open=rows["tide"] > 9)

    assert reducible_loss(rows, ferry(empty="number", same="number", open="boolean")) == whole
    rows.loc[::10, "wind"] = np.nan
    assert reducible_loss(rows, ferry()).value == pytest.approx(whole.value, rel=0.2)


@given(st.randoms(use_true_random=False))
@settings(max_examples=20)
def test_the_order_of_rows_does_not_matter(random):
    """Time does."""
    rows = sailed(np.random.default_rng(9), blows, WRONG["too sure"], days=10)
    order = list(range(len(rows)))
    random.shuffle(order)

    assert reducible_loss(rows.iloc[order], ferry()) == reducible_loss(rows, ferry())


@pytest.mark.parametrize(("level", "confidence"), [(None, 0.9), (0.05, 0.9), (0.2, 0.6)])
def test_the_level_is_that_of_the_lower_end(level, confidence):
    """One-sided; the use case file's own by default. A laxer one gives a higher bound of the same value."""
    rows = sailed(np.random.default_rng(9), blows, WRONG["too sure"])
    strict, found = reducible_loss(rows, ferry(), level=0.05), reducible_loss(rows, ferry(), level=level)

    assert found.confidence == pytest.approx(confidence)
    assert found.value == strict.value
    assert found.low >= strict.low


@pytest.mark.parametrize(
    ("days", "label", "detail"),
    [
        (4, None, "4 blocks of labelled rows are too few, 5 are needed"),
        (0, None, "0 blocks of labelled rows are too few, 5 are needed"),
        (30, "late", "only one class happened"),
    ],
)
def test_what_nobody_can_tell_is_unknown(days, label, detail):
    """With its reason, and never as 0."""
    rows = sailed(np.random.default_rng(1), blows, blows, days=days)
    rows = rows if label is None else rows.assign(label=label)

    found = reducible_loss(rows, ferry())

    assert (found.value, found.low, found.n, found.detail) == (None, None, days * 24, detail)


def test_five_blocks_are_enough():
    """Which need not follow each other."""
    rows = sailed(np.random.default_rng(1), blows, WRONG["too sure"], days=30)
    some = rows[rows["event_time"].dt.day % 6 == 0]

    assert len(some) == 5 * 24
    assert reducible_loss(some, ferry()).low is not None


def test_rows_that_cannot_be_judged_are_left_out():
    """Without probabilities, or with a class of yesterday."""
    rows = sailed(np.random.default_rng(1), blows, WRONG["too sure"], days=30)
    spoilt = pd.concat([rows, rows.iloc[[0]].assign(p_0=np.nan), rows.iloc[[5]].assign(label="sunk")])

    assert reducible_loss(spoilt, ferry()) == reducible_loss(rows, ferry())


def test_many_rows_are_thinned_evenly_and_all_counted(monkeypatch):
    """Every third of 720 for a limit of 300; what a retraining is worth is reckoned from all of them."""
    rows = sailed(np.random.default_rng(1), blows, WRONG["too sure"], days=30)
    third = reducible_loss(rows.iloc[::3], ferry())
    monkeypatch.setattr(reducible, "MAXIMUM_ROWS", 300)

    found = reducible_loss(rows, ferry())

    assert (found.value, found.low, found.high) == (third.value, third.low, third.high)
    assert (found.n, third.n) == (720, 240)


@pytest.mark.parametrize("lacking", ["p_1", "label", "event_time", "tide"])
def test_columns_that_are_not_there_are_named(lacking):
    """Whichever it is."""
    rows = sailed(np.random.default_rng(1), blows, blows, days=6)

    with pytest.raises(DataError, match=f"where: {lacking}"):
        reducible_loss(rows.drop(columns=lacking), ferry())


@pytest.mark.parametrize("classes", [2, 3, 4])
def test_the_coefficients_maximise_the_penalised_likelihood(classes):
    """As a general optimiser finds them, without derivatives of ours."""
    rng = np.random.default_rng(classes)
    n, columns = 300, 4
    design = np.column_stack([np.ones(n), rng.normal(size=(n, columns - 1))])
    offset = rng.normal(size=(n, classes - 1))
    truth = rng.integers(0, classes, n)
    penalty = np.array([RIDGE / 100] + [RIDGE] * (columns - 1))

    def objective(flat: np.ndarray) -> float:
        weights = flat.reshape(columns, classes - 1)
        odds = np.column_stack([np.zeros(n), design @ weights + offset])
        likelihood = special.log_softmax(odds, axis=1)[np.arange(n), truth].sum()
        return -likelihood + (penalty[:, None] * weights**2).sum() / 2

    best = optimize.minimize(objective, np.zeros(columns * (classes - 1)), method="BFGS", options={"gtol": 1e-4})
    found = fit_correction(design, offset, truth)

    assert found == pytest.approx(best.x.reshape(columns, classes - 1), abs=1e-4)
    assert objective(found.ravel()) <= best.fun + 1e-9


@pytest.mark.parametrize("certainty", [4.0, 7.0, 15.0])
def test_a_start_that_is_far_too_sure_is_left_behind(certainty):
    """Whole Newton steps run away from there: every answer is one-sided, and half of them are wrong."""
    rng = np.random.default_rng(6)
    offset = certainty * rng.choice([-1.0, 1.0], (400, 1))
    truth = rng.integers(0, 2, 400)

    found = fit_correction(np.column_stack([np.ones(400), offset]), offset, truth)

    # what is left of the offset is as uncertain as the truth, but for the ridge
    assert special.expit(found[0] + (1 + found[1]) * certainty) == pytest.approx(0.5, abs=0.1)


@pytest.mark.parametrize(
    ("value", "low", "rows"),
    [
        (0.01, -0.01, 3001),  # the reach of 0.02 must halve: four times 1,000 rows, and one for good measure
        (0.02, -0.01, 1251),  # 0.03 must become 0.02: 2.25 times
        (0.01, 0.001, 0),
        (0.01, 0.0, 1),
        (0.0, -0.01, None),
        (-0.01, -0.03, None),
        (1e-300, -1.0, None),
        (None, None, None),
        (0.01, None, None),
    ],
)
def test_how_many_more_rows_would_decide(value, low, rows):
    """By hand, from 1,000 rows on; what would take a million times as many never will."""
    assert more_rows_needed(Estimate(value=value, n=1000, low=low)) == rows


def test_the_evidence_may_be_in_any_unit_of_time():
    """Blocks are cut from the oldest row, whatever the clock's resolution."""
    rows = sailed(np.random.default_rng(9), blows, WRONG["too sure"], days=10)
    finer = rows.assign(event_time=rows["event_time"].dt.as_unit("ns") + timedelta(days=1000))

    assert reducible_loss(finer, ferry()) == reducible_loss(rows, ferry())


def test_the_learning_curve_rises_to_what_is_avoidable(use_case):
    """A champion that ignores a strong wind: more rows learn better, and all learn less than is to be learnt."""
    rng = np.random.default_rng(11)
    n = 24 * 70
    wind = rng.normal(size=n)
    share = 1 / (1 + np.exp(-1.5 * wind))
    rows = pd.DataFrame(
        {
            "event_time": pd.date_range("2013-04-01", periods=n, freq="h", tz="UTC"),
            "wind": wind,
            "label": np.where(rng.random(n) < share, "late", "on time"),
            "p_0": 0.5,
            "p_1": 0.5,
        }
    )

    curve = learning_curve(rows, use_case)
    whole = reducible_loss(rows, use_case)

    sizes, gains = zip(*curve, strict=True)
    assert sizes == pytest.approx([n / 7, 2 * n / 7, 4 * n / 7, 6 * n / 7])
    assert gains[0] < gains[-1] == pytest.approx(whole.value)
    known = np.log(2) + np.mean(share * np.log(share) + (1 - share) * np.log(1 - share))
    assert gains[-1] == pytest.approx(known, abs=0.03)


def test_no_curve_where_nothing_can_be_told(use_case):
    """Four days, or a single class."""
    hours = 24 * 4
    rows = pd.DataFrame(
        {
            "event_time": pd.date_range("2013-04-01", periods=hours, freq="h", tz="UTC"),
            "wind": 0.0,
            "label": ["late", "on time"] * (hours // 2),
            "p_0": 0.5,
            "p_1": 0.5,
        }
    )

    assert learning_curve(rows, use_case) == ()
    assert learning_curve(pd.concat([rows] * 1).assign(label="late"), use_case) == ()


@pytest.mark.parametrize(("limit", "slope"), [(0.02, 0.0), (0.02, 4.0), (0.01, 1.0)])
def test_the_rows_that_are_needed_solve_the_curve(limit, slope):
    """One row fewer leaves a doubt, as the curve and the interval say together."""
    curve = tuple((rows, limit - slope / rows) for rows in (250.0, 500.0, 1000.0))
    gain = Estimate(value=limit - slope / 1000, n=1000, low=limit - slope / 1000 - 0.03)

    more = more_rows_needed(gain, curve)

    def bound(rows: float) -> float:
        return limit - slope / rows - 0.03 * np.sqrt(1000 / rows)

    assert bound(1000 + more + 1) > 0 > bound(1000 + more - 2)


def test_a_curve_that_rises_to_nothing_never_decides():
    """However many rows."""
    falling = ((250.0, -0.02), (500.0, -0.015), (1000.0, -0.0125))

    assert more_rows_needed(Estimate(value=-0.0125, n=1000, low=-0.03), falling) is None
    rising = ((250.0, -0.02), (500.0, 0.0), (1000.0, 0.01))
    assert more_rows_needed(Estimate(value=-0.001, n=1000, low=-0.03), rising) > 0
