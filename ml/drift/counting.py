"""Counting values into bins: the one loop of a profile, compiled where there are many rows."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Counts = NDArray[np.int64]

#: From here on the compiled loop pays for being loaded (0.3 to 0.5 s); below it NumPy is faster in the end.
COMPILE_FROM_ROWS = 100_000
_CELLS = 4096


@dataclass(frozen=True)
class Counted:
    """Numbers of some rows, counted.

    Attributes
    ----------
    counts
        Of shape ``(n_blocks, n_bins + 1)``; the last column is missing: no value, or not a finite one.
    mean, m2
        Mean and sum of squared deviations of the present values, 0 without any; m2 stops at the largest float.
    minimum, maximum
        None without present values.
    """

    counts: Counts
    mean: float
    m2: float
    minimum: float | None
    maximum: float | None


def count_numbers(values: Floats, edges: Floats, blocks: NDArray[np.int32] | None, n_blocks: int) -> Counted:
    """Numbers counted by block and bin, with their moments, in one pass.

    Parameters
    ----------
    values
        Of shape ``(n_samples,)``; NaN and infinite count as missing.
    edges
        Ascending; bin i holds ``edges[i-1] <= x < edges[i]``.
    blocks
        Block of each row, ``0 .. n_blocks - 1``; None puts all rows into block 0.
    """
    if len(values) < COMPILE_FROM_ROWS:
        return _count_with_numpy(values, edges, blocks, n_blocks)
    where = np.zeros(1, dtype=np.int32) if blocks is None else blocks
    counts = np.zeros((n_blocks, len(edges) + 2), dtype=np.int64)
    table, lowest, per_unit = _lookup(edges)
    shift = float(edges[len(edges) // 2]) if len(edges) else 0.0
    loop = _compiled_loop()
    total, squares, low, high = loop(values, edges, table, lowest, per_unit, where, blocks is not None, shift, counts)
    present = len(values) - int(counts[:, -1].sum())
    if not (np.isfinite(total) and np.isfinite(squares)):  # sums of the largest floats: slower, but they hold
        return _count_with_numpy(values, edges, blocks, n_blocks)
    if not present:
        return Counted(counts, 0.0, 0.0, None, None)
    off = total / present
    mean = min(max(shift + off, low), high)
    return Counted(counts, mean, max(squares - total * off, 0.0), low, high)


def _count_with_numpy(values: Floats, edges: Floats, blocks: NDArray[np.int32] | None, n_blocks: int) -> Counted:
    width = len(edges) + 2
    finite = np.isfinite(values)
    codes = np.where(finite, np.searchsorted(edges, values, side="right"), width - 1)
    if blocks is not None:
        codes = codes + blocks.astype(np.int64) * width
    counts = np.bincount(codes, minlength=n_blocks * width).reshape(n_blocks, width)
    present = values[finite]
    if not len(present):
        return Counted(counts, 0.0, 0.0, None, None)
    with np.errstate(over="ignore"):  # between the largest floats of both signs
        low, high = float(present.min()), float(present.max())
        mean = float(np.clip((present / len(present)).sum(), low, high))
        m2 = min(float(((present - mean) ** 2).sum()), sys.float_info.max)
    return Counted(counts, mean, m2, low, high)


def _lookup(edges: Floats) -> tuple[NDArray[np.int64], float, float]:
    """For each of equal cells between the outer edges, the bin where the search for a value in it begins."""
    if len(edges) < 2:
        return np.zeros(1, dtype=np.int64), 0.0, 0.0
    with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
        per_unit = _CELLS / (edges[-1] - edges[0])
    if not np.isfinite(per_unit) or per_unit == 0:
        return np.zeros(1, dtype=np.int64), 0.0, 0.0
    with np.errstate(over="ignore"):
        # One cell back: rounding may put a value into the cell after its own.
        starts = edges[0] + (np.arange(_CELLS + 1) - 1) / per_unit
    return np.searchsorted(edges, starts, side="right").astype(np.int64), float(edges[0]), float(per_unit)


@lru_cache(maxsize=1)
def _compiled_loop() -> Any:
    from numba import njit

    def loop(  # type: ignore[no-untyped-def]  # noqa: PLR0913, PLR0917 - compiled: plain arrays and numbers
        values, edges, table, lowest, per_unit, blocks, blocked, shift, counts
    ):
        n_edges, cells = edges.size, table.size - 1
        total, squares, low, high = 0.0, 0.0, np.inf, -np.inf
        block = 0
        for i in range(values.size):
            if blocked:
                block = blocks[i]
            value = values[i]
            if not np.isfinite(value):
                counts[block, n_edges + 1] += 1
                continue
            off = value - shift
            total += off
            squares += off * off
            low, high = min(low, value), max(high, value)
            cell = (value - lowest) * per_unit
            at = table[min(max(int(cell), 0), cells)] if -1.0 < cell < cells + 1.0 else (0 if cell < 0 else n_edges)
            while at > 0 and value < edges[at - 1]:
                at -= 1
            while at < n_edges and edges[at] <= value:
                at += 1
            counts[block, at] += 1
        return total, squares, low, high

    return njit(cache=True, nogil=True)(loop)
