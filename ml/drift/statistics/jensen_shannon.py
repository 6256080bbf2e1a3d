"""Jensen-Shannon distance."""

from __future__ import annotations

import math

import numpy as np

from ml.drift.statistics.base import Statistic
from ml.drift.statistics.shares import common_shares
from ml.records.profile import ColumnProfile


def jensen_shannon_distance(reference: ColumnProfile, live: ColumnProfile) -> float | None:
    """Square root of the Jensen-Shannon divergence in bits, a metric; 0 is identical, 1 has nothing in common.

    Parameters
    ----------
    reference, live
        Columns counted on the same bins.

    Returns
    -------
    float or None
        In ``[0, 1]``, symmetric; None when one of the columns has no rows.

    Raises
    ------
    DataError
        The columns were counted on different bins.

    Examples
    --------
    >>> from ml.records.profile import CategoryProfile
    >>> column = CategoryProfile(counts={"fog": 10, "sun": 30}, other=0, missing=0)
    >>> jensen_shannon_distance(column, column)
    0.0
    """
    shares = common_shares(reference, live)
    if shares is None:
        return None
    p, q = shares
    middle = (p + q) / 2
    divergence = float(np.sum(p * np.log2(p / middle) + q * np.log2(q / middle)) / 2)
    return math.sqrt(min(max(divergence, 0.0), 1.0))  # rounding may leave the range by a few ulp


JENSEN_SHANNON = Statistic(
    name="jensen_shannon",
    range=(0.0, 1.0),
    direction="higher_is_further",
    reference="Endres and Schindelin (2003), A new metric for probability distributions, eq. 3",
    distance=jensen_shannon_distance,
)
