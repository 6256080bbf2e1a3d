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
#: A model: rows to probabilities of shape ``(n_rows, n_classes)``.
Answer = Callable[[pd.DataFrame], Floats]

MOST_PROBABLE = "answer: most probable"


def answer_columns(use_case: UseCase) -> dict[str, tuple[Kind, Role]]:
    """Columns that :func:`with_answers` adds: kind and role of each.

    The probability of each class (of two classes one says all), the most probable class, and with
    ``monitoring.attribution`` the attribution of each feature.
    """
    classes = use_case.target.class_names
    told = (use_case.target.positive or classes[0],) if len(classes) == 2 else classes
    found: dict[str, tuple[Kind, Role]] = {f"answer: {name}": ("number", "answer") for name in told}
    found[MOST_PROBABLE] = ("category", "answer")
    if use_case.monitoring.attribution:
        found |= {f"attribution: {name}": ("number", "attribution") for name in use_case.features}
    return found


def with_answers(frame: pd.DataFrame, answer: Answer, use_case: UseCase, typical: Profile) -> pd.DataFrame:
    """Rows with what a model says of them.

    The attribution of a feature is how far the probabilities move, half the summed absolute change over classes,
    ``[0, 1]``, when the feature is replaced by its typical value: the model's occlusion sensitivity, row by row.

    Parameters
    ----------
    typical
        Profile of the training features: its middle bin or most frequent category is a feature's typical value.

    References
    ----------
    Zeiler and Fergus (2014), Visualizing and understanding convolutional networks, ECCV, section 4.2: occlusion.
    Robnik-Šikonja and Kononenko (2008), Explaining classifications for individual instances, IEEE TKDE 20, eq. 2.
    """
    classes, told = use_case.target.class_names, answer(frame)
    columns = answer_columns(use_case)
    added: dict[str, NDArray[np.object_] | Floats] = {
        f"answer: {name}": told[:, i] for i, name in enumerate(classes) if f"answer: {name}" in columns
    }
    added[MOST_PROBABLE] = np.array(classes, dtype=object)[told.argmax(axis=1)] if len(frame) else np.array([], object)
    if use_case.monitoring.attribution:
        for name in use_case.features:
            replaced = answer(frame.assign(**{name: typical_value(typical, name)})) if len(frame) else told
            added[f"attribution: {name}"] = np.abs(replaced - told).sum(axis=1) / 2
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
