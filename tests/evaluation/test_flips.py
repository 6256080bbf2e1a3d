"""Counterfactual changes: the smallest on the grid, as trying everything finds it."""

from __future__ import annotations

from itertools import combinations, product

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from ml.evaluation.flips import find_flips
from ml.evaluation.moves import Others, scale_of
from ml.use_case import UseCase


@pytest.fixture(scope="module")
def harbour(use_case) -> UseCase:
    """With a third, categorical feature."""
    features = {name: feature.model_dump() for name, feature in use_case.features.items()}
    features["port"] = {"type": "category"}
    return UseCase.model_validate(use_case.model_dump(mode="json") | {"features": features})


def logistic(rows: pd.DataFrame) -> np.ndarray:
    """Late by wind, by being late now, and by port; a missing wind is none."""
    told = 2 * rows["wind"].fillna(0) + 1.2 * rows["late_now"].fillna(0) + (rows["port"] == "west") - 1.5
    late = 1 / (1 + np.exp(-told.to_numpy(dtype=float)))
    return np.column_stack([1 - late, late])


def rows_of(n: int, *, seed: int) -> pd.DataFrame:
    """Rows of the three features, some without wind."""
    rng = np.random.default_rng(seed)
    return pd.DataFrame(
        {
            "event_time": pd.date_range("2013-01-01", periods=n, freq="h", tz="UTC"),
            "wind": np.where(rng.random(n) < 0.1, np.nan, rng.normal(size=n).round(2)),
            "late_now": rng.integers(0, 2, n).astype(float),
            "port": rng.choice(["east", "west"], n),
        }
    )


def options(name: str, value: object, observed: pd.DataFrame, steps: tuple) -> list[tuple[tuple[str, object], float]]:
    """Every other value of a feature with its distance, counted row by row."""
    known = sorted(observed["wind"].dropna().tolist())

    def rank(number: float) -> float:
        return sum(0.5 if one == number else float(one < number) for one in known) / len(known)

    if pd.isna(value):
        return []
    if name != "wind":
        return [((name, other), 1.0) for other in sorted(set(observed[name])) if other != value]
    last = len(known) - 1
    places = [min(max(round((rank(value) + sign * step) * last), 0), last) for step in steps for sign in (1, -1)]
    return [((name, known[p]), abs(rank(known[p]) - rank(value))) for p in places if known[p] != value]


def by_trying_everything(row: pd.Series, observed: pd.DataFrame, steps: tuple, paired: tuple) -> float:
    """Distance of the nearest flip of a row, one question at a time; infinite where there is none."""
    names = ("wind", "late_now", "port")
    tries = [[one] for name in names for one in options(name, row[name], observed, steps)]
    for first, second in combinations(names, 2):
        pairs = product(options(first, row[first], observed, paired), options(second, row[second], observed, paired))
        tries += [list(pair) for pair in pairs]
    decided = logistic(pd.DataFrame([row])).argmax()
    near = [np.inf]
    for changes in tries:
        other = pd.Series(row.to_dict() | dict(change for change, _ in changes))
        if logistic(pd.DataFrame([other])).argmax() != decided:
            near.append(sum(distance for _, distance in changes))
    return min(near)


@hypothesis_settings(max_examples=5, deadline=None)
@given(seed=st.integers(0, 1000))
def test_the_nearest_flip_is_the_one_that_trying_everything_finds(harbour, seed):
    """By one or two features, on a small grid, row by row."""
    observed, rows = rows_of(60, seed=seed + 1), rows_of(6, seed=seed)
    steps, paired = (0.05, 0.2, 0.5, 1.0), (0.1, 0.3)

    found = find_flips(logistic, rows, observed, harbour, steps=steps, paired_steps=paired)

    told = [np.inf if one is None else one.distance for one in found.nearest]
    assert told == pytest.approx([by_trying_everything(row, observed, steps, paired) for _, row in rows.iterrows()])


def test_a_flip_turns_the_decision_when_its_moves_are_made(harbour):
    """Each answer changes from what was decided to what is said, and values stay within what was observed."""
    observed, rows = rows_of(500, seed=2), rows_of(40, seed=3)

    found = find_flips(logistic, rows, observed, harbour)

    known = [one for one in found.nearest if one is not None]
    assert known
    for one in known:
        changed = rows.iloc[[one.row]].assign(**{move.feature: move.value for move in one.moves})
        assert harbour.answers[logistic(rows.iloc[[one.row]]).argmax()] == one.decided
        assert harbour.answers[logistic(changed).argmax()] == one.instead != one.decided
        assert all(move.value in set(observed[move.feature]) for move in one.moves)
        assert len({move.feature for move in one.moves}) == len(one.moves) <= 2


def test_shares_and_features_are_counted(harbour):
    """The share within a distance counts the rows of no larger one; what turns by a feature alone has a flip."""
    observed, rows = rows_of(500, seed=2), rows_of(60, seed=4)

    found = find_flips(logistic, rows, observed, harbour)

    single = [one for one in found.single if one is not None]
    near = sum(one.distance <= 0.2 for one in single)
    share = found.share_within(0.2, single=True)
    assert (share.value, share.n) == (pytest.approx(near / 60), 60)
    assert 0 <= share.low <= share.value <= share.high <= 1
    turned = np.any(list(found.alone.values()), axis=0)
    assert turned.tolist() == [one is not None for one in found.single]
    assert all(
        two is not None and two.distance <= one.distance
        for one, two in zip(found.single, found.nearest, strict=True)
        if one is not None
    )


def test_a_model_that_answers_one_thing_is_never_turned(harbour):
    """No row flips, and the share is 0 of all rows, not undefined."""
    found = find_flips(
        lambda rows: np.tile([0.9, 0.1], (len(rows), 1)), rows_of(30, seed=1), rows_of(50, seed=2), harbour
    )

    assert found.nearest == (None,) * 30
    assert (found.share_within(1.0).value, found.share_within(1.0).n) == (0.0, 30)


def test_without_rows_the_share_is_undefined(harbour):
    """Nothing is a share of nothing."""
    found = find_flips(logistic, rows_of(0, seed=1), rows_of(50, seed=2), harbour)

    assert found.share_within(0.1).value is None


def test_a_category_has_its_frequent_values_and_a_missing_one_is_none(harbour):
    """None is no observed value."""
    observed = rows_of(50, seed=1)
    observed.loc[0, "port"] = None

    assert scale_of("port", observed, harbour) == Others("port", tuple(observed["port"].value_counts().index))


def test_what_a_feature_alone_can_turn_is_counted(harbour):
    """Of the model by hand: another port turns the rows whose score lies within one of the border."""
    observed, rows = rows_of(500, seed=2), rows_of(200, seed=5)
    score = 2 * rows["wind"].fillna(0) + 1.2 * rows["late_now"] + (rows["port"] == "west") - 1.5
    other = score + np.where(rows["port"] == "west", -1, 1)

    found = find_flips(logistic, rows, observed, harbour)

    assert found.alone["port"].tolist() == ((score > 0) != (other > 0)).tolist()
    assert found.share_alone("port").value == pytest.approx(((score > 0) != (other > 0)).mean())
