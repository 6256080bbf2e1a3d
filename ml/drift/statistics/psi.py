"""Population stability index."""

from __future__ import annotations

import math

import numpy as np

from ml.drift.statistics.base import Statistic
from ml.drift.statistics.shares import common_shares
from ml.records.profile import ColumnProfile


def population_stability_index(reference: ColumnProfile, live: ColumnProfile) -> float | None:
    """Population stability index, ``sum((q - p) * log(q / p))`` over bins and missing; 0 is identical.

    Parameters
    ----------
    reference, live
        Columns counted on the same bins.

    Returns
    -------
    float or None
        In ``[0, inf)``, symmetric; None when one of the columns has no rows.

    Raises
    ------
    DataError
        The columns were counted on different bins.

    Examples
    --------
    >>> from ml.records.profile import CategoryProfile
    >>> column = CategoryProfile(counts={"fog": 10, "sun": 30}, other=0, missing=0)
    >>> population_stability_index(column, column)
    0.0
    """
    shares = common_shares(reference, live)
    if shares is None:
        return None
    p, q = shares
    return max(float(np.sum((q - p) * np.log(q / p))), 0.0)


PSI = Statistic(
    name="psi",
    range=(0.0, math.inf),
    direction="higher_is_further",
    reference="Kullback and Leibler (1951), On information and sufficiency, eq. 2.6: the divergence J",
    distance=population_stability_index,
)
