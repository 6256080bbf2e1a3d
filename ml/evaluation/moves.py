"""Other values that a feature could have had, and how far they are."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ml.use_case import UseCase

Cell = float | str

#: Another value of a category or a boolean: as far as from the lowest to the highest number (Gower 1971).
OTHER_VALUE = 1.0
_VALUES = 10  # of a category, the most frequent ones


@dataclass(frozen=True)
class Move:
    """A feature's other value, and how far that is: of a number the share of observed rows that lie between."""

    feature: str
    value: Cell
    distance: float


class Scale(Protocol):
    """Observed values of one feature."""

    def moves(self, value: Cell, steps: Sequence[float]) -> list[Move]:
        """Other observed values."""


@dataclass(frozen=True)
class Numbers:
    """Sorted observed numbers.

    Examples
    --------
    >>> scale = Numbers("wind", np.arange(100.0))
    >>> [(move.value, round(move.distance, 2)) for move in scale.moves(50.0, [0.1])]
    [(60.0, 0.1), (40.0, 0.1)]
    """

    name: str
    observed: NDArray[np.float64]

    def moves(self, value: Cell, steps: Sequence[float]) -> list[Move]:
        """Up and down past the given shares of the observed rows, as far as there are any."""
        if not len(self.observed):
            return []
        here, last = self._rank(float(value)), len(self.observed) - 1
        found: dict[float, float] = {}
        for step in (sign * step for step in steps for sign in (1.0, -1.0)):
            place = int(np.clip(round((here + step) * last), 0, last))
            there = float(self.observed[place])
            if there != value:
                found.setdefault(there, abs(self._rank(there) - here))
        return [Move(self.name, there, distance) for there, distance in found.items()]

    def _rank(self, value: float) -> float:
        """Share of observed rows below, those that are equal half."""
        below, up_to = np.searchsorted(self.observed, value, "left"), np.searchsorted(self.observed, value, "right")
        return float(below + up_to) / (2 * len(self.observed))


@dataclass(frozen=True)
class Others:
    """Observed values without an order."""

    name: str
    observed: tuple[Cell, ...]

    def moves(self, value: Cell, steps: Sequence[float]) -> list[Move]:
        """Every other one, whatever the steps."""
        del steps
        return [Move(self.name, other, OTHER_VALUE) for other in self.observed if other != value]


def scale_of(name: str, observed: pd.DataFrame, use_case: UseCase) -> Scale:
    """Numbers of a number feature; both values of a boolean; the frequent ones of a category."""
    kind = use_case.features[name].type
    if kind == "number":
        values = observed[name].to_numpy(dtype=np.float64, na_value=np.nan)
        return Numbers(name, np.sort(values[np.isfinite(values)]))
    if kind == "boolean":
        return Others(name, tuple(sorted(set(observed[name].dropna().astype(float).tolist()))))
    counts = observed[name].dropna().astype(str).value_counts()
    texts = sorted(counts.index, key=lambda text: (-int(counts[text]), text))
    return Others(name, tuple(texts[:_VALUES]))
