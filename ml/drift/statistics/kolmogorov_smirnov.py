"""Kolmogorov-Smirnov distance."""

from __future__ import annotations

import numpy as np

from ml.drift.statistics.base import Bins, Floats, Statistic, cumulative


def kolmogorov_smirnov_distance(reference: Floats, live: Floats, bins: Bins) -> Floats:
    """Largest difference of two distribution functions at the bins' edges; missing values are left out.

    Returns
    -------
    ndarray of shape (...)
        In ``[0, 1]``, symmetric, never above the exact distance and below it by less than the largest bin's share;
        NaN where a side has no present value.
    """
    del bins
    apart = np.abs(cumulative(reference) - cumulative(live))
    present = (reference[..., :-1].sum(axis=-1) > 0) & (live[..., :-1].sum(axis=-1) > 0)
    return np.where(present, np.max(apart, axis=-1, initial=0.0), np.nan)


KOLMOGOROV_SMIRNOV = Statistic(
    name="kolmogorov_smirnov",
    title="Kolmogorov-Smirnov distance",
    kinds=frozenset({"number"}),
    range=(0.0, 1.0),
    direction="higher_is_further",
    minimum_rows=1,
    reference="Smirnov (1939), Estimate of deviation between empirical distribution functions in two samples",
    distance=kolmogorov_smirnov_distance,
)
