"""Shapley values of a graph's answers: what each feature of a row moved, fairly shared, for any model.

A feature is "not known" when it has the value that it has in a row of the background. The value of a set of features is
the mean answer over the background with the set's values taken from the row (interventional SHAP).

References
----------
Lundberg and Lee (2017), A unified approach to interpreting model predictions, NeurIPS 30, section 4.
Štrumbelj and Kononenko (2014), Explaining prediction models and individual predictions with feature contributions,
Knowledge and Information Systems 41, algorithm 1 (drawn orders).
Mitchell, Cooper, Frank and Holmes (2022), Sampling permutations for Shapley value estimation, JMLR 23, section 3
(an order and its reverse are drawn together).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ml.errors import InputError
from ml.records.explanation import Contribution, Explanation, Unit

Floats = NDArray[np.float64]
#: What a graph takes: ``numbers`` (float32, NaN is missing) and ``categories`` (text, ``""`` is missing).
Inputs = dict[str, NDArray[Any]]
#: Inputs of n rows to answers of shape ``(n_rows, n_answers)``.
Ask = Callable[[Inputs], NDArray[Any]]

#: With more features than these, orders are drawn: 2 to the power of 10 sets, each asked with the whole background.
MOST_EXACT = 10
#: Pairs of an order and its reverse that are drawn for each row of the background.
PAIRS = 4
#: Rows that the graph is asked about at once: so many fit into a processor's cache, and memory stays flat.
_AT_ONCE = 16_384
#: Probabilities are float32: nearer to 0 or 1 than this their log-odds are noise.
_SMALLEST = 2.0**-24


@dataclass(frozen=True)
class Shapley:
    """SHAP values of rows.

    Attributes
    ----------
    features, answers
        Names; features are the columns of ``numbers`` and then those of ``categories``.
    base
        Mean answers over the background, shape ``(n_answers,)``.
    predictions
        Shape ``(n_rows, n_answers)``; ``base + values.sum(axis=1)``, but for rounding.
    values, errors
        Shape ``(n_rows, n_features, n_answers)``, in ``unit``; errors are standard errors over the background's rows.
    rows
        What was explained.
    exact
        All sets of features were asked; else orders of features were drawn.
    """

    features: tuple[str, ...]
    answers: tuple[str, ...]
    unit: Unit
    base: Floats
    predictions: Floats
    values: Floats
    errors: Floats
    rows: Inputs
    exact: bool
    n_background: int

    def explanation(self, row: int, answer: str) -> Explanation:
        """One answer to one row, as a record."""
        place = self.answers.index(answer)
        moved, errors = self.values[row, :, place], self.errors[row, :, place]
        seen = _cells(self.rows, row)
        order = sorted(range(len(self.features)), key=lambda i: (-abs(moved[i]), i))
        return Explanation(
            answer=answer,
            unit=self.unit,
            base=float(self.base[place]),
            prediction=float(self.predictions[row, place]),
            contributions=tuple(
                Contribution(feature=self.features[i], value=seen[i], moved=float(moved[i]), error=float(errors[i]))
                for i in order
            ),
            exact=self.exact,
            n_background=self.n_background,
        )

    def importance(self, answer: str) -> dict[str, float]:
        """Mean absolute SHAP value of each feature over the rows, ``[0, ∞)``, in ``unit``; NaN without rows."""
        found = np.abs(self.values[:, :, self.answers.index(answer)])
        means = found.mean(axis=0) if len(found) else np.full(len(self.features), np.nan)
        return dict(zip(self.features, means.tolist(), strict=True))


def shapley_values(
    ask: Ask,
    rows: Inputs,
    background: Inputs,
    *,
    features: tuple[str, ...],
    answers: tuple[str, ...],
    unit: Unit,
    seed: int = 0,
    most_exact: int = MOST_EXACT,
) -> Shapley:
    """SHAP values of every answer to every row.

    The same rows, background and seed give the same values; a row alone is explained as among others, but for what the
    graph itself computes otherwise in larger batches.

    Parameters
    ----------
    ask
        The graph that serves; answers are probabilities unless ``unit`` is ``value``.
    features
        Names of the columns of ``numbers`` and then of ``categories``.
    seed
        Draws the orders where there are more than ``most_exact`` features.

    Raises
    ------
    InputError
        There are no features, or no background.
    """
    told, n_rows, n_background = _in_unit(ask, unit), _length(rows), _length(background)
    if not features or not n_background:
        raise InputError("nothing to explain by", where="features, background", got=f"{len(features)}, {n_background}")
    exact = len(features) <= most_exact
    base = told(background).mean(axis=0)
    values = np.zeros((n_rows, len(features), len(answers)))
    errors, predictions = np.zeros_like(values), np.zeros((n_rows, len(answers)))
    for row in range(n_rows):
        one = {name: array[row : row + 1] for name, array in rows.items()}
        moved = _all_sets(told, one, background) if exact else _drawn_orders(told, one, background, seed)
        values[row], predictions[row] = moved.mean(axis=0), told(one)[0]
        errors[row] = moved.std(axis=0, ddof=1) / math.sqrt(n_background) if n_background > 1 else np.nan
    return Shapley(features, answers, unit, base, predictions, values, errors, rows, exact, n_background)


def _all_sets(told: Ask, one: Inputs, background: Inputs) -> Floats:
    """Shapley values against each row of the background, shape ``(n_background, n_features, n_answers)``."""
    width = sum(array.shape[1] for array in one.values())
    sets = np.arange(2**width)
    known = (sets[:, None] >> np.arange(width)) & 1 == 1
    worth = _worth(told, one, background, known)  # (n_sets, n_background, n_answers)
    sizes = known.sum(axis=1)
    shares = np.array([1 / (width * math.comb(width - 1, size)) for size in range(width)])
    found = np.empty((worth.shape[1], width, worth.shape[2]))
    for feature in range(width):
        without = sets[~known[:, feature]]
        gained = worth[without | (1 << feature)] - worth[without]
        found[:, feature] = np.tensordot(shares[sizes[without]], gained, axes=1)
    return found


def _drawn_orders(told: Ask, one: Inputs, background: Inputs, seed: int) -> Floats:
    """The same, estimated without bias: each row of the background is turned into the row, in drawn orders."""
    width = sum(array.shape[1] for array in one.values())
    rng = np.random.default_rng(seed)
    found = []
    for place in range(_length(background)):
        other = {name: array[place : place + 1] for name, array in background.items()}
        half = [rng.permutation(width) for _ in range(PAIRS)]
        orders = np.array(half + [order[::-1] for order in half])
        known = np.zeros((len(orders), width + 1, width), dtype=bool)
        for step in range(width):
            known[:, step + 1] = known[:, step]
            known[np.arange(len(orders)), step + 1, orders[:, step]] = True
        worth = _worth(told, one, other, known.reshape(-1, width))[:, 0].reshape(len(orders), width + 1, -1)
        gained = np.empty((len(orders), width, worth.shape[2]))
        np.put_along_axis(gained, orders[:, :, None], np.diff(worth, axis=1), axis=1)
        found.append(gained.mean(axis=0))
    return np.array(found)


def _worth(told: Ask, one: Inputs, background: Inputs, known: NDArray[np.bool_]) -> Floats:
    """Answers with each set of features known, to each row of the background."""
    n = _length(background)
    step = max(1, _AT_ONCE // n)
    found = []
    for begin in range(0, len(known), step):
        sets = known[begin : begin + step]
        found.append(told(_mixed(one, background, sets)).reshape(len(sets), n, -1))
    return np.concatenate(found)


def _mixed(one: Inputs, background: Inputs, sets: NDArray[np.bool_]) -> Inputs:
    mixed, begin = {}, 0
    for name, array in background.items():
        own = sets[:, None, begin : begin + array.shape[1]]
        values = np.where(own, one[name][None], array[None])
        mixed[name] = values.reshape(-1, array.shape[1])
        begin += array.shape[1]
    return mixed


def _in_unit(ask: Ask, unit: Unit) -> Ask:
    def told(inputs: Inputs) -> Floats:
        found = np.asarray(ask(inputs), dtype=np.float64)
        if unit != "log_odds":
            return found
        inside = np.clip(found, _SMALLEST, 1 - _SMALLEST)
        return np.log(inside) - np.log1p(-inside)

    return told


def _length(inputs: Inputs) -> int:
    return len(next(iter(inputs.values()), ()))


def _cells(inputs: Inputs, row: int) -> list[float | str | None]:
    """Values of a row in order of the features; None is missing."""
    cells = [cell for array in inputs.values() for cell in array[row].tolist()]
    return [None if cell == "" or cell != cell else cell for cell in cells]  # noqa: PLR0124 - true of NaN only
