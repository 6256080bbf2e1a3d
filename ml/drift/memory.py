"""How long a reference remembers: the autocorrelation time of its columns, in blocks."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from ml.records.profile import NumberProfile, ReferenceProfile

Floats = NDArray[np.float64]

#: Blocks without which nothing can be said.
MINIMUM_BLOCKS = 20
_LEVEL = 0.05  # of the test for memory, over all columns together
_NO_POWER = 1e-20  # of levels in [0, 1]: below it they differ by rounding


def autocorrelation_time(reference: ReferenceProfile, counts: dict[str, Floats]) -> float:
    """Longest autocorrelation time of a column, blocks, ``[1, inf)``; 1 where none is significant."""
    longest = 1.0
    n = next((table.shape[1] for table in counts.values()), 0)
    if n < MINIMUM_BLOCKS:
        return longest
    bound = float(stats.norm.ppf(1 - _LEVEL / max(len(counts), 1))) / math.sqrt(n)
    for name, table in counts.items():
        series = _level_of_blocks(table, isinstance(reference.whole.columns[name], NumberProfile))
        centred = series - series.mean()
        power = float(centred @ centred)
        if power <= _NO_POWER:
            continue
        if float(centred[1:] @ centred[:-1]) / power + 1 / n > bound:
            longest = max(longest, _integrated_time(centred, power))
    return longest


def _level_of_blocks(table: Floats, number: bool) -> Floats:
    """One number per block: mean rank of its values, or share of the most frequent category; less its contexts'."""
    present = table[..., :-1]
    total = present.sum(axis=(0, 1))
    if number:
        ranks = (np.cumsum(total) - total / 2) / max(total.sum(), 1)
        sums = present @ ranks
    else:
        sums = present[..., int(np.argmax(total))]
    rows = present.sum(axis=-1)
    if len(table) > 1:
        sums = sums - rows * (sums.sum(axis=1) / np.maximum(rows.sum(axis=1), 1))[:, None]
    return sums.sum(axis=0) / np.maximum(rows.sum(axis=0), 1)


def _integrated_time(centred: Floats, power: float) -> float:
    """Integrated autocorrelation time with Sokal's window: summed up to five times itself."""
    time = 1.0
    for lag in range(1, len(centred) // 2):
        time += 2 * float(centred[lag:] @ centred[:-lag]) / power
        if lag >= 5 * time:
            break
    return max(time, 1.0)
