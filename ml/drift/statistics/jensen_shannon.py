"""Jensen-Shannon distance."""

from __future__ import annotations

import numpy as np

from ml.drift.statistics.base import Bins, Floats, Statistic, joined, smoothed_shares


def jensen_shannon_distance(reference: Floats, live: Floats, bins: Bins) -> Floats:
    """Square root of the Jensen-Shannon divergence in bits, a metric; 0 is identical, 1 has nothing in common.

    Returns
    -------
    ndarray of shape (...)
        In ``[0, 1]``, symmetric.
    """
    p, q = smoothed_shares(joined(reference, bins)), smoothed_shares(joined(live, bins))
    middle = (p + q) / 2
    divergence = np.sum(p * np.log2(p / middle) + q * np.log2(q / middle), axis=-1) / 2
    return np.sqrt(np.clip(divergence, 0.0, 1.0))  # rounding may leave the range by a few ulp


JENSEN_SHANNON = Statistic(
    name="jensen_shannon",
    title="Jensen-Shannon distance",
    kinds=frozenset({"number", "category"}),
    range=(0.0, 1.0),
    direction="higher_is_further",
    minimum_rows=1,
    reference="Endres and Schindelin (2003), A new metric for probability distributions, eq. 3",
    distance=jensen_shannon_distance,
)
