"""What a champion answers, and by which feature, as columns: they drift and are calibrated like any other column."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ml.drift.columns import Kind
from ml.records.profile import CategoryProfile, NumberProfile, Profile, Role
from ml.use_case import UseCase

Floats = NDArray[np.float64]
#: A model: rows to probabilities of shape ``(n_rows, n_classes)``, or to numbers of shape ``(n_rows, 1)``.
Answer = Callable[[pd.DataFrame], Floats]

MOST_PROBABLE = "answer: most probable"


def answer_columns(use_case: UseCase) -> dict[str, tuple[Kind, Role]]:
    """Columns that :func:`with_answers` adds: kind and role of each.

    The probability of each class (of two classes one says all) and the most probable class, or the number of a
    regression; and with ``monitoring.attribution`` the attribution of each feature.
    """
    names = use_case.answers
    told = (use_case.target.positive or names[0],) if len(names) == 2 else names
    role: Role = "value" if use_case.regression else "answer"
    found: dict[str, tuple[Kind, Role]] = {f"answer: {name}": ("number", role) for name in told}
    if not use_case.regression:
        found[MOST_PROBABLE] = ("category", "answer")
    if use_case.monitoring.attribution:
        found |= {f"attribution: {name}": ("number", "attribution") for name in use_case.features}
    return found


def with_answers(frame: pd.DataFrame, answer: Answer, use_case: UseCase, typical: Profile) -> pd.DataFrame:
    """Rows with what a model says of them.

    The attribution of a feature is how far the probabilities move, half the summed absolute change over classes,
    ``[0, 1]``, or how far the number moves, in its unit, when the feature is replaced by its typical value: the model's
    occlusion sensitivity, row by row.

    Parameters
    ----------
    typical
        Profile of the training features: its middle bin or most frequent category is a feature's typical value.

    References
    ----------
    Zeiler and Fergus (2014), Visualizing and understanding convolutional networks, ECCV, section 4.2: occlusion.
    Robnik-Šikonja and Kononenko (2008), Explaining classifications for individual instances, IEEE TKDE 20, eq. 2.
    """
    names, told = use_case.answers, answer(frame)
    columns = answer_columns(use_case)
    added: dict[str, NDArray[np.object_] | Floats] = {
        f"answer: {name}": told[:, i] for i, name in enumerate(names) if f"answer: {name}" in columns
    }
    if MOST_PROBABLE in columns:
        best = np.array(names, dtype=object)[told.argmax(axis=1)] if len(frame) else np.array([], object)
        added[MOST_PROBABLE] = best
    if use_case.monitoring.attribution:
        for name in use_case.features:
            replaced = answer(frame.assign(**{name: typical_value(typical, name)})) if len(frame) else told
            added[f"attribution: {name}"] = np.abs(replaced - told).sum(axis=1) / min(len(names), 2)
    return frame.assign(**added)


def typical_value(profile: Profile, name: str) -> float | str | None:
    """Edge nearest below the median of a number, most frequent value of a category; None when all are missing."""
    column = profile.columns[name]
    if isinstance(column, CategoryProfile):
        return max(sorted(column.counts), key=column.counts.__getitem__, default=None)
    return _middle(column)


def _middle(column: NumberProfile) -> float | None:
    before = np.cumsum(column.counts)
    if not len(column.edges) or not before[-1]:
        return None
    inside = int(np.searchsorted(before, before[-1] / 2))  # bin i begins at edge i - 1
    return column.edges[min(max(inside - 1, 0), len(column.edges) - 1)]
