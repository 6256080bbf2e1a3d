"""Hellinger distance."""

from __future__ import annotations

import numpy as np

from ml.drift.statistics.base import Bins, Floats, Statistic, joined, shares


def hellinger_distance(reference: Floats, live: Floats, bins: Bins) -> Floats:
    """Euclidean distance of the square roots of the shares, over the square root of two; 0 is identical.

    Returns
    -------
    ndarray of shape (...)
        In ``[0, 1]``, symmetric; 1 has nothing in common.
    """
    p, q = shares(joined(reference, bins)), shares(joined(live, bins))
    return np.sqrt(np.clip(np.sum((np.sqrt(p) - np.sqrt(q)) ** 2, axis=-1) / 2, 0.0, 1.0))


HELLINGER = Statistic(
    name="hellinger",
    title="Hellinger distance",
    kinds=frozenset({"number", "category"}),
    range=(0.0, 1.0),
    direction="higher_is_further",
    minimum_rows=1,
    reference="Le Cam and Yang (2000), Asymptotics in Statistics, section 4.2",
    distance=hellinger_distance,
)
