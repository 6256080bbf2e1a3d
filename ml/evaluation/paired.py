"""Two models on the same rows: the mean difference of their losses, with an error that respects time."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ml.errors import DataError
from ml.training.serial_interval import SerialMean, mean_in_time


def compare_paired(first: NDArray[np.float64], second: NDArray[np.float64], event_time: Any) -> SerialMean:
    """Mean of ``first - second`` row by row: positive where the second model is the better one.

    Parameters
    ----------
    first, second
        Losses on the same rows, of shape ``(n_samples,)``; lower is better.
    event_time
        Moment of each row, UTC.

    Raises
    ------
    DataError
        The lengths differ, or a loss is not a number.

    Notes
    -----
    How well the level holds is told with :func:`ml.training.serial_interval.mean_in_time`. One thing no week can tell:
    a challenger that is catastrophic once a month looks better in the weeks between.

    References
    ----------
    Diebold and Mariano (1995), Comparing predictive accuracy, J. Bus. Econ. Stat. 13.

    Examples
    --------
    >>> import pandas as pd
    >>> days = pd.to_datetime(["2013-03-01", "2013-03-02", "2013-03-03"], utc=True)
    >>> found = compare_paired(np.array([0.3, 0.4, 0.5]), np.full(3, 0.3), days)
    >>> round(found.mean, 3), found.p_above(0.0) < 0.05
    (0.1, False)
    """
    if first.shape != second.shape:
        raise DataError("a paired comparison needs the same rows", got=f"{len(first)} and {len(second)} rows")
    return mean_in_time(first - second, event_time)
