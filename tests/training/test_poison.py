"""The poisoning screen puts attacked blocks aside and lets a new season pass."""

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from ml.settings import PROJECT
from ml.training.history import load_history
from ml.training.label_evidence import FLIPPED, lie_evidence, odds_of_classes, odds_of_residuals
from ml.training.poison import name_blocks, screen_blocks
from ml.use_case import UseCase, load

OTHER = {"Rain": "No Rain", "No Rain": "Rain"}
ATTACKED = "2013-03-27"


@pytest.fixture(scope="module")
def harbour():
    """The shipped use case, its history going on until mid April."""
    use_case = load(PROJECT / "use_cases" / "harbour_weather.yaml")
    history = use_case.training.history.model_copy(update={"until": pd.Timestamp("2013-04-12", tz="UTC")})
    training = use_case.training.model_copy(update={"history": history})
    return use_case.model_copy(update={"training": training})


@pytest.fixture(scope="module")
def weeks(harbour):
    """Rows until mid April, and which of them are new: those after February."""
    rows = load_history(harbour, PROJECT)[0]
    return rows, (rows["event_time"] >= "2013-03-01").to_numpy()


def suspicious(rows, new, use_case):
    """Reasons by block, of those that do not pass."""
    return {block.block: block.reasons for block in screen_blocks(rows, new, use_case) if block.reasons}


def flipped(rows, share, seed=0):
    """A share of one day's labels flipped."""
    day = np.flatnonzero(rows["event_time"].dt.strftime("%Y-%m-%d") == ATTACKED)
    hit = np.random.default_rng(seed).choice(day, round(share * len(day)), replace=False)
    changed = rows.copy()
    changed.loc[hit, "label"] = rows["label"].iloc[hit].map(OTHER)
    return changed


def test_spring_after_a_trusted_winter_passes(harbour, weeks):
    """Six weeks of another season: no block is put aside."""
    rows, new = weeks

    found = screen_blocks(rows, new, harbour)

    assert len(found) == 42
    assert [block.block for block in found if block.reasons] == []
    assert sum(block.rows for block in found) == new.sum()


@pytest.mark.parametrize("share", [0.2, 1.0])
def test_a_day_of_flipped_labels_is_put_aside(harbour, weeks, share):
    """That day and no other; the reason has its number and its bound."""
    rows, new = weeks

    found = suspicious(flipped(rows, share), new, harbour)

    assert list(found) == [ATTACKED]
    assert found[ATTACKED][0].startswith("flipped labels explain it better by ")
    assert found[ATTACKED][0].endswith(" nats, at most 8.0 are usual")


def test_a_backdoor_is_put_aside(harbour, weeks):
    """A rare pressure that is to mean rain, on a fifth of a day."""
    rows, new = weeks
    day = np.flatnonzero(rows["event_time"].dt.strftime("%Y-%m-%d") == ATTACKED)[::5]
    poisoned = rows.copy()
    poisoned.loc[day, ["Pressure_millibars", "label"]] = [1060.0, "Rain"]

    assert list(suspicious(poisoned, new, harbour)) == [ATTACKED]


def test_trusted_blocks_are_never_put_aside(harbour, weeks):
    """A winter day with every label wrong was trained on and gated; the screen is for what is new."""
    rows, new = weeks
    wrong = rows["event_time"].dt.strftime("%Y-%m-%d") == "2013-02-02"
    poisoned = rows.assign(label=rows["label"].mask(wrong, rows["label"].map(OTHER)))

    assert "2013-02-02" not in suspicious(poisoned, new, harbour)


def test_a_block_that_hurts_trusted_data_says_so(harbour, weeks):
    """A month's worth of lies from one source raises the loss on winter."""
    rows, new = weeks
    lies = rows.assign(told_by=np.where(new, "liar", None), label=rows["label"].mask(new, rows["label"].map(OTHER)))
    month = harbour.training.poison.model_copy(update={"block": pd.Timedelta(days=60).to_pytimedelta()})
    training = harbour.training.model_copy(update={"poison": month})

    reasons = suspicious(lies, new, harbour.model_copy(update={"training": training}))

    assert all(name.endswith("/liar") for name in reasons)
    assert any("raises the loss on trusted rows" in reason for found in reasons.values() for reason in found)


def test_two_labels_for_the_same_ids_are_a_conflict(harbour, weeks):
    """Six rows of a day that were told twice; four are a correction."""
    rows, new = weeks
    day = np.flatnonzero(rows["event_time"].dt.strftime("%Y-%m-%d") == ATTACKED)
    few, many = (rows.assign(conflict=rows.index.isin(day[:count])) for count in (4, 6))

    assert suspicious(few, new, harbour) == {}
    assert suspicious(many, new, harbour) == {ATTACKED: ("6 of 72 rows were told two labels, at most 5% are usual",)}


def test_blocks_are_days_and_tellers(harbour, weeks):
    """Who told a label is part of the name where it is known; `client` is nobody in particular."""
    rows = weeks[0].iloc[:4].assign(told_by=["tower", "client", None, "tower"])

    assert name_blocks(rows, harbour).tolist() == ["2013-01-01/tower", "2013-01-01", "2013-01-01", "2013-01-01/tower"]


def test_evidence_is_the_likelihood_ratio_of_the_mixture():
    """By hand, label by label, for two rows of three classes."""
    given, shares = np.array([0.9, 0.05]), FLIPPED
    by_hand = np.mean([np.prod([((1 - f) * p + f * (1 - p) / 2) / p for p in given]) for f in shares])

    assert lie_evidence(odds_of_classes(given, 3)) == pytest.approx(np.log(by_hand))


def test_honest_labels_rarely_reach_the_bound():
    """Of 20,000 blocks of 50 honest labels fewer than one in exp(3) exceeds 3 nats: Ville's inequality."""
    rng = np.random.default_rng(8)
    sure = rng.uniform(0.5, 0.99, (20_000, 50))
    given = np.where(rng.random(sure.shape) < sure, sure, 1 - sure)

    exceeded = np.mean([lie_evidence(odds_of_classes(block, 2)) > 3 for block in given])

    assert exceeded < np.exp(-3)


def test_too_few_trusted_rows_screen_nothing_but_conflicts(harbour, weeks):
    """Without a measure nothing is put aside on suspicion."""
    rows, _ = weeks
    rows = rows[rows["event_time"] >= "2013-03-20"].reset_index(drop=True)
    new = np.arange(len(rows)) >= 100

    assert suspicious(flipped(rows, 1.0), new, harbour) == {}


def test_odds_of_a_number_are_a_ratio_of_two_student_densities():
    """By SciPy, with the scales that the quartiles of a Student sample give back; lies do not widen them."""
    rng = np.random.default_rng(3)
    labels = 20 + 10 * rng.standard_t(4, 40_000)
    residuals = rng.standard_t(4, 40_000)
    trusted = np.arange(40_000) < 20_000
    residuals[~trusted] *= 100

    odds = odds_of_residuals(residuals, labels, trusted)

    honest, drawn = stats.t(4), stats.t(4, loc=20, scale=10)
    expected = drawn.pdf(labels) / honest.pdf(residuals)
    inside = (expected > 1e-2) & (expected < 1e2)
    assert inside.sum() > 10_000
    np.testing.assert_allclose(odds[inside], expected[inside], rtol=0.1)
    assert (odds.min(), odds.max()) == (1e-3, 1e3)


def delays(seed=0):
    """Ninety days of a number that wind explains to within a minute; the last thirty are new."""
    rng = np.random.default_rng(seed)
    wind = rng.normal(size=90 * 24)
    rows = pd.DataFrame(
        {
            "event_time": pd.date_range("2013-01-01", periods=90 * 24, freq="h", tz="UTC"),
            "wind": wind,
            "label": 10 + 5 * wind + rng.normal(size=90 * 24),
        }
    )
    return rows, (rows["event_time"] >= "2013-03-02").to_numpy()


@pytest.fixture(scope="module")
def ferry():
    """A use case that predicts minutes of delay."""
    return UseCase.model_validate(
        {
            "name": "delay",
            "task": "regression",
            "time_column": "time",
            "features": {"wind": {"type": "number"}},
            "target": {"column": "minutes", "unit": "min", "horizon": "1h", "maturity": "1h"},
            "training": {"history": {"file": "delay.csv"}},
            "monitoring": {},
        }
    )


def test_honest_numbers_pass_and_a_tenth_of_lies_does_not(ferry):
    """In a hundred and fifty honest days none is put aside; five days with three numbers of other rows each all are."""
    for seed in range(5):
        rows, new = delays(seed)
        assert suspicious(rows, new, ferry) == {}
        day = np.flatnonzero(rows["event_time"].dt.strftime("%Y-%m-%d") == ATTACKED)
        lies = rows.copy()
        lies.loc[day[::5], "label"] = 10 + 25 * np.sign(10 - rows["label"].iloc[day[::5]])

        found = suspicious(lies, new, ferry)

        assert list(found) == [ATTACKED]
        assert found[ATTACKED][0].startswith("replaced labels explain it better by ")


def test_a_month_that_turns_the_number_round_hurts_trusted_rows(ferry):
    """Its labels are the mirror of the truth: learning from them raises the loss on winter."""
    rows, new = delays()
    mirrored = rows.assign(label=rows["label"].mask(new, 20 - rows["label"]))
    month = ferry.training.poison.model_copy(update={"block": pd.Timedelta(days=60).to_pytimedelta()})
    training = ferry.training.model_copy(update={"poison": month})

    reasons = suspicious(mirrored, new, ferry.model_copy(update={"training": training}))

    assert any("raises the loss on trusted rows" in reason for found in reasons.values() for reason in found)


def test_a_number_that_is_nearly_always_the_same_is_no_measure(ferry):
    """Most delays are 0: nothing but conflicts is looked at."""
    rows, new = delays()
    rows["label"] = np.where(np.arange(len(rows)) % 10 == 0, rows["label"], 0.0)
    rows["conflict"] = np.isin(np.arange(len(rows)), np.flatnonzero(new)[:6])

    (reasons,) = suspicious(rows, new, ferry).values()

    assert reasons == ("6 of 24 rows were told two labels, at most 5% are usual",)
