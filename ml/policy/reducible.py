"""How much of the champion's live loss was avoidable: what a small correction of its own answers would have saved.

A window of bad weather costs every model dearly, so a high loss alone says nothing about the model. What a model that
knows these rows could gain is told by correcting the champion's answers: a ridge-penalised multinomial model on the
features, with the champion's log odds as offset (of a regression a linear model of its errors), cross-validated over
blocks of time. Its gain is a lower bound of
what retraining can gain, costs milliseconds, and is zero or below for a champion that has nothing to learn.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from datetime import timedelta

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ml.errors import DataError
from ml.policy.correction import correct_numbers, correct_probabilities
from ml.records.measure import Estimate
from ml.training.block_interval import count_blocks, mean_over_blocks
from ml.training.class_names import is_label
from ml.training.loss import LOSSES
from ml.use_case import UseCase

Floats = NDArray[np.float64]
#: Rows that were learnt from, and what was then avoided per row.
Curve = tuple[tuple[float, float], ...]

FOLDS = 7
#: Blocks without which nothing can be said.
MINIMUM_BLOCKS = 5
#: More rows are thinned evenly: the blocks are the draws, not the rows.
MAXIMUM_ROWS = 50_000
_CATEGORIES = 10  # indicators of a category column, the most frequent values
_WINSOR = 4.0  # standard deviations
_NEVER = 1e3  # an interval that must shrink by this much never will
_PARTS = (1, 2, 4, 6)  # of the folds, that a point of the learning curve has learnt from


def reducible_loss(labelled: pd.DataFrame, use_case: UseCase, *, level: float | None = None) -> Estimate:
    """Mean loss per row that a correction of the champion's answers avoids on blocks that it was not fitted on.

    Parameters
    ----------
    labelled
        Rows that the champion answered: ``event_time``, ``label``, its answers ``p_0 ..`` in the order of
        ``use_case.answers``, and the features.
    level
        One-sided; None takes ``retraining.level``. With nothing to gain, ``low`` lies above 0 at most this often.

    Returns
    -------
    Estimate
        In units of the gate's metric, negative where the correction does harm; interval at ``1 - 2 * level``. None
        with fewer than :data:`MINIMUM_BLOCKS` blocks of ``gate.block``, or a single class. ``n`` counts all usable
        rows, those that were thinned out included.

    Raises
    ------
    DataError
        A needed column is absent.

    References
    ----------
    Vergouwe et al. (2017), A closed testing procedure to select an appropriate method for updating prediction models,
    Statistics in Medicine 36, section 2: recalibration and revision with the old linear predictor as offset. Davis et
    al. (2020), Detection of calibration drift in clinical prediction models to inform model updating, J. Biomed.
    Inform. 112.
    """
    level = use_case.retraining.level if level is None else level
    rows, answers, n = _usable(labelled, use_case)
    blocks = count_blocks(rows["event_time"], use_case.gate.block)
    if blocks < MINIMUM_BLOCKS:
        detail = f"{blocks} blocks of labelled rows are too few, {MINIMUM_BLOCKS} are needed"
        return Estimate(value=None, n=n, confidence=1 - 2 * level, detail=detail)
    labels = rows["label"].to_numpy()
    if len(set(labels)) < 2:
        what = "label" if use_case.regression else "class"
        return Estimate(value=None, n=n, confidence=1 - 2 * level, detail=f"only one {what} happened")
    corrected = _corrector(rows, answers, use_case)(_folds(rows, use_case), FOLDS)
    loss, names = LOSSES[use_case.gate.metric], use_case.answers
    gain = loss(labels, answers, names) - loss(labels, corrected, names)
    found = mean_over_blocks(gain, rows["event_time"], block=use_case.gate.block, confidence=1 - 2 * level)
    return found.model_copy(update={"n": n})


def learning_curve(labelled: pd.DataFrame, use_case: UseCase) -> Curve:
    """What the correction avoids per row, by how many rows it has learnt from, fewest first.

    Each part of the rows is answered by corrections that learnt from one, two, four and six of the other parts.

    Returns
    -------
    tuple of (float, float)
        Rows and mean gain; empty where :func:`reducible_loss` has no value, or a few parts do not hold two classes.

    References
    ----------
    Cortes et al. (1994), Learning curves: asymptotic values and rate of convergence, NIPS 6: the curve is fitted.
    """
    rows, answers, n = _usable(labelled, use_case)
    labels, names = rows["label"].to_numpy(), use_case.answers
    if count_blocks(rows["event_time"], use_case.gate.block) < MINIMUM_BLOCKS or len(set(labels)) < 2:
        return ()
    folds, loss = _folds(rows, use_case), LOSSES[use_case.gate.metric]
    correct = _corrector(rows, answers, use_case)
    found = []
    for parts in (part for part in _PARTS if part < len(np.unique(folds))):
        gain = loss(labels, answers, names) - loss(labels, correct(folds, parts), names)
        found.append((n * parts / len(np.unique(folds)), float(gain.mean())))
    return tuple(found)


def more_rows_needed(gain: Estimate, curve: Curve = ()) -> int | None:
    """Further labelled rows after which a gain would be beyond doubt; 0 when it is, None when never.

    The interval shrinks with the square root of the rows. The gain grows as the learning curve says, ``a - b / rows``
    fitted by least squares with ``b >= 0``; without a curve it stays as it is.

    Parameters
    ----------
    curve
        Of :func:`learning_curve`.

    Examples
    --------
    >>> more_rows_needed(Estimate(value=0.01, n=1000, low=-0.01, high=0.03))
    3001
    """
    if gain.value is None or gain.low is None:
        return None
    if gain.low > 0:
        return 0
    limit, slope = _fit_curve(curve) if len(curve) > 1 else (gain.value, 0.0)
    reach = (gain.value - gain.low) * gain.n**0.5
    if limit <= 0 or gain.n == 0:
        return None
    # The larger solution of limit - slope / rows = reach / sqrt(rows), for the square root of the rows.
    root = (reach + math.hypot(reach, 2 * math.sqrt(limit) * math.sqrt(slope))) / 2 / limit
    if root >= _NEVER * math.sqrt(gain.n):
        return None
    more = max(round(root**2 - gain.n, 6), 0)  # rounded, or the last bit decides whether a row is missing
    return int(more) + 1


def _fit_curve(curve: Curve) -> tuple[float, float]:
    """Limit and slope of ``limit - slope / rows``, the slope not below 0."""
    rows, gains = np.array([point[0] for point in curve]), np.array([point[1] for point in curve])
    fitted = np.polyfit(1 / rows, gains, 1)
    return (float(fitted[1]), float(-fitted[0])) if fitted[0] < 0 else (float(gains.mean()), 0.0)


def _usable(labelled: pd.DataFrame, use_case: UseCase) -> tuple[pd.DataFrame, Floats, int]:
    """Rows that can be judged, thinned, their answers, and how many there were before."""
    columns = [f"p_{i}" for i in range(len(use_case.answers))]
    lacking = [n for n in (*columns, "label", "event_time", *use_case.features) if n not in labelled.columns]
    if lacking:
        raise DataError("labelled rows lack a column", where=", ".join(lacking), got=", ".join(labelled.columns))
    known = is_label(labelled["label"], use_case) & np.isfinite(labelled[columns].to_numpy()).all(axis=1)
    rows = labelled[known].sort_values("event_time", kind="stable")
    thinned = rows.iloc[:: -(-len(rows) // MAXIMUM_ROWS) or 1]
    return thinned, thinned[columns].to_numpy(dtype=np.float64), len(rows)


def _corrector(rows: pd.DataFrame, answers: Floats, use_case: UseCase) -> Callable[[NDArray[np.int64], int], Floats]:
    """Corrected answers by folds, and by how many of the other folds each has learnt from."""
    design, labels = _design(rows, use_case), rows["label"].to_numpy()
    if use_case.regression:
        truth = labels.astype(np.float64)
        return lambda folds, parts: correct_numbers(design, answers, truth, folds, parts=parts)
    codes = _codes(labels, use_case.answers)
    return lambda folds, parts: correct_probabilities(design, answers, codes, folds, parts=parts)


def _folds(rows: pd.DataFrame, use_case: UseCase) -> NDArray[np.int64]:
    """Blocks dealt out in turn, so that each fold has seen every part of the evidence."""
    block: timedelta = use_case.gate.block
    times = pd.DatetimeIndex(rows["event_time"])
    _, number = np.unique(np.asarray((times - times.min()) // block), return_inverse=True)
    return np.asarray(number % FOLDS, dtype=np.int64)


def _codes(labels: NDArray[np.object_], classes: tuple[str, ...]) -> NDArray[np.int64]:
    return np.asarray(pd.Categorical(labels, categories=list(classes)).codes, dtype=np.int64)


def _design(rows: pd.DataFrame, use_case: UseCase) -> Floats:
    """A constant, standardised numbers (missing is their mean), indicators of the most frequent categories."""
    parts = [np.ones(len(rows))]
    for name in use_case.numbers:
        values = rows[name].to_numpy(dtype=np.float64, na_value=np.nan)
        present = values[np.isfinite(values)]
        scale = present.std() if len(present) else 0.0
        if scale > 0:
            parts.append(np.clip(np.nan_to_num((values - present.mean()) / scale, nan=0.0), -_WINSOR, _WINSOR))
    for name in use_case.categories:
        texts = rows[name].astype(object).where(rows[name].notna(), "")
        parts += [(texts == value).to_numpy(dtype=float) for value in texts.value_counts().index[:_CATEGORIES]]
    return np.column_stack(parts)
