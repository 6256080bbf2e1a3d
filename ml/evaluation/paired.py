"""Two models on the same rows: the mean difference of their losses, with an interval that respects time."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ml.errors import DataError
from ml.records.measure import Estimate
from ml.training.block_interval import mean_over_blocks


def compare_paired(
    first: NDArray[np.float64], second: NDArray[np.float64], event_time: Any, *, block: timedelta, level: float
) -> Estimate:
    """Mean of ``first - second`` row by row: positive where the second model is the better one.

    Parameters
    ----------
    first, second
        Losses on the same rows, of shape ``(n_samples,)``; lower is better.
    event_time
        Moment of each row, UTC.
    block
        Rows of one block count as one draw.
    level
        One-sided, ``(0, 0.5)``: were the models equal, ``low`` would lie above 0 with this probability.

    Returns
    -------
    Estimate
        Two-sided interval at ``1 - 2 * level``; none with fewer than two blocks.

    Raises
    ------
    DataError
        The lengths differ, or a loss is not a number.

    Notes
    -----
    How well the level holds, and when it does not, is told with :func:`ml.training.block_interval.mean_over_blocks`.
    One thing no week can tell: a challenger that is catastrophic once a month looks better in the weeks between. With
    whole days of the harbour weather drawn at random and differences centred at zero, the forest against gradient
    boosting (skewness -4.4) was beaten in 20 % of the weeks instead of 5 %, in the other direction in 1 %.

    Examples
    --------
    >>> import pandas as pd
    >>> days = pd.to_datetime(["2013-03-01", "2013-03-02", "2013-03-03"], utc=True)
    >>> found = compare_paired(np.array([0.3, 0.4, 0.5]), np.full(3, 0.3), days, block=timedelta(days=1), level=0.05)
    >>> round(found.value, 3), bool(found.low > 0)
    (0.1, False)
    """
    if first.shape != second.shape:
        raise DataError("a paired comparison needs the same rows", got=f"{len(first)} and {len(second)} rows")
    return mean_over_blocks(first - second, event_time, block=block, confidence=1 - 2 * level)
