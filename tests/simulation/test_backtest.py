"""Policies on a virtual clock: changes are answered, quiet is left alone, and nobody beats hindsight."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from itertools import combinations, pairwise
from typing import Any

import joblib
import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import special

from ml.errors import DataError
from ml.records.backtest import Backtest, PolicyResult
from ml.simulation.backtest import best_moments, run_backtest
from ml.use_case import UseCase

START = datetime(2024, 1, 1, tzinfo=UTC)
DAY = timedelta(days=1)
A_DAY = 96  # rows
CHANGE = 20  # day on which the world changes, if it does

# Log odds of being late, from wind, tide and the day.
Odds = Callable[[Any, Any, Any], Any]
WORLDS: dict[str, Odds] = {
    "stationary": lambda wind, tide, day: 2 * wind,
    "sudden": lambda wind, tide, day: np.where(day < CHANGE, 2 * wind, 2 * tide),
    "gradual": lambda wind, tide, day: 2 * (wind + np.clip((day - 16) / 12, 0, 1) * (tide - wind)),
    "recurring": lambda wind, tide, day: np.where((day < 16) | (day >= 26), 2 * wind, 2 * tide),
}


def ferry(**sections: dict[str, Any]) -> UseCase:
    """Daily windows; one candidate that learns from six days."""
    content: dict[str, Any] = {
        "name": "ferry",
        "task": "binary_classification",
        "time_column": "time",
        "features": {"wind": {"type": "number"}, "tide": {"type": "number"}},
        "target": {"column": "late", "classes": {"0": "on time", "1": "late"}},
        "training": {
            "history": {"file": "ferry.csv"},
            "candidates": {"logistic_regression": {"estimator": "logistic_regression"}},
            "strategy": "sliding_window",
            "sliding_window": "6d",
            "validation": "2d",
            "holdout": "1d",
        },
        "monitoring": {"window": "1d", "block": "1h", "minimum_rows": 20, "false_alarm_budget": 0.01},
        "retraining": {
            "minimum_labelled": 48,
            "evidence": "3d",
            "horizon": "7d",
            "cool_down": "2d",
            "cost_of_retraining": 60,
        },
        "gate": {"block": "3h", "minimum_rows": 20},
    }
    for section, values in sections.items():
        content[section] = content[section] | values
    return UseCase.model_validate(content)


def sailed(odds: Odds, *, days: int = 32, seed: int = 0) -> pd.DataFrame:
    """A row every quarter of an hour."""
    rng = np.random.default_rng(seed)
    n = days * A_DAY
    wind, tide = rng.normal(size=(2, n))
    late = rng.random(n) < special.expit(odds(wind, tide, np.arange(n) / A_DAY))
    return pd.DataFrame(
        {
            "id": [f"{i}" for i in range(n)],
            "event_time": pd.date_range(START, periods=n, freq="15min").as_unit("us"),
            "wind": wind,
            "tide": tide,
            "label": np.where(late, "late", "on time"),
        }
    )


def told(rows: pd.DataFrame, use_case: UseCase, *, start: datetime | None = None, grid: bool = False) -> Backtest:
    """Backtest in this process, without a word."""
    with joblib.parallel_config(backend="sequential"):
        return run_backtest(use_case, rows, start=start, grid=grid, show=lambda what, share: None)


@pytest.fixture(scope="module")
def stories() -> dict[str, Backtest]:
    """A backtest of each world, the sudden one with other settings beside the file's own."""
    return {name: told(sailed(odds), ferry(), grid=name == "sudden") for name, odds in WORLDS.items()}


def policy(found: Backtest, name: str = "shipped settings") -> PolicyResult:
    """The policy of this name; the file's own settings when none is given."""
    return next(one for one in found.policies if one.name == name)


@given(st.data())
def test_the_best_moments_are_those_of_trying_all(data):
    """Every subset of moments at which there is a model, by brute force; model 0 is there always."""
    n = data.draw(st.integers(1, 6))
    loss = np.array(data.draw(st.lists(st.floats(0, 9), min_size=n * n, max_size=n * n))).reshape(n, n)
    loss[np.tril_indices(n, -1)] = np.inf
    there = [0, *(i for i in range(1, n) if data.draw(st.booleans()))]
    loss[[i for i in range(n) if i not in there]] = np.inf
    count = data.draw(st.integers(0, len(there) - 1))

    def total(moments: tuple[int, ...]) -> float:
        bounds = (0, *moments, n)
        return sum(loss[i, i:k].sum() for i, k in pairwise(bounds))

    found = best_moments(loss, count)

    assert len(found) == count
    assert set(found) <= set(there)
    assert total(found) == pytest.approx(min(total(moments) for moments in combinations(there[1:], count)))


def test_a_sudden_change_is_answered_soon_and_seldom(stories):
    """Within three windows, with at most four retrainings, and it pays."""
    ours, never = policy(stories["sudden"]), policy(stories["sudden"], "never")
    asked = [decision.as_of for decision in ours.decisions if decision.retrain]

    assert START + CHANGE * DAY < asked[0] <= START + (CHANGE + 3) * DAY
    assert 1 <= ours.promoted <= ours.retrainings <= 4
    assert ours.loss < 0.8 * never.loss
    assert ours.cost < never.cost


@pytest.mark.parametrize("world", ["gradual", "recurring"])
def test_other_changes_are_answered_too(stories, world):
    """Better than never, and dearer than knowing the future."""
    ours, never = policy(stories[world]), policy(stories[world], "never")

    assert ours.promoted >= 1
    assert ours.loss < 0.95 * never.loss


@pytest.mark.parametrize("seed", range(3))
def test_where_nothing_changes_nothing_is_done(stories, seed):
    """No retraining, one alarm of twenty at most, and the loss is that of the first model."""
    found = stories["stationary"] if seed == 0 else told(sailed(WORLDS["stationary"], seed=seed), ferry())
    ours, never = policy(found), policy(found, "never")

    assert (ours.retrainings, ours.loss, ours.cost) == (0, never.loss, never.cost)
    assert ours.alarms <= 1
    assert ours.undecidable == 0


@pytest.mark.parametrize("world", WORLDS)
def test_nobody_is_better_than_hindsight(stories, world):
    """Of the policies that deploy as often."""
    policies = stories[world].policies
    best = {one.promoted: one.loss for one in policies if one.kind == "hindsight"}
    others = [one for one in policies if one.kind != "hindsight" and one.promoted in best]

    assert sorted(best) == [1, 2, 3, 4, 5, 6]
    assert len(others) >= 2
    assert all(one.loss >= best[one.promoted] - 1e-9 for one in others)


@pytest.mark.parametrize("world", WORLDS)
def test_every_policy_decides_at_the_end_of_every_window(stories, world):
    """Twelve days are history: holdout, validation and nine windows; the other twenty are live."""
    found = stories[world]
    ends = [START + (12 + number) * DAY for number in range(1, 21)]

    assert (found.start, found.end, found.rows) == (START + 12 * DAY, START + 32 * DAY, 20 * A_DAY)
    assert all([decision.as_of for decision in one.decisions] == ends for one in found.policies)
    assert all(
        sum(decision.retrain for decision in one.decisions) == one.retrainings
        for one in found.policies
        if one.kind != "ours"
    )


def test_the_usual_rules_do_what_their_names_say(stories):
    """Nineteen windows end before another begins; a rule deploys whatever it trains."""
    found = stories["sudden"]
    usual = {one.name: one.retrainings for one in found.policies if one.kind == "rule"}

    assert usual["never"] == 0
    assert [usual[name] for name in ("every window", "every 2 windows", "every 4 windows")] == [19, 9, 4]
    assert {name for name in usual if name.startswith("mean PSI")} == {f"mean PSI > {x}" for x in (0.1, 0.2, 0.5, 1)}
    assert all(one.promoted == one.retrainings for one in found.policies if one.kind == "rule")
    assert policy(found, "every 8 windows").decisions[7].retrain


@pytest.mark.parametrize("world", WORLDS)
def test_the_cost_is_that_of_loss_and_of_retrainings(stories, world):
    """By the prices of the use case file, for whoever pays them."""
    found = stories[world]

    for one in found.policies:
        assert one.cost == pytest.approx(one.loss * found.rows + 60 * one.retrainings)
    assert all((one.cost_seconds > 0) == (one.retrainings > 0) for one in found.policies)


def test_the_loss_of_never_is_that_of_a_model_fitted_by_hand(stories):
    """The first six days before the first holdout, by scikit-learn alone."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.metrics import log_loss
    from sklearn.preprocessing import StandardScaler

    rows = sailed(WORLDS["sudden"])
    seen, live = rows.iloc[5 * A_DAY + 1 : 11 * A_DAY + 1], rows.iloc[12 * A_DAY :]
    scale = StandardScaler().fit(seen[["wind", "tide"]].to_numpy())
    model = LogisticRegression(max_iter=1000).fit(scale.transform(seen[["wind", "tide"]].to_numpy()), seen["label"])
    shares = model.predict_proba(scale.transform(live[["wind", "tide"]].to_numpy()))

    expected = log_loss(live["label"], shares, labels=["late", "on time"])

    assert policy(stories["sudden"], "never").loss == pytest.approx(expected, abs=1e-4)


def test_decisions_carry_their_numbers(stories):
    """What a person would ask of each."""
    won = next(decision for decision in policy(stories["sudden"]).decisions if decision.outcome == "promoted")

    assert won.retrain
    assert won.avoidable > 0
    assert won.drift_score < won.threshold
    assert won.verdict == "no_drift"
    assert any(reason.startswith("Avoidable log_loss per row: ") for reason in won.reasons)
    assert any(reason.startswith("beats_champion: ") for reason in won.reasons)


def test_other_settings_are_tried_beside_the_files_own(stories):
    """Each says in which keys it differs; what is recommended is one of them, and is cheaper or the file's own."""
    found = stories["sudden"]
    ours = [one for one in found.policies if one.kind == "ours"]
    settings = [tuple(sorted(one.settings.items())) for one in ours]

    assert (ours[0].name, ours[0].settings) == ("shipped settings", {})
    assert len(set(settings)) == len(settings) == 12
    assert {key for one in ours for key in one.settings} == {"level", "cost_of_retraining"}
    chosen = policy(found, found.recommended)
    assert chosen.kind == "ours"
    assert chosen.settings == found.recommended_settings
    assert chosen.cost <= ours[0].cost
    assert chosen is ours[0] or ours[0].cost - chosen.cost > 60
    assert found.explanation[0].startswith("The file's own settings cost ")


def test_without_a_grid_the_files_own_settings_are_recommended(stories):
    """There is nothing to choose from."""
    found = stories["stationary"]

    assert [one.name for one in found.policies if one.kind == "ours"] == ["shipped settings"]
    assert (found.recommended, found.recommended_settings) == ("shipped settings", {})


def test_a_backtest_is_a_record(stories):
    """It survives being written."""
    found = stories["sudden"]

    assert Backtest.model_validate_json(found.model_dump_json()) == found


def test_nothing_is_known_before_its_time():
    """Rows that lie ahead, and labels that are not mature, leave every decision as it was; later ones change."""
    use_case = ferry(target={"maturity": "6h"})
    rows = sailed(WORLDS["sudden"], days=28)
    now = START + 25 * DAY
    unknown = (rows["event_time"] > pd.Timestamp(now - timedelta(hours=6))).to_numpy()
    ahead = (rows["event_time"] >= pd.Timestamp(now)).to_numpy()
    other = rows.assign(label=np.where(unknown, "late", rows["label"]), wind=np.where(ahead, 9.0, rows["wind"]))

    first, second = (policy(told(table, use_case)).decisions for table in (rows, other))

    until = [i for i, decision in enumerate(first) if decision.as_of <= now]
    assert any(first[i].retrain for i in until)
    assert [first[i] for i in until] == [second[i] for i in until]
    assert first != second


def test_the_order_of_the_rows_of_a_file_does_not_matter():
    """Nor does running it twice."""
    rows = sailed(WORLDS["sudden"], days=24)

    first, second = told(rows, ferry()), told(rows.sample(frac=1, random_state=1), ferry())

    still = {"seconds": 0.0}
    assert [one.model_copy(update={"cost_seconds": 0.0}) for one in first.policies] == [
        one.model_copy(update={"cost_seconds": 0.0}) for one in second.policies
    ]
    assert first.model_copy(update=still | {"policies": ()}) == second.model_copy(update=still | {"policies": ()})


def test_windows_are_checked_in_their_contexts():
    """Days of January are; the first of February is like nothing in the reference."""
    use_case = ferry(monitoring={"context": ["month"]})

    found = policy(told(sailed(WORLDS["stationary"], days=33), use_case)).decisions

    january = [decision for decision in found if decision.as_of <= START + 31 * DAY]
    february = [decision for decision in found if decision.as_of > START + 31 * DAY]
    assert {decision.verdict for decision in january} <= {"no_drift", "drift"}
    assert january[0].threshold is not None
    assert [decision.verdict for decision in february] == ["undecidable"] * len(february)
    assert february


def test_live_traffic_begins_when_asked():
    """A naive moment is UTC; the share of work done only grows, up to all of it."""
    shares: list[float] = []
    with joblib.parallel_config(backend="sequential"):
        found = run_backtest(
            ferry(),
            sailed(WORLDS["stationary"], days=20),
            start=datetime(2024, 1, 16),  # noqa: DTZ001 - as typed on a command line
            grid=False,
            show=lambda what, share: shares.append(share),
        )

    assert (found.start, found.end) == (START + 15 * DAY, START + 20 * DAY)
    assert shares == sorted(shares)
    assert 0 < shares[0] <= shares[-1] <= 1


@pytest.mark.parametrize(
    ("days", "start", "message"),
    [
        (0, None, "history has no usable row"),
        (13, None, "history is too short for a backtest.* got: 1 windows"),
        (5, None, "history is too short for a backtest.* got: 0 windows"),
        (20, 25, "history is too short for a backtest"),
        (20, 2, "no first model can be trained.*2024-01-03"),
        (20, -5, "no first model can be trained"),
    ],
)
def test_a_history_that_is_no_history_is_one_error(days, start, message):
    """Which says what is there and what is needed."""
    begin = None if start is None else START + start * DAY

    with pytest.raises(DataError, match=message):
        told(sailed(WORLDS["stationary"], days=days), ferry(), start=begin)


def test_a_single_row_is_too_short():
    """It has no neighbour to tell how far apart rows lie."""
    with pytest.raises(DataError, match="too short"):
        told(sailed(WORLDS["stationary"], days=1).iloc[:1], ferry())
