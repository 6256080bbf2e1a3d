"""Total variation distance."""

from __future__ import annotations

import numpy as np

from ml.drift.statistics.base import Bins, Floats, Statistic, joined, shares


def total_variation_distance(reference: Floats, live: Floats, bins: Bins) -> Floats:
    """Half the sum of absolute differences of shares: the share of rows that would have to move; 0 is identical.

    Returns
    -------
    ndarray of shape (...)
        In ``[0, 1]``, symmetric.
    """
    p, q = shares(joined(reference, bins)), shares(joined(live, bins))
    return np.sum(np.abs(p - q), axis=-1) / 2


TOTAL_VARIATION = Statistic(
    name="total_variation",
    title="Total variation distance",
    kinds=frozenset({"number", "category"}),
    range=(0.0, 1.0),
    direction="higher_is_further",
    minimum_rows=1,
    reference="Levin, Peres and Wilmer (2009), Markov Chains and Mixing Times, prop. 4.2",
    distance=total_variation_distance,
)
