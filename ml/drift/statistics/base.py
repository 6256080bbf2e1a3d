"""What a drift statistic is: one distance between two columns, declared as data."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from ml.drift.columns import Kind
from ml.drift.profile import counts_of, kind_of, same_bins
from ml.errors import DataError
from ml.records.profile import ColumnProfile, NumberProfile

Floats = NDArray[np.float64]

#: Half a row per bin keeps an empty bin from making a logarithm infinite (Jeffreys' prior of a multinomial).
SMOOTHING = 0.5
#: Where a statistic wants few bins, the fine ones are joined to about this many of equal reference share.
COARSE_BINS = 10


@dataclass(frozen=True, eq=False)
class Bins:
    """Where the counts of a column lie; the last count is missing, and before it a category has the rest.

    Attributes
    ----------
    edges
        Of a number, ascending; empty for a category.
    scale
        Standard deviation of the reference's numbers, 0 where there is none.
    coarse
        First fine bin of each joined bin, for :func:`numpy.add.reduceat`; missing stays a bin of its own.
    """

    kind: Kind
    edges: Floats
    scale: float
    coarse: NDArray[np.int64]


@dataclass(frozen=True)
class Statistic:
    """A distance of a live column from its reference.

    Attributes
    ----------
    name
        What a use case file calls it.
    title
        What a report calls it.
    kinds
        Columns that it is defined for.
    range
        Lowest and highest possible value; 0 is identical.
    direction
        Which end means more drift.
    minimum_rows
        Fewer rows on either side leave it undefined.
    reference
        Where it is defined.
    distance
        Of reference counts and live counts, arrays of shape ``(..., n_bins)`` that broadcast, on the given bins;
        NaN where it is undefined. Gives an array of shape ``(...)``.
    """

    name: str
    title: str
    kinds: frozenset[Kind]
    range: tuple[float, float]
    direction: Literal["higher_is_further"]
    minimum_rows: int
    reference: str
    distance: Callable[[Floats, Floats, Bins], Floats]

    def unbounded(self, values: Floats, offset: float) -> Floats:
        """Values on the whole line, where equal steps are equal news: log odds of a share, else the logarithm.

        Parameters
        ----------
        offset
            Added to the value, and to one minus a share, so that 0 and 1 stay finite.
        """
        with np.errstate(invalid="ignore", divide="ignore"):
            return np.log(values + offset) - (np.log(1 - values + offset) if self.range[1] == 1 else 0.0)

    def bounded(self, on_the_line: float, offset: float) -> float:
        """The value that :meth:`unbounded` has put there, not below 0."""
        raised = math.exp(min(on_the_line, 700.0))
        value = (raised * (1 + offset) - offset) / (1 + raised) if self.range[1] == 1 else raised - offset
        return max(value, 0.0)

    def between(self, reference: ColumnProfile, live: ColumnProfile) -> float | None:
        """Distance of two columns; None where undefined.

        Raises
        ------
        DataError
            They were counted on different bins.
        """
        if not same_bins(reference, live):
            raise DataError("columns have different bins", allowed="profiles made on the same edges")
        first, second = counts_of(reference), counts_of(live)
        if self.kinds.isdisjoint({kind_of(reference)}) or min(first.sum(), second.sum()) < self.minimum_rows:
            return None
        value = float(self.distance(first, second, bins_of(reference)))
        return value if math.isfinite(value) else None


def bins_of(column: ColumnProfile) -> Bins:
    """Bins of a reference column."""
    counts = counts_of(column)
    if not isinstance(column, NumberProfile):
        return Bins("category", np.empty(0), 0.0, np.arange(len(counts)))
    present = sum(column.counts)
    scale = math.sqrt(column.m2 / present) if present else 0.0
    return Bins("number", np.array(column.edges), scale, _coarse(counts))


def shares(counts: Floats) -> Floats:
    """Share of each bin; NaN without rows."""
    with np.errstate(invalid="ignore"):
        return counts / counts.sum(axis=-1, keepdims=True)


def smoothed_shares(counts: Floats) -> Floats:
    """Share of each bin with half a row more in each, in ``(0, 1)``.

    Examples
    --------
    >>> smoothed_shares(np.array([1.0, 0.0, 2.0])).tolist()
    [0.3333333333333333, 0.1111111111111111, 0.5555555555555556]
    """
    total = counts.sum(axis=-1, keepdims=True)
    return (counts + SMOOTHING) / (total + SMOOTHING * counts.shape[-1])


def joined(counts: Floats, bins: Bins) -> Floats:
    """Counts of the joined bins."""
    return counts if bins.kind == "category" else np.add.reduceat(counts, bins.coarse, axis=-1)


def cumulative(counts: Floats) -> Floats:
    """Distribution function at each edge of a number, of shape ``(..., n_edges)``; NaN without present values."""
    present = counts[..., :-1]
    with np.errstate(invalid="ignore"):
        return np.cumsum(present, axis=-1)[..., :-1] / present.sum(axis=-1, keepdims=True)


def _coarse(counts: Floats) -> NDArray[np.int64]:
    """Starts of about :data:`COARSE_BINS` runs of equal share; the outer bins stay with their neighbours."""
    present = counts[:-1]
    total = present.sum()
    if len(present) < 2 or total == 0:
        return np.array([*range(len(present)), len(present)])
    before = np.concatenate([[0.0], np.cumsum(present)[:-1]]) / total
    group = np.minimum((before * COARSE_BINS + 1e-9).astype(int), COARSE_BINS - 1)
    starts = np.flatnonzero(np.diff(group, prepend=-1))
    return np.append(starts, len(present))
