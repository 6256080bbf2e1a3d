"""Influence: what shuffling one feature does to the answers, and to nothing else."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ml.training import influence
from ml.training.influence import measure_influence

ROWS = pd.DataFrame({"wind": np.linspace(0, 1, 500), "tide": np.linspace(5, 9, 500), "pier": ["A", "B"] * 250})


def by_wind(rows: pd.DataFrame) -> np.ndarray:
    """A model whose probability of being late is the wind."""
    late = rows["wind"].to_numpy()
    return np.column_stack([1 - late, late])


def measured(answer, seed: int = 0, frame: pd.DataFrame = ROWS) -> dict[str, float]:
    """Influence of every column."""
    return measure_influence(answer, frame, tuple(frame.columns), rng=np.random.default_rng(seed))


def test_a_feature_that_the_model_ignores_has_none():
    """Exactly 0, whatever its values."""
    found = measured(by_wind)

    assert (found["tide"], found["pier"]) == (0.0, 0.0)
    assert found["wind"] > 0


def test_two_rows_by_hand():
    """Probabilities 0.2 and 0.9 that change places move by 0.7; a shuffle that leaves them moves nothing."""
    rows = pd.DataFrame({"wind": [0.2, 0.9]})

    values = [measured(by_wind, seed, rows)["wind"] for seed in range(30)]

    assert {round(value, 12) for value in values} == {0.0, 0.7}


def test_a_probability_that_is_the_feature_moves_by_its_mean_difference():
    """Two values drawn evenly from 0 to 1 lie a third apart; the standard error of 500 pairs is 0.0105."""
    found = np.mean([measured(by_wind, seed)["wind"] for seed in range(20)])

    assert found == pytest.approx(1 / 3, abs=4 * 0.0105 / np.sqrt(20))


def test_a_certain_answer_that_turns_over_half_the_time_has_half():
    """A model of the pier alone, three classes: what is between two classes is counted once, not twice."""

    def by_pier(rows: pd.DataFrame) -> np.ndarray:
        at_a = (rows["pier"] == "A").to_numpy(dtype=float)
        return np.column_stack([at_a, 1 - at_a, np.zeros(len(rows))])

    found = measured(by_pier)

    assert found["pier"] == pytest.approx(0.5, abs=0.1)
    assert found["wind"] == 0.0


@given(st.integers(0, 2**32 - 1))
def test_the_seed_decides_and_nothing_leaves_zero_to_one(seed):
    """The same model has the same influences."""
    found = measured(by_wind, seed)

    assert found == measured(by_wind, seed)
    assert all(0 <= value <= 1 for value in found.values())


def test_a_sample_of_many_rows_is_enough(monkeypatch):
    """The model is asked for no more rows than that, once per feature and once before; the frame stays as it was."""
    monkeypatch.setattr(influence, "SAMPLE", 100)
    asked = []

    def remembering(rows: pd.DataFrame) -> np.ndarray:
        asked.append(len(rows))
        return by_wind(rows)

    before = ROWS.copy()
    measured(remembering)

    assert asked == [100] * 4
    pd.testing.assert_frame_equal(ROWS, before)


def test_no_rows_have_no_influence():
    """Nobody is asked."""
    assert measured(by_wind, frame=ROWS.iloc[:0]) == {}
