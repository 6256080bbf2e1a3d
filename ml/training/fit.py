"""A candidate fitted on rows, and the choice among those that were tried."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from sklearn.pipeline import Pipeline

from ml.errors import DataError, Problem, UseCaseError
from ml.records.decision import CandidateResult, Choice, TrainingSet
from ml.store.fingerprint import fingerprint
from ml.training.calibrated import calibrated
from ml.training.candidates import build_candidate
from ml.training.inputs import feature_table
from ml.training.weights import row_weights
from ml.use_case import UseCase

#: A model: rows to answers of shape ``(n_rows, len(use_case.answers))``.
Answer = Callable[[pd.DataFrame], NDArray[np.float64]]


class NoCandidate(DataError):  # noqa: N818 - an answer about candidates, not a fault
    """Every candidate was stopped at its caps, or could not be fitted."""


def choose(results: Sequence[CandidateResult]) -> Choice:
    """The candidate with the lowest validation loss; of equal ones the first.

    Raises
    ------
    NoCandidate
        None has a loss.
    """
    known = [(result.loss.value, i) for i, result in enumerate(results) if result.loss.value is not None]
    if not known:
        raise NoCandidate(
            "no candidate has a validation loss",
            where="training.candidates",
            got="; ".join(f"{result.name}: {result.detail or result.loss.detail}" for result in results) or "no result",
        )
    return Choice(chosen=results[min(known)[1]].name, results=tuple(results))


def fit_pipeline(use_case: UseCase, name: str, rows: pd.DataFrame) -> tuple[Pipeline, str]:
    """A candidate fitted on rows, and what scikit-learn warned of meanwhile.

    Raises
    ------
    UseCaseError
        There is no such candidate, or it cannot be fitted.
    DataError
        The rows do not hold every class.
    """
    _require_labels(rows, use_case)
    pipeline, weights = build_candidate(use_case, name), row_weights(rows, use_case)
    if use_case.training.calibration != "none":
        pipeline = calibrated(pipeline)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            pipeline.fit(
                feature_table(rows, use_case.numbers, use_case.categories),
                rows["label"].to_numpy(dtype=np.float64 if use_case.regression else object),
                **({} if weights is None else {"model__sample_weight": weights}),
            )
        except Exception as error:  # a foreign estimator may raise anything
            problem = Problem(f"training.candidates.{name}", f"cannot be fitted: {type(error).__name__}: {error}")
            raise UseCaseError(f"{use_case.name}.yaml", (problem,)) from error
    classes = use_case.target.class_names
    if not use_case.regression and not np.array_equal(pipeline.classes_, classes):
        raise DataError(
            "the model has other classes", where=name, got=str(pipeline.classes_), allowed=", ".join(classes)
        )
    return pipeline, "; ".join(dict.fromkeys(f"{w.category.__name__}: {w.message}" for w in caught))


def answer_of(pipeline: Pipeline, use_case: UseCase) -> Answer:
    """A fitted pipeline as a function from rows to answers, of shape ``(n_rows, len(use_case.answers))``."""

    def answer(rows: pd.DataFrame) -> NDArray[np.float64]:
        if rows.empty:
            return np.empty((0, len(use_case.answers)))
        table = feature_table(rows, use_case.numbers, use_case.categories)
        told = pipeline.predict(table)[:, None] if use_case.regression else pipeline.predict_proba(table)
        return np.asarray(told, dtype=np.float64)

    return answer


def _require_labels(rows: pd.DataFrame, use_case: UseCase) -> None:
    lacking = [label for label in use_case.target.class_names if label not in set(rows["label"])]
    if lacking:
        raise DataError(
            "no row of a class", where="target.classes", got=f"none of {', '.join(lacking)} in {len(rows)} rows"
        )


def check_frame(frame: pd.DataFrame, training_set: TrainingSet) -> None:
    """Pass a frame that holds exactly the training set's rows.

    Raises
    ------
    DataError
        It holds something else.
    """
    found = fingerprint(frame)
    if found != training_set.fingerprint:
        raise DataError(
            "these are not the rows of the training set",
            where=f"{training_set.use_case}, data version {training_set.data_version}",
            got=f"fingerprint {found[:16]}",
            allowed=training_set.fingerprint[:16],
        )
