"""A column of several frames side by side: shapes, missing values, outliers; no small cell is shown."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ml.governance.reports.small_cells import keep_back, spread_evenly
from ml.governance.reports.wording import suppressed
from ml.records.report import Absent, Bars, BarSide, Cell, Shapes, Side

Floats = NDArray[np.float64]
BINS = 24
_VALUES = 12  # most frequent values of a category that are drawn
#: Tukey's outer fences: so many interquartile ranges beyond the quartiles.
FENCE = 3.0
MISSING = "(missing)"


def columns_of(limit: int) -> tuple[str, ...]:
    """Heads of what :func:`describe_side` tells."""
    low, high = (
        (f"{limit}{_ordinal(limit)} lowest", f"{limit}{_ordinal(limit)} highest")
        if limit > 1
        else ("lowest", "highest")
    )
    return ("rows", "missing", "mean", "sd", low, high, "outliers", "outside the declared range")


def describe_side(
    column: pd.Series,
    *,
    number: bool,
    bounds: tuple[float, float] | None,
    fences: tuple[float, float] | None,
    limit: int,
) -> list[Cell]:
    """Cells of :func:`columns_of` for one side; what a kind of column has not, or no row has, is absent.

    The extremes of a column are values of single rows; instead of them stand the ``limit``-th lowest and highest.
    """
    n = len(column)
    if n < limit:
        return [n, *[suppressed(limit) if n else Absent(reason="there are no rows")] * 7]
    missing = _share(int(column.isna().sum()), n, limit)
    if not number:
        return [n, missing, *[Absent(reason="no number")] * 6]
    values = np.sort(numbers(column))
    if len(values) < limit:
        return [n, missing, *[Absent(reason="too few values")] * 6]
    spread = float(values.std(ddof=1)) if len(values) > 1 else Absent(reason="a single value")
    outliers = (
        Absent(reason="the training values have no spread") if fences is None else _outside(values, fences, limit)
    )
    beyond = Absent(reason="no range is declared") if bounds is None else _outside(values, bounds, limit)
    return [n, missing, float(values.mean()), spread, float(values[limit - 1]), float(values[-limit]), outliers, beyond]


def fences_of(column: pd.Series) -> tuple[float, float] | None:
    """Tukey's outer fences of training values; None without a spread.

    References
    ----------
    Tukey (1977), Exploratory Data Analysis, section 2D.
    """
    values = numbers(column)
    if not len(values):
        return None
    low, high = np.quantile(values, [0.25, 0.75])
    reach = FENCE * (high - low)
    return None if reach <= 0 else (float(low - reach), float(high + reach))


def draw_number(sides: Mapping[str, pd.Series], title: str, unit: str, limit: int) -> Shapes:
    """Distributions of a number over each other; bins of fewer rows than ``limit`` are merged with their neighbours.

    A side of fewer rows is left out. Edges are the same for all sides; beyond the outermost permille of all values the
    outer bins hold what is left.
    """
    values = {name: numbers(column) for name, column in sides.items()}
    values = {name: found for name, found in values.items() if len(found) >= limit}
    left_out = ", ".join(name for name in sides if name not in values)
    note = f"Bins of fewer than {limit} rows are merged with their neighbours."
    note += f" Left out, with fewer rows than that: {left_out}." if left_out else ""
    if not values:
        return Shapes(title=title, unit=unit, edges=(), sides=(), note=note)
    edges = _edges(np.concatenate(list(values.values())))
    widths = np.diff(edges).tolist()
    drawn = []
    for name, found in values.items():
        counts = np.histogram(np.clip(found, edges[0], edges[-1]), edges)[0].tolist()
        rows = spread_evenly(counts, widths, limit)
        shares = tuple(float(f"{row / len(found):.5g}") for row in rows)
        drawn.append(Side(name=name, shares=shares, n=len(sides[name])))
    return Shapes(title=title, unit=unit, edges=tuple(edges.tolist()), sides=tuple(drawn), note=note)


def draw_values(sides: Mapping[str, pd.Series], title: str, limit: int) -> Bars:
    """Shares of a category's values side by side, the most frequent ones; counts below ``limit`` are not shown."""
    counts = {name: _counts(column) for name, column in sides.items()}
    total = {
        value: sum(found.get(value, 0) for found in counts.values()) for found in counts.values() for value in found
    }
    shown = sorted((value for value in total if total[value] >= limit), key=lambda value: (-total[value], value))[
        :_VALUES
    ]
    drawn = []
    for name, found in counts.items():
        hidden, n = keep_back(found, limit), sum(found.values())
        shares = [None if value in hidden or not n else round(found.get(value, 0) / n, 6) for value in shown]
        drawn.append(BarSide(name=name, values=tuple(shares), n=n))
    rare = len(total) - len(shown)
    note = f"Values of fewer than {limit} rows are not shown, nor a further one that would give them away."
    note += f" {rare} rarer values are left out." if rare else ""
    return Bars(title=title, unit="share of rows", names=tuple(shown), sides=tuple(drawn), note=note)


def draw_missing(sides: Mapping[str, pd.DataFrame], columns: tuple[str, ...], limit: int) -> Bars:
    """Share of missing values by column, the sides side by side; columns that miss nothing anywhere are left out."""
    gaps = {name: {side: int(frame[name].isna().sum()) for side, frame in sides.items()} for name in columns}
    lacking = tuple(name for name in columns if any(gaps[name].values()))
    drawn = []
    for side, frame in sides.items():
        n = len(frame)
        shares = [_share(gaps[name][side], n, limit) if n >= limit else None for name in lacking]
        drawn.append(BarSide(name=side, values=tuple(s if isinstance(s, float) else None for s in shares), n=n))
    note = (
        f"{len(columns) - len(lacking)} of {len(columns)} columns miss nothing. Fewer than {limit} rows are not shown."
    )
    return Bars(title="Missing values", unit="share of rows", names=lacking, sides=tuple(drawn), note=note)


def numbers(column: pd.Series) -> Floats:
    """Finite values."""
    found = column.to_numpy(dtype=np.float64, na_value=np.nan)
    kept: Floats = found[np.isfinite(found)]
    return kept


def _counts(column: pd.Series) -> dict[str, int]:
    texts = column.astype(object).where(column.notna(), MISSING).astype(str)
    return {str(value): int(count) for value, count in texts.value_counts().items()}


def _edges(values: Floats) -> Floats:
    low, high = np.quantile(values, [0.001, 0.999])
    if high <= low:
        low, high = float(values.min()), float(values.max())
    if high <= low:
        low, high = low - 0.5, high + 0.5
    return np.array([float(f"{edge:.6g}") for edge in np.linspace(low, high, BINS + 1)])


def _share(count: int, n: int, limit: int) -> float | Absent:
    """Share of rows, unless it speaks of few rows: those that have something, or those that have not."""
    if 0 < count < limit or 0 < n - count < limit:
        return suppressed(limit)
    return count / n


def _outside(values: Floats, bounds: tuple[float, float], limit: int) -> Cell:
    return _share(int(((values < bounds[0]) | (values > bounds[1])).sum()), len(values), limit)


def _ordinal(number: int) -> str:
    if number % 100 in (11, 12, 13):
        return "th"
    return {1: "st", 2: "nd", 3: "rd"}.get(number % 10, "th")
