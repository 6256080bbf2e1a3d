"""From the counts of two columns to shares on common bins."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ml.errors import DataError
from ml.records.profile import CategoryProfile, ColumnProfile, NumberProfile

#: Half a row per bin keeps an empty bin from making a logarithm infinite (Jeffreys' prior of a multinomial).
SMOOTHING = 0.5


def smoothed_shares(column: ColumnProfile) -> NDArray[np.float64] | None:
    """Shares of the bins, of the rest of a category column, and of missing, in that order; None without rows.

    Returns
    -------
    ndarray of shape (n_bins,), in ``(0, 1)``, summing to 1

    Examples
    --------
    >>> column = CategoryProfile(counts={"fog": 1}, other=0, missing=2)
    >>> smoothed_shares(column).tolist()
    [0.3333333333333333, 0.1111111111111111, 0.5555555555555556]
    """
    counts = np.array(_counts(column), dtype=np.float64)
    total = counts.sum()
    if total == 0:
        return None
    smoothed: NDArray[np.float64] = (counts + SMOOTHING) / (total + SMOOTHING * counts.size)
    return smoothed


def common_shares(
    reference: ColumnProfile, live: ColumnProfile
) -> tuple[NDArray[np.float64], NDArray[np.float64]] | None:
    """Shares of both columns on the same bins; None when either has no rows.

    Raises
    ------
    DataError
        The columns were counted on different bins.
    """
    if not same_bins(reference, live):
        raise DataError("columns have different bins", allowed="profiles made on the same edges")
    first, second = smoothed_shares(reference), smoothed_shares(live)
    return None if first is None or second is None else (first, second)


def same_bins(first: ColumnProfile, second: ColumnProfile) -> bool:
    """Whether two columns were counted on the same bins."""
    if isinstance(first, NumberProfile) and isinstance(second, NumberProfile):
        return first.edges == second.edges
    if isinstance(first, CategoryProfile) and isinstance(second, CategoryProfile):
        return first.counts.keys() == second.counts.keys()
    return False


def _counts(column: ColumnProfile) -> list[int]:
    if isinstance(column, NumberProfile):
        return [*column.counts, column.missing]
    # By name, since two profiles may have met their categories in another order.
    return [*(column.counts[name] for name in sorted(column.counts)), column.other, column.missing]
