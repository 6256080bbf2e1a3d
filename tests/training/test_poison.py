"""The poisoning screen puts attacked blocks aside and lets a new season pass."""

import numpy as np
import pandas as pd
import pytest

from ml.settings import PROJECT
from ml.training.history import load_history
from ml.training.poison import FLIPPED, flip_evidence, name_blocks, screen_blocks
from ml.use_case import load

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

    assert flip_evidence(given, 3) == pytest.approx(np.log(by_hand))


def test_honest_labels_rarely_reach_the_bound():
    """Of 20,000 blocks of 50 honest labels fewer than one in exp(3) exceeds 3 nats: Ville's inequality."""
    rng = np.random.default_rng(8)
    sure = rng.uniform(0.5, 0.99, (20_000, 50))
    given = np.where(rng.random(sure.shape) < sure, sure, 1 - sure)

    exceeded = np.mean([flip_evidence(block, 2) > 3 for block in given])

    assert exceeded < np.exp(-3)


def test_too_few_trusted_rows_screen_nothing_but_conflicts(harbour, weeks):
    """Without a measure nothing is put aside on suspicion."""
    rows, _ = weeks
    rows = rows[rows["event_time"] >= "2013-03-20"].reset_index(drop=True)
    new = np.arange(len(rows)) >= 100

    assert suspicious(flipped(rows, 1.0), new, harbour) == {}
