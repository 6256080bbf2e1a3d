"""Two data versions beside each other: rows, columns, distributions."""

from __future__ import annotations

import numpy as np
import pandas as pd

from ml.records.base import Record

#: Columns that name a row and are compared by themselves.
_KEYS = ("id", "event_time")


class ColumnChange(Record):
    """How the distribution of a column differs; 0 is alike, 1 has nothing in common.

    Attributes
    ----------
    distance
        Kolmogorov and Smirnov's D of numbers and times, total variation of categories, over present values; None
        where one side has none.
    before, after
        Mean of numbers, most frequent value of categories.
    missing_before, missing_after
        Share, ``[0, 1]``.
    """

    name: str
    distance: float | None
    before: float | str | None
    after: float | str | None
    missing_before: float
    missing_after: float


class DataDiff(Record):
    """What is different from one data version to another.

    Attributes
    ----------
    changed
        Rows of one id that differ in a column that both have.
    retyped
        Columns that hold something else, as ``name: before, after``.
    columns
        Columns that both have, furthest first.
    """

    before: int
    after: int
    rows_before: int
    rows_after: int
    added: int
    removed: int
    changed: int
    columns_added: tuple[str, ...]
    columns_removed: tuple[str, ...]
    retyped: tuple[str, ...]
    columns: tuple[ColumnChange, ...]


def diff_data(a: pd.DataFrame, b: pd.DataFrame, *, before: int, after: int) -> DataDiff:
    """Compare two versions of training data; rows are known by their ``id``."""
    one, other = a.set_index("id"), b.set_index("id")
    shared = one.index.intersection(other.index)
    both = [name for name in one.columns if name in other.columns]
    return DataDiff(
        before=before,
        after=after,
        rows_before=len(a),
        rows_after=len(b),
        added=len(other.index.difference(one.index)),
        removed=len(one.index.difference(other.index)),
        changed=_changed(one.loc[shared, both], other.loc[shared, both]),
        columns_added=tuple(name for name in b.columns if name not in a.columns),
        columns_removed=tuple(name for name in a.columns if name not in b.columns),
        retyped=tuple(f"{n}: {one[n].dtype}, {other[n].dtype}" for n in both if one[n].dtype != other[n].dtype),
        columns=tuple(
            sorted(
                (_compare(name, one[name], other[name]) for name in both if name not in _KEYS),
                key=lambda change: -(change.distance or 0.0),
            )
        ),
    )


def _changed(one: pd.DataFrame, other: pd.DataFrame) -> int:
    """Rows with a difference; missing is the same as missing."""
    differs = np.zeros(len(one), dtype=bool)
    for name in one.columns:
        left, right = one[name].astype(object), other[name].astype(object)
        differs |= ((left != right) & ~(left.isna() & right.isna())).to_numpy(dtype=bool)
    return int(differs.sum())


def _compare(name: str, one: pd.Series, other: pd.Series) -> ColumnChange:
    left, right = one.dropna(), other.dropna()
    numbers = all(pd.api.types.is_numeric_dtype(side) and side.dtype != bool for side in (one, other))
    undefined = left.empty or right.empty
    measure = _ks if numbers else _total_variation
    return ColumnChange(
        name=name,
        distance=None if undefined else measure(left, right),
        before=_typical(left, numbers=numbers),
        after=_typical(right, numbers=numbers),
        missing_before=float(one.isna().mean()) if len(one) else 0.0,
        missing_after=float(other.isna().mean()) if len(other) else 0.0,
    )


def _ks(one: pd.Series, other: pd.Series) -> float:
    """Largest difference of the two distribution functions; SciPy's comes with a p-value that one row has not."""
    a, b = np.sort(one.to_numpy(dtype=float)), np.sort(other.to_numpy(dtype=float))
    points = np.concatenate((a, b))
    shares = (np.searchsorted(side, points, side="right") / len(side) for side in (a, b))
    return float(np.abs(np.subtract(*shares)).max())


def _total_variation(one: pd.Series, other: pd.Series) -> float:
    """Half the sum of the differences of shares."""
    shares = pd.concat([s.astype(str).value_counts(normalize=True) for s in (one, other)], axis=1).fillna(0.0)
    return float((shares.iloc[:, 0] - shares.iloc[:, 1]).abs().sum() / 2)


def _typical(values: pd.Series, *, numbers: bool) -> float | str | None:
    if values.empty:
        return None
    return float(values.mean()) if numbers else str(values.astype(str).mode().iloc[0])
