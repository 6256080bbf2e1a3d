"""Population stability index."""

from __future__ import annotations

import math

import numpy as np

from ml.drift.statistics.base import Bins, Floats, Statistic, joined, smoothed_shares


def population_stability_index(reference: Floats, live: Floats, bins: Bins) -> Floats:
    """Population stability index, ``sum((q - p) * log(q / p))`` over about ten bins and missing; 0 is identical.

    Returns
    -------
    ndarray of shape (...)
        In ``[0, inf)``, symmetric.

    Examples
    --------
    >>> bins = Bins("category", np.empty(0), 0.0, np.arange(3))
    >>> float(population_stability_index(np.array([10.0, 30, 0]), np.array([10.0, 30, 0]), bins))
    0.0
    """
    p, q = smoothed_shares(joined(reference, bins)), smoothed_shares(joined(live, bins))
    return np.maximum(np.sum((q - p) * np.log(q / p), axis=-1), 0.0)


PSI = Statistic(
    name="psi",
    title="Population stability index",
    kinds=frozenset({"number", "category"}),
    range=(0.0, math.inf),
    direction="higher_is_further",
    minimum_rows=1,
    reference="Kullback and Leibler (1951), On information and sufficiency, eq. 2.6: the divergence J",
    distance=population_stability_index,
)
