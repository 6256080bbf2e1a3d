"""Answers to training rows by models that have not seen them."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from ml.training.cross_fit import cross_fit
from ml.training.fit import answer_of, fit_pipeline


@pytest.fixture
def use_case(make_use_case):
    """A tree that learns every row by heart."""
    tree = {"estimator": "sklearn.tree.DecisionTreeClassifier"}
    return make_use_case(("wind", "tide"), training={"history": {"file": "f.csv"}, "candidates": {"tree": tree}})


def accuracy(told: np.ndarray, rows: pd.DataFrame, use_case) -> float:
    """Share of rows whose most probable class happened."""
    return float((np.array(use_case.target.class_names)[told.argmax(axis=1)] == rows["label"]).mean())


def test_the_parts_are_the_rows_in_their_order(use_case, make_rows):
    """Contiguous, each row once."""
    rows = make_rows(500)

    parts = cross_fit(use_case, "tree", rows, folds=4)

    assert [len(part) for part, _ in parts] == [125, 125, 125, 125]
    pd.testing.assert_frame_equal(pd.concat([part for part, _ in parts]), rows)


def test_no_part_is_answered_by_a_model_that_knows_it(use_case, make_rows):
    """Labels drawn by lot can be learnt by heart and not be guessed."""
    rng = np.random.default_rng(5)
    rows = make_rows(1200).assign(label=rng.choice(["on time", "late"], 1200))

    pipeline, _ = fit_pipeline(use_case, "tree", rows)
    seen = accuracy(answer_of(pipeline, use_case)(rows), rows, use_case)
    unseen = np.mean([accuracy(answer(part), part, use_case) for part, answer in cross_fit(use_case, "tree", rows)])

    assert seen > 0.99
    assert abs(unseen - 0.5) < 4 * 0.5 / np.sqrt(1200)


def test_where_the_other_parts_lack_a_class_there_is_no_answer(use_case, make_rows):
    """All late ferries in one part."""
    rows = make_rows(300).assign(label=["late"] * 100 + ["on time"] * 200)

    assert cross_fit(use_case, "tree", rows) is None


def test_no_rows_get_no_answers(use_case, make_rows):
    """In the shape of answers."""
    rows = make_rows(300)
    pipeline, _ = fit_pipeline(use_case, "tree", rows)

    assert answer_of(pipeline, use_case)(rows[:0]).shape == (0, 2)
