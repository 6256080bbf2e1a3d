"""Rise of the share of categories without a name in the reference."""

from __future__ import annotations

import numpy as np

from ml.drift.statistics.base import Bins, Floats, Statistic, shares


def new_category_share(reference: Floats, live: Floats, bins: Bins) -> Floats:
    """Rise of the share of values outside the named categories; 0 where it did not rise.

    Returns
    -------
    ndarray of shape (...)
        In ``[0, 1]``.
    """
    del bins
    return np.maximum(shares(live)[..., -2] - shares(reference)[..., -2], 0.0)


NEW_CATEGORIES = Statistic(
    name="new_categories",
    title="Rise of unnamed categories",
    kinds=frozenset({"category"}),
    range=(0.0, 1.0),
    direction="higher_is_further",
    minimum_rows=1,
    reference="Breck et al. (2019), Data validation for machine learning, section 3.2: domain",
    distance=new_category_share,
)
