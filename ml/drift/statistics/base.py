"""What a drift statistic is: one distance between two columns, declared as data."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from ml.records.profile import ColumnProfile


@dataclass(frozen=True)
class Statistic:
    """A distance of a live column from its reference.

    Attributes
    ----------
    name
        What a use case file calls it.
    range
        Lowest and highest possible value; 0 is identical.
    direction
        Which end means more drift.
    reference
        Where it is defined.
    distance
        Of the reference column and the live column; None when one of them has no rows.
        Raises DataError when they were counted on different bins.
    """

    name: str
    range: tuple[float, float]
    direction: Literal["higher_is_further"]
    reference: str
    distance: Callable[[ColumnProfile, ColumnProfile], float | None]
