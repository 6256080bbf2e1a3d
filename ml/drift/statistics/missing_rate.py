"""Change of the share of missing values."""

from __future__ import annotations

import numpy as np

from ml.drift.statistics.base import Bins, Floats, Statistic, shares


def missing_rate_change(reference: Floats, live: Floats, bins: Bins) -> Floats:
    """Absolute difference of the shares of missing values; 0 is identical.

    Returns
    -------
    ndarray of shape (...)
        In ``[0, 1]``, symmetric.
    """
    del bins
    return np.abs(shares(reference)[..., -1] - shares(live)[..., -1])


MISSING_RATE = Statistic(
    name="missing_rate",
    title="Change of the missing rate",
    kinds=frozenset({"number", "category"}),
    range=(0.0, 1.0),
    direction="higher_is_further",
    minimum_rows=1,
    reference="Breck et al. (2019), Data validation for machine learning, section 3.2: presence",
    distance=missing_rate_change,
)
