"""Parity: the exported graph answers as the scikit-learn pipeline that it was made of."""

from __future__ import annotations

import numpy as np
import pandas as pd
from sklearn.pipeline import Pipeline

from ml.errors import DataError
from ml.records.decision import Parity
from ml.records.measure import Verdict
from ml.training.graph import Graph
from ml.training.inputs import feature_table
from ml.training.probes import boundary_rows, gap_rows
from ml.use_case import UseCase

#: Largest difference of a probability that is rounding; the sum of a hundred float32 shares differs by up to 1e-6.
TOLERANCE = 1e-4

#: Classes closer than this are tied: scikit-learn takes the first of them, float32 cannot tell which that is.
TIE = 2e-6

#: Rows at the splits of the trees, at most; a forest of 100 trees has some 10,000 splits.
BOUNDARY_ROWS = 3000


def probe_rows(pipeline: Pipeline, frame: pd.DataFrame, use_case: UseCase) -> pd.DataFrame:
    """Rows to compare on: the frame, its rows without single values, and its rows moved to the splits of trees."""
    gaps = gap_rows(frame, use_case, per_feature=50)
    edges = boundary_rows(pipeline, frame, use_case, limit=BOUNDARY_ROWS)
    return pd.concat([rows for rows in (frame, gaps, edges) if len(rows)], ignore_index=True)


def tolerance_of(labels: pd.Series, use_case: UseCase) -> float:
    """Largest difference of an answer that is rounding; of a regression in the target's unit, by its spread."""
    if not use_case.regression:
        return TOLERANCE
    return TOLERANCE * max(float(labels.astype(np.float64).std()), float(np.finfo(np.float32).tiny))


def measure_parity(
    pipeline: Pipeline, graph: Graph, frame: pd.DataFrame, *, allowed_flips: int, tolerance: float = TOLERANCE
) -> Parity:
    """Agreement of a graph with a fitted pipeline on the same rows.

    A flip is a row for which the graph names another class; where scikit-learn's two best classes are tied there is
    no decision to flip. Of a regression it is a number that differs by more than the tolerance. More flips than
    allowed fail, and so does a probability that differs by more than rounding.

    Raises
    ------
    DataError
        There are no rows, or the graph has other classes or gives something that is no probability.
    """
    if frame.empty:
        raise DataError("parity needs rows", got="0 rows", allowed="at least one")
    if not hasattr(pipeline, "predict_proba"):
        return _compare_numbers(pipeline, graph, frame, allowed_flips=allowed_flips, tolerance=tolerance)
    expected = pipeline.predict_proba(feature_table(frame, graph.numbers, graph.categories))
    labels, answered = graph.answer(frame)
    if answered.shape != expected.shape or not np.isfinite(answered).all():
        raise DataError("the graph gives no such probabilities", got=str(answered.shape), allowed=str(expected.shape))
    best = np.sort(expected, axis=1)
    decided = best[:, -1] - best[:, -2] > TIE
    flips = int(((labels != pipeline.classes_[expected.argmax(axis=1)]) & decided).sum())
    difference = float(np.abs(answered - expected).max())
    holds = flips <= allowed_flips and difference <= TOLERANCE
    return Parity(
        n=len(frame),
        flips=flips,
        allowed_flips=allowed_flips,
        largest_difference=difference,
        verdict=Verdict.PASS if holds else Verdict.FAIL,
    )


def _compare_numbers(
    pipeline: Pipeline, graph: Graph, frame: pd.DataFrame, *, allowed_flips: int, tolerance: float
) -> Parity:
    expected = pipeline.predict(feature_table(frame, graph.numbers, graph.categories))
    _, answered = graph.answer(frame)
    if answered.shape != (len(frame), 1) or not np.isfinite(answered).all():
        raise DataError("the graph gives no such numbers", got=str(answered.shape), allowed=str((len(frame), 1)))
    apart = np.abs(answered[:, 0] - expected)
    flips = int((apart > tolerance).sum())
    return Parity(
        n=len(frame),
        flips=flips,
        allowed_flips=allowed_flips,
        largest_difference=float(apart.max()),
        verdict=Verdict.PASS if flips <= allowed_flips else Verdict.FAIL,
    )
