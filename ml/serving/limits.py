"""Columns of clean rows, told from others by arrays: what is in bounds needs nobody to look at a single value."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ml.serving.rows import allowed_categories, bounds, may_be_missing
from ml.use_case import UseCase

#: Values of a column: of any kind, or numbers of one.
Column = Sequence[Any] | NDArray[Any]

_NUMBERS = frozenset({int, float, type(None)})
_TEXTS = frozenset({str, type(None)})


@dataclass(frozen=True)
class Limits:
    """Values that :func:`ml.serving.rows.read_value` takes without a word.

    Attributes
    ----------
    lowest, highest, nullable
        Shape ``(n_numbers,)``, in the order of the use case's numbers; booleans are from 0 to 1.
    booleans
        Which of them are that.
    texts
        Per category all texts, and whether it may be missing; no texts where each is taken.
    """

    lowest: NDArray[np.float64]
    highest: NDArray[np.float64]
    nullable: NDArray[np.bool_]
    booleans: NDArray[np.bool_]
    texts: tuple[tuple[frozenset[str], bool], ...]

    def take_numbers(self, columns: Sequence[Column], n: int) -> NDArray[np.float64] | None:
        """Numbers of clean rows, shape ``(n_rows, n_numbers)``, NaN and None as NaN; None when a row is not clean."""
        table = np.empty((n, len(columns)))
        for i, column in enumerate(columns):
            kinds = _NUMBERS | {bool} if self.booleans[i] else _NUMBERS
            if not isinstance(column, np.ndarray) and not kinds.issuperset(map(type, column)):
                return None
            try:
                table[:, i] = np.array(column, dtype=np.float64)
            except OverflowError:  # a whole number beyond any float
                return None
        sound = (table >= self.lowest) & (table <= self.highest)
        if self.booleans.any():
            sound &= ~self.booleans | (table == 0) | (table == 1)
        if not sound.all():
            sound |= np.isnan(table) & self.nullable
        return table if sound.all() else None

    def take_texts(self, columns: Sequence[Column], n: int) -> NDArray[np.object_] | None:
        """Texts of clean rows, shape ``(n_rows, n_categories)``, None as ``""``; None when a row is not clean."""
        table = np.empty((n, len(columns)), dtype=object)
        for i, (column, (allowed, nullable)) in enumerate(zip(columns, self.texts, strict=True)):
            if isinstance(column, np.ndarray) or not _TEXTS.issuperset(map(type, column)):
                return None
            found = {text or "" for text in column}
            if ("" in found and not nullable) or (allowed and not allowed.issuperset(found - {""})):
                return None
            table[:, i] = [text or "" for text in column] if "" in found else column
        return table


def make_limits(use_case: UseCase) -> Limits:
    """Limits of a use case."""
    features = [use_case.features[name] for name in use_case.numbers]
    booleans = np.array([feature.type == "boolean" for feature in features], dtype=np.bool_)
    limits = np.array(
        [(0.0, 1.0) if feature.type == "boolean" else bounds(feature, use_case) for feature in features]
    ).reshape(len(features), 2)
    texts = (use_case.features[name] for name in use_case.categories)
    return Limits(
        limits[:, 0],
        limits[:, 1],
        np.array([may_be_missing(feature, use_case) for feature in features], dtype=np.bool_),
        booleans,
        tuple((frozenset(allowed_categories(one, use_case)), may_be_missing(one, use_case)) for one in texts),
    )
