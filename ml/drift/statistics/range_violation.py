"""Rise of the share of numbers beyond the reference's extremes."""

from __future__ import annotations

import numpy as np

from ml.drift.statistics.base import Bins, Floats, Statistic, shares


def range_violation_share(reference: Floats, live: Floats, bins: Bins) -> Floats:
    """Rise of the share of rows beyond the lowest and the highest edge; 0 where it did not rise.

    Returns
    -------
    ndarray of shape (...)
        In ``[0, 1]``.
    """
    if len(bins.edges) == 0:
        return np.zeros(np.broadcast_shapes(reference.shape, live.shape)[:-1])
    p, q = shares(reference), shares(live)
    return np.maximum((q[..., 0] + q[..., -2]) - (p[..., 0] + p[..., -2]), 0.0)


RANGE_VIOLATION = Statistic(
    name="range_violation",
    title="Rise of values beyond the reference's extremes",
    kinds=frozenset({"number"}),
    range=(0.0, 1.0),
    direction="higher_is_further",
    minimum_rows=1,
    reference="Breck et al. (2019), Data validation for machine learning, section 3.2: domain",
    distance=range_violation_share,
)
