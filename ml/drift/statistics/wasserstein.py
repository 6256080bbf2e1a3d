"""Wasserstein distance in standard deviations of the reference."""

from __future__ import annotations

import math

import numpy as np

from ml.drift.statistics.base import Bins, Floats, Statistic, cumulative


def scaled_wasserstein_distance(reference: Floats, live: Floats, bins: Bins) -> Floats:
    """Area between two distribution functions, over the reference's standard deviation; missing is left out.

    Returns
    -------
    ndarray of shape (...)
        In ``[0, inf)``. What lies beyond the reference's extremes counts as lying on them, so a far shift is told
        too small, never too large. NaN where a side has no present value or the reference does not vary.
    """
    if bins.scale == 0:
        return np.full(np.broadcast_shapes(reference.shape, live.shape)[:-1], np.nan)
    apart = np.abs(cumulative(reference) - cumulative(live))
    widths = np.diff(bins.edges)
    return np.sum((apart[..., :-1] + apart[..., 1:]) / 2 * widths, axis=-1) / bins.scale


WASSERSTEIN = Statistic(
    name="wasserstein",
    title="Wasserstein distance in reference standard deviations",
    kinds=frozenset({"number"}),
    range=(0.0, math.inf),
    direction="higher_is_further",
    minimum_rows=1,
    reference="Vallender (1974), Calculation of the Wasserstein distance on the line, eq. 2",
    distance=scaled_wasserstein_distance,
)
