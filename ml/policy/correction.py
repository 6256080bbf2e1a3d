"""Corrections of a model's answers on rows that it has not seen, cross-validated over folds of time."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

#: Penalty per unit of squared coefficient: a prior of about 0.3 per standard deviation of a feature.
RIDGE = 10.0
_SMALLEST = 1e-3  # probabilities nearer to 0 or 1 enter the offset as this: certainty must be correctable
_STEPS = 25


def correct_probabilities(
    design: Floats, probabilities: Floats, truth: NDArray[np.int64], folds: NDArray[np.int64], *, parts: int
) -> Floats:
    """Corrected answers to each fold, learnt from the others, or from so many that follow it."""
    logs = np.log(np.clip(probabilities, _SMALLEST, 1 - _SMALLEST))
    offset = logs[:, 1:] - logs[:, :1]
    corrected = np.empty_like(probabilities)
    full = np.concatenate([design, offset], axis=1)
    for out, learnt in _turns(folds, parts):
        weights = fit_correction(full[learnt], offset[learnt], truth[learnt])
        corrected[out] = _softmax(full[out] @ weights + offset[out])
    return corrected


def correct_numbers(design: Floats, answers: Floats, truth: Floats, folds: NDArray[np.int64], *, parts: int) -> Floats:
    """The same for numbers: a ridge-penalised linear model of what the answers miss.

    Parameters
    ----------
    answers
        Of shape ``(n_samples, 1)``.
    truth
        Of shape ``(n_samples,)``.
    """
    spread = answers.std()
    slope = (answers - answers.mean()) / spread if spread > 0 else np.zeros_like(answers)
    full = np.concatenate([design, slope], axis=1)
    penalty = np.full(full.shape[1], RIDGE)
    penalty[0] = RIDGE / 100
    corrected = np.empty_like(answers)
    for out, learnt in _turns(folds, parts):
        x, missed = full[learnt], truth[learnt] - answers[learnt, 0]
        weights = np.linalg.solve(x.T @ x + np.diag(penalty), x.T @ missed)
        corrected[out, 0] = answers[out, 0] + full[out] @ weights
    return corrected


def _turns(folds: NDArray[np.int64], parts: int) -> Iterator[tuple[NDArray[np.bool_], NDArray[np.bool_]]]:
    """Rows of each fold, and of so many that follow it in a circle."""
    names = np.unique(folds)
    for i, fold in enumerate(names):
        yield folds == fold, np.isin(folds, np.roll(names, -i - 1)[: min(parts, len(names) - 1)])


def fit_correction(design: Floats, offset: Floats, truth: NDArray[np.int64]) -> Floats:
    """Ridge-penalised multinomial coefficients given offsets, of shape ``(n_columns, n_classes - 1)``.

    Newton's method with steps that are halved until they lead downwards.

    Parameters
    ----------
    design
        Shape ``(n_samples, n_columns)``; the first column is the constant, which is hardly penalised.
    offset
        Log odds against class 0, of shape ``(n_samples, n_classes - 1)``.
    truth
        Class of each row.
    """
    columns, others = design.shape[1], offset.shape[1]
    happened = (truth[:, None] == np.arange(1, others + 1)).astype(float)
    penalty = np.full(columns, RIDGE)
    penalty[0] = RIDGE / 100
    weights = np.zeros((columns, others))
    reached = _objective(weights, design, offset, truth, penalty)
    for _ in range(_STEPS):
        share = _softmax(design @ weights + offset)[:, 1:]
        gradient = design.T @ (share - happened) + penalty[:, None] * weights
        step = np.linalg.solve(_curvature(design, share, penalty), gradient.T.ravel()).reshape(others, columns).T
        # Where the offset is too sure of itself the curve is flat, and a whole step leads far beyond the minimum.
        while (ahead := _objective(weights - step, design, offset, truth, penalty)) > reached + 1e-9 * abs(reached):
            step /= 2
        weights, reached = weights - step, ahead
        if np.abs(step).max() < 1e-8:
            break
    return weights


def _objective(weights: Floats, design: Floats, offset: Floats, truth: NDArray[np.int64], penalty: Floats) -> float:
    """Penalised negative log likelihood."""
    odds = np.concatenate([np.zeros((len(truth), 1)), design @ weights + offset], axis=1)
    highest = odds.max(axis=1)
    total = highest + np.log(np.exp(odds - highest[:, None]).sum(axis=1))
    return float((total - odds[np.arange(len(truth)), truth]).sum() + (penalty[:, None] * weights**2).sum() / 2)


def _curvature(design: Floats, share: Floats, penalty: Floats) -> Floats:
    """Second derivatives, of shape ``(n, n)`` with ``n = n_columns * (n_classes - 1)``, class by class."""
    columns, others = design.shape[1], share.shape[1]
    hessian = np.zeros((others * columns, others * columns))
    for i in range(others):
        for j in range(i + 1):
            curve = share[:, i] * ((1.0 if i == j else 0.0) - share[:, j])
            part = (design * curve[:, None]).T @ design
            hessian[i * columns : (i + 1) * columns, j * columns : (j + 1) * columns] = part
            hessian[j * columns : (j + 1) * columns, i * columns : (i + 1) * columns] = part.T
    hessian[np.diag_indices_from(hessian)] += np.tile(penalty, others)
    return hessian


def _softmax(odds: Floats) -> Floats:
    """Probabilities of all classes from log odds against class 0."""
    full = np.concatenate([np.zeros((len(odds), 1)), odds], axis=1)
    raised: Floats = np.exp(full - full.max(axis=1, keepdims=True))
    shares: Floats = raised / raised.sum(axis=1, keepdims=True)
    return shares
