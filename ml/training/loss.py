"""Losses per row; lower is better.

They live here, left of :mod:`ml.evaluation` and :mod:`ml.policy`, because choosing a candidate needs them as well as
judging one does; :mod:`ml.evaluation.metrics` offers them under the gate's name.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ml.errors import DataError

Floats = NDArray[np.float64]
#: What happened, answers and names of the answers to a loss per row.
Loss = Callable[[Sequence[str] | NDArray[Any], NDArray[Any], Sequence[str]], Floats]

#: A certain and wrong answer costs -log of this, about 34.5, instead of infinity.
SMALLEST_PROBABILITY = 1e-15


def log_loss_rows(labels: Sequence[str] | NDArray[Any], probabilities: NDArray[Any], classes: Sequence[str]) -> Floats:
    """Negative logarithm of the probability of what happened, nats, ``[0, 34.6]``; 0 is certain and right.

    Parameters
    ----------
    labels
        Class names of what happened, of shape ``(n_samples,)``.
    probabilities
        Of shape ``(n_samples, n_classes)``, columns in the order of ``classes``.
    classes
        Names of the classes.

    Returns
    -------
    ndarray of shape ``(n_samples,)``

    Raises
    ------
    DataError
        A label is no class, a probability is not a number, or the shapes do not fit.

    References
    ----------
    Good (1952), Rational decisions, J. R. Stat. Soc. B 14, section 8.

    Examples
    --------
    >>> log_loss_rows(["Rain"], np.array([[0.75, 0.25]]), ["No Rain", "Rain"]).round(3)
    array([1.386])
    """
    hit = _truth(labels, probabilities, classes)
    rows = np.arange(len(hit))
    losses: Floats = -np.log(np.clip(probabilities[rows, hit].astype(np.float64), SMALLEST_PROBABILITY, 1.0))
    return losses + 0.0  # -log(1) is -0.0


def brier_rows(labels: Sequence[str] | NDArray[Any], probabilities: NDArray[Any], classes: Sequence[str]) -> Floats:
    """Squared distance of the probabilities from what happened, summed over classes, ``[0, 2]``.

    Parameters, shapes and errors are those of :func:`log_loss_rows`.

    References
    ----------
    Brier (1950), Verification of forecasts expressed in terms of probability, Mon. Weather Rev. 78, eq. 2.

    Examples
    --------
    >>> brier_rows(["Rain"], np.array([[0.75, 0.25]]), ["No Rain", "Rain"])
    array([1.125])
    """
    hit = _truth(labels, probabilities, classes)
    happened = np.zeros(probabilities.shape)
    happened[np.arange(len(hit)), hit] = 1.0
    squares: Floats = ((probabilities.astype(np.float64) - happened) ** 2).sum(axis=1)
    return squares


def error_rate_rows(
    labels: Sequence[str] | NDArray[Any], probabilities: NDArray[Any], classes: Sequence[str]
) -> Floats:
    """1 where the most probable class is not what happened, else 0; of equally probable classes the first is meant.

    Parameters, shapes and errors are those of :func:`log_loss_rows`.

    Examples
    --------
    >>> error_rate_rows(["Rain", "Rain"], np.array([[0.75, 0.25], [0.4, 0.6]]), ["No Rain", "Rain"])
    array([1., 0.])
    """
    wrong: Floats = (_truth(labels, probabilities, classes) != probabilities.argmax(axis=1)).astype(np.float64)
    return wrong


def squared_error_rows(labels: Any, answers: NDArray[Any], names: Sequence[str] = ("value",)) -> Floats:
    """Squared distance of the answer from the truth, ``[0, inf)``, in the target's unit squared.

    Parameters
    ----------
    labels
        Numbers, of shape ``(n_samples,)``.
    answers
        Of shape ``(n_samples, 1)``.

    Raises
    ------
    DataError
        A truth or an answer is not a finite number, or the shapes do not fit.

    Examples
    --------
    >>> squared_error_rows([1.0, 2.0], np.array([[1.5], [2.0]])).tolist()
    [0.25, 0.0]
    """
    found: Floats = _errors(labels, answers, names) ** 2
    return found


def absolute_error_rows(labels: Any, answers: NDArray[Any], names: Sequence[str] = ("value",)) -> Floats:
    """Distance of the answer from the truth, ``[0, inf)``, in the target's unit; else as the squared error."""
    found: Floats = np.abs(_errors(labels, answers, names))
    return found


#: By the name that a use case file gives in ``gate.metric``.
LOSSES: dict[str, Loss] = {
    "log_loss": log_loss_rows,
    "brier": brier_rows,
    "error_rate": error_rate_rows,
    "squared_error": squared_error_rows,
    "absolute_error": absolute_error_rows,
}


_EXPECTED: dict[str, Callable[[Floats], Floats]] = {
    "log_loss": lambda shares: -(shares * np.log(shares)).sum(axis=1),
    "brier": lambda shares: 1 - (shares**2).sum(axis=1),
    "error_rate": lambda shares: 1 - shares.max(axis=1),
}


def expected_losses(probabilities: Floats, metric: str) -> Floats:
    """What rows cost on average if their probabilities are right; of shape ``(n_samples,)``.

    Parameters
    ----------
    probabilities
        Of shape ``(n_samples, n_classes)``.
    metric
        Of classes: ``log_loss``, ``brier`` or ``error_rate``.

    Examples
    --------
    >>> expected_losses(np.array([[0.75, 0.25], [1.0, 0.0]]), "log_loss").round(3).tolist()
    [0.562, 0.0]
    """
    return _EXPECTED[metric](np.clip(probabilities, SMALLEST_PROBABILITY, 1.0)) + 0.0


def _errors(labels: Any, answers: NDArray[Any], names: Sequence[str]) -> Floats:
    wanted = (len(labels), len(names))
    if answers.shape != wanted:
        raise DataError("answers have another shape", got=str(answers.shape), allowed=str(wanted))
    truth, told = np.asarray(labels, dtype=np.float64), answers[:, 0].astype(np.float64)
    broken = np.flatnonzero(~(np.isfinite(truth) & np.isfinite(told)))
    if len(broken):
        raise DataError("a truth or an answer is not a finite number", where=f"row {broken[0]}")
    errors: Floats = told - truth
    return errors


def _truth(
    labels: Sequence[str] | NDArray[Any], probabilities: NDArray[Any], classes: Sequence[str]
) -> NDArray[np.int64]:
    """Column of what happened, per row."""
    if probabilities.shape != (len(labels), len(classes)):
        wanted = (len(labels), len(classes))
        raise DataError("probabilities have another shape", got=str(probabilities.shape), allowed=str(wanted))
    broken = np.flatnonzero(~np.isfinite(probabilities).all(axis=1))
    if len(broken):
        raise DataError("a probability is not a number", where=f"row {broken[0]}")
    position = {name: i for i, name in enumerate(classes)}
    unknown = [label for label in labels if label not in position]
    if unknown:
        raise DataError("label is no class", got=repr(unknown[0]), allowed=", ".join(classes))
    return np.array([position[label] for label in labels], dtype=np.int64)
