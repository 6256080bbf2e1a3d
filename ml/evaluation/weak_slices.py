"""Where a model fails: slices found by search on one half of the rows and confirmed on the other."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ml.evaluation.conditions import Column, Condition
from ml.evaluation.rules.slices import adjust_holm
from ml.evaluation.slice_search import LARGEST, Found, search_slices
from ml.records.measure import Estimate
from ml.training.evenly import spread_evenly
from ml.training.serial_interval import SerialMean, mean_in_time

Floats = NDArray[np.float64]
Mask = NDArray[np.bool_]

#: More rows are thinned evenly, each half by itself.
MAXIMUM_ROWS = 50_000
_INTERVAL_LEVEL = 0.05  # of each end
_LONGEST_RUN = 7  # blocks: whole weeks of days
_FEWEST_RUNS = 4
_GAP_FROM = 3  # blocks in a run: then one may be left out so that neighbours do not resemble each other


@dataclass(frozen=True)
class WeakSlice:
    """A slice that looked worse on the first half, as it is on the second: its rows that no slice before it holds.

    Attributes
    ----------
    conditions
        All of which hold for its rows.
    found
        By how much its mean was higher than that of the other rows where it was found: too high, being selected.
    n_found, n
        Its rows in the first and in the second half.
    mean
        Of its rows in the second half.
    excess
        By how much that is higher than the mean of the other rows; each end is wrong at 5 % for this slice alone.
    p, adjusted
        One-sided, of being no worse than the other rows, or not above the floor; corrected over all slices that were
        tried on the second half.
    confirmed
        ``adjusted`` is below the level.
    """

    conditions: tuple[Condition, ...]
    found: float
    n_found: int
    n: int
    mean: Estimate
    excess: Estimate
    p: float | None
    adjusted: float | None
    confirmed: bool

    @property
    def told(self) -> str:
        """For people."""
        return " and ".join(condition.told for condition in self.conditions)

    @property
    def cost(self) -> float:
        """What the second half's rows lie above the others in sum."""
        return self.n * (self.excess.value or 0.0)


@dataclass(frozen=True)
class WeakSlices:
    """What a search came to.

    Attributes
    ----------
    tried
        Slices that were tried on the second half, the confirmed ones first, each in the order in which they were found.
    searched
        Conjunctions that were looked at on the first half.
    n_found, n
        Rows of the two halves.
    undecidable
        Why nothing can be said; empty where something can.
    """

    tried: tuple[WeakSlice, ...]
    searched: int
    n_found: int
    n: int
    level: float
    undecidable: str = ""

    @property
    def confirmed(self) -> tuple[WeakSlice, ...]:
        """Those that are worse beyond doubt."""
        return tuple(one for one in self.tried if one.confirmed)


def find_weak_slices(
    columns: Mapping[str, Column],
    cost: Floats,
    event_time: Any,
    *,
    block: timedelta,
    minimum_rows: int,
    level: float,
    depth: int = 2,
    floor: float | None = None,
) -> WeakSlices:
    """Conjunctions of conditions under which rows cost more than the others, with the multiplicity paid for.

    Runs of blocks of event time belong to the first and the second half by turns. A beam search on the first half goes
    from conditions on one column to conjunctions, keeping those that lie highest above the other rows in standard
    errors; a conjunction must beat the slices that it is a part of by one standard error. The few best ones, each among
    the rows that no better one holds, are then tested on the second half, which the search has not seen, by the mean
    that respects time.

    Parameters
    ----------
    columns
        Numbers and texts that slices are made of, of shape ``(n_samples,)`` each.
    cost
        Per row, lower is better: a loss, or by how much the loss exceeds what the model expected.
    event_time
        Moment of each row, UTC.
    block
        Rows of one block may resemble each other.
    minimum_rows
        A slice has no fewer in either half, and no more than half of the rows.
    level
        Were no slice worse, one is confirmed in at most this share of searches (Holm's correction).
    depth
        Conditions in a conjunction, at most.
    floor
        A slice's own mean must lie above it, too, beyond doubt: 0 for costs that are differences.

    Returns
    -------
    WeakSlices
        Undecidable with fewer rows than ``4 * minimum_rows``, or in fewer than four blocks.

    References
    ----------
    Chung et al. (2019), Slice Finder: automated data slicing for model validation, ICDE: the lattice search; Sagadeeva
    and Boehm (2021), SliceLine: fast, linear-algebra-based slice finding for ML model debugging, SIGMOD: the search as
    products of matrices. Cox (1975), A note on data-splitting for the evaluation of significance levels, Biometrika 62.
    """
    moments = pd.DatetimeIndex(event_time)
    first, second = _halves(moments, block)
    if len(cost) < 4 * minimum_rows or not (len(first) and len(second)):
        told = f"{len(cost)} rows in too few blocks of time or too few: {4 * minimum_rows} rows in 4 blocks are needed"
        return WeakSlices((), 0, len(first), len(second), level, told)
    lowest = -np.inf if floor is None else floor
    here = {name: values[first] for name, values in columns.items()}
    found, searched = search_slices(here, cost[first], minimum_rows=minimum_rows, depth=depth, floor=lowest)
    there = {name: values[second] for name, values in columns.items()}
    half = _Half(cost[second], moments[second], block, lowest)
    tried = _confirm(found, there, half, minimum_rows, level)
    return WeakSlices(tried, searched, len(first), len(second), level)


def _halves(moments: pd.DatetimeIndex, block: timedelta) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Rows of runs of blocks, by turns, the second half's without the first block of a run; both empty with few."""
    if not len(moments):
        return np.zeros(0, dtype=np.int64), np.zeros(0, dtype=np.int64)
    number = np.asarray((moments - moments.min()) // block)
    length = min(max((int(number.max()) + 1) // _FEWEST_RUNS, 1), _LONGEST_RUN)
    run = number // length
    if run.max() + 1 < _FEWEST_RUNS:
        return np.zeros(0, dtype=np.int64), np.zeros(0, dtype=np.int64)
    apart = (number % length != 0) | (length < _GAP_FROM)
    first, second = np.flatnonzero(run % 2 == 0), np.flatnonzero((run % 2 == 1) & apart)
    return first[spread_evenly(len(first), MAXIMUM_ROWS)], second[spread_evenly(len(second), MAXIMUM_ROWS)]


@dataclass(frozen=True)
class _Half:
    """Rows that slices are tried on."""

    cost: Floats
    moments: pd.DatetimeIndex
    block: timedelta
    floor: float


def _confirm(
    found: Sequence[Found],
    columns: Mapping[str, Column],
    half: _Half,
    minimum_rows: int,
    level: float,
) -> tuple[WeakSlice, ...]:
    measured: list[tuple[Found, SerialMean, SerialMean]] = []
    left = np.ones(len(half.cost), dtype=bool)
    for one in found:
        rows = np.all([condition.holds(columns) for condition in one.conditions], axis=0)[left]
        cost, moments = half.cost[left], half.moments[left]
        if minimum_rows <= rows.sum() <= LARGEST * len(cost):
            own = _bounded(mean_in_time(cost[rows], moments[rows]), moments[rows], half.block)
            measured.append((one, own, excess_in_time(cost, rows, moments, block=half.block)))
            left[left] &= ~rows
    p_values = {str(i): _p_of(own, excess, half.floor) for i, (_, own, excess) in enumerate(measured)}
    adjusted = adjust_holm(p_values)
    tried = [
        WeakSlice(
            conditions=one.conditions,
            found=one.excess,
            n_found=one.rows,
            n=own.n,
            mean=own.interval(_INTERVAL_LEVEL),
            excess=excess.interval(_INTERVAL_LEVEL).model_copy(update={"n": own.n}),
            p=p_values[str(i)],
            adjusted=(corrected := adjusted[str(i)]),
            confirmed=corrected is not None and corrected < level,
        )
        for i, (one, own, excess) in enumerate(measured)
    ]
    return tuple(sorted(tried, key=lambda one: not one.confirmed))


def excess_in_time(cost: Floats, rows: Mask, event_time: Any, *, block: timedelta) -> SerialMean:
    """By how much the mean of some rows is higher than that of the others, with an error that respects time.

    Each row counts by what it adds to the difference, so that rows of one moment, in and out of the slice, are one
    draw. The degrees of freedom are no more than the effective number of blocks that the slice lies in, less one: an
    error that was measured on a few storms is not well known, however many rows they had.

    Parameters
    ----------
    rows
        Of shape ``(n_samples,)``; some are, and some are not.

    References
    ----------
    Kish (1965), Survey Sampling, section 8.2, and Carter, Schnepel and Steigerwald (2017), Asymptotic behavior of a
    t-test robust to cluster heterogeneity, Rev. Econ. Stat. 99: the effective number of clusters.
    """
    inside, outside = float(cost[rows].mean()), float(cost[~rows].mean())
    share = float(rows.mean())
    influence = np.where(rows, (cost - inside) / share, -(cost - outside) / (1 - share))
    found = mean_in_time(influence, event_time)
    return _bounded(replace(found, mean=inside - outside), pd.DatetimeIndex(event_time)[rows], block)


def _bounded(found: SerialMean, moments: pd.DatetimeIndex, block: timedelta) -> SerialMean:
    """With no more freedom than the effective number of blocks that rows lie in, less one."""
    _, sizes = np.unique(np.asarray((moments - moments.min()) // block), return_counts=True)
    effective = int(sizes.sum() ** 2 / (sizes**2).sum())
    return replace(found, freedom=min(found.freedom, max(effective - 1, 0)))


def _p_of(own: SerialMean, excess: SerialMean, floor: float) -> float | None:
    """Of being worse than the others and above the floor: the larger of both (Berger 1982)."""
    above = excess.p_above(0.0)
    if above is None or not np.isfinite(floor):
        return above
    over = own.p_above(floor)
    return None if over is None else max(above, over)
