"""Why a model answered as it did: how much each feature of a row moved the answer, in the answer's own unit."""

from __future__ import annotations

from typing import Literal

from ml.records.base import Record

#: ``probability`` of a class, its ``log_odds`` (natural logarithm), or the ``value`` of a regression in its own unit.
Unit = Literal["probability", "log_odds", "value"]


class Contribution(Record):
    """SHAP value of one feature of one row.

    Attributes
    ----------
    value
        What the graph saw; None is missing.
    moved
        By how much the value moved the answer, on the average over all orders in which features become known.
    error
        Standard error of ``moved`` that comes from the background being a sample, ``[0, ∞)``.
    """

    feature: str
    value: float | str | None
    moved: float
    error: float


class Explanation(Record):
    """One answer, taken apart: ``base`` and what the features moved add up to ``prediction``.

    Attributes
    ----------
    answer
        The class whose probability is explained; ``value`` of a regression.
    base
        Mean answer over the background's rows.
    contributions
        The largest first.
    exact
        All sets of features were asked; else orders of features were drawn.
    n_background
        Rows of training data that stand for "not known".
    """

    answer: str
    unit: Unit
    base: float
    prediction: float
    contributions: tuple[Contribution, ...]
    exact: bool
    n_background: int
