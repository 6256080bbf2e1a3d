"""Conditions on one column, of which slices are made when they are searched for."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ml.evaluation.slices import values_of
from ml.use_case import UseCase

Column = NDArray[Any]

#: Where a number is cut: tails and quarters of the rows.
CUTS = (0.1, 0.25, 0.5, 0.75, 0.9)
#: Values of a text column that are looked at, the most frequent ones.
VALUES = 20


@dataclass(frozen=True)
class Condition:
    """What a column must be: above or at most a number, a value, or missing (a value of its own).

    Examples
    --------
    >>> Condition("wind", above=12.5).told, Condition("station", value="EWR").told
    ('wind > 12.5', 'station = EWR')
    """

    column: str
    above: float | None = None
    at_most: float | None = None
    value: str | None = None

    @property
    def told(self) -> str:
        """For people."""
        if self.above is not None:
            return f"{self.column} > {self.above:.4g}"
        if self.at_most is not None:
            return f"{self.column} <= {self.at_most:.4g}"
        return f"{self.column} missing" if self.value is None else f"{self.column} = {self.value}"

    def holds(self, columns: Mapping[str, Column]) -> NDArray[np.bool_]:
        """Rows for which it does, of shape ``(n_rows,)``; a missing number is neither above nor below."""
        values = columns[self.column]
        if self.above is not None:
            found = values > self.above
        elif self.at_most is not None:
            found = values <= self.at_most
        elif self.value is None:
            found = ~np.isfinite(values)
        else:
            found = values == self.value
        return np.asarray(found, dtype=bool)


def columns_of(rows: pd.DataFrame, use_case: UseCase) -> dict[str, Column]:
    """What slices are searched by: features, entities and the calendar parts that ``gate.slices.by`` names.

    Returns
    -------
    dict
        Name to numbers, NaN where missing, or to texts, ``missing`` where they are; of shape ``(n_rows,)`` each.
    """
    found: dict[str, Column] = {}
    for name in (*use_case.features, *use_case.entity_columns, *use_case.gate.slices.by):
        feature = use_case.features.get(name)
        if feature is not None and feature.type == "number":
            found[name] = rows[name].to_numpy(dtype=np.float64, na_value=np.nan)
        else:
            found[name] = values_of(rows, name, use_case)
    return found


def conditions_on(columns: Mapping[str, Column]) -> tuple[Condition, ...]:
    """Every condition on one column that these rows give rise to, in order of the columns."""
    found: list[Condition] = []
    for name, values in columns.items():
        found += _on_texts(name, values) if values.dtype == object else _on_numbers(name, values)
    return tuple(found)


def _on_numbers(name: str, values: Column) -> list[Condition]:
    known = values[np.isfinite(values)]
    cuts = np.unique(np.quantile(known, CUTS, method="inverted_cdf")) if len(known) else np.array([])
    found = [] if len(known) == len(values) else [Condition(name)]
    for cut in cuts.tolist():
        found += [Condition(name, at_most=cut), Condition(name, above=cut)]
    return found


def _on_texts(name: str, values: Column) -> list[Condition]:
    texts, counts = np.unique(values.astype(str), return_counts=True)
    order = sorted(range(len(texts)), key=lambda i: (-int(counts[i]), str(texts[i])))
    return [Condition(name, value=str(texts[i])) for i in order[:VALUES]]
