"""Intervals of numbers that are no means, by resampling runs of neighbouring moments."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import stats

Floats = NDArray[np.float64]

REPLICATES = 2000
_SEED = 20100913
_FEWEST_BLOCKS = 5
#: A block is so many times the third root of the moments long (Lahiri 2003, section 7.2, the optimal rate).
_LENGTH = 2.0
_AT_ONCE = 250


@dataclass(frozen=True)
class Resampled:
    """A number with an interval, both ends of which are wrong at the level that was asked for; None without one."""

    value: float
    low: float | None
    high: float | None


def resample_blocks(
    table: Floats, event_time: Any, statistic: Callable[[Floats], Floats], *, level: float, replicates: int = REPLICATES
) -> Resampled:
    """Interval of a function of column sums, from resampled blocks of neighbouring moments.

    The interval is the value and a normal quantile of the replicates' standard deviation to either side: a number such
    as a calibration error or a largest gap grows with noise, so that percentiles of its replicates lie too high.

    Parameters
    ----------
    table
        Per row what it adds to the sums, of shape ``(n_samples, n_sums)``.
    event_time
        Moment of each row, UTC.
    statistic
        Of sums of shape ``(..., n_sums)``, of shape ``(...)``; NaN where it is undefined.
    level
        One-sided, ``(0, 0.5)``.

    Returns
    -------
    Resampled
        No interval with fewer than five blocks, or where a replicate in ten is undefined.

    References
    ----------
    Künsch (1989), The jackknife and the bootstrap for general stationary observations, Ann. Stat. 17.
    """
    value = float(statistic(table.sum(axis=0)))
    _, slot = np.unique(pd.DatetimeIndex(event_time).asi8, return_inverse=True)
    moments = int(slot.max()) + 1 if len(slot) else 0
    length = max(1, round(_LENGTH * moments ** (1 / 3)))
    blocks = moments // length
    if blocks < _FEWEST_BLOCKS:
        return Resampled(value, None, None)
    block = np.minimum(slot // length, blocks - 1)  # the rest of a block belongs to the last one
    order = np.argsort(block, kind="stable")
    starts = np.searchsorted(block[order], np.arange(blocks))
    sums = np.add.reduceat(table[order], starts, axis=0)
    rng = np.random.default_rng(_SEED)
    found: list[Floats] = []
    for begin in range(0, replicates, _AT_ONCE):
        count = min(_AT_ONCE, replicates - begin)
        drawn = rng.multinomial(blocks, np.full(blocks, 1 / blocks), size=count).astype(np.float64)
        found.append(statistic(drawn @ sums))
    known = np.concatenate(found)
    known = known[np.isfinite(known)]
    if not np.isfinite(value) or len(known) < 0.9 * replicates:
        return Resampled(value, None, None)
    reach = float(stats.norm.isf(level) * known.std(ddof=1))
    return Resampled(value, value - reach, value + reach)
