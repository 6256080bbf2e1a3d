"""The mean of serially correlated rows, with an interval that knows of the correlation."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import stats

from ml.errors import DataError
from ml.records.measure import Estimate

CONFIDENCE = 0.9


def mean_over_blocks(
    values: NDArray[np.float64], event_time: Any, *, block: timedelta, confidence: float = CONFIDENCE
) -> Estimate:
    """Mean of the rows, with a Student interval over blocks of event time.

    Neighbouring rows resemble each other, so the blocks are the independent draws, not the rows.

    Parameters
    ----------
    values
        One number per row, of shape ``(n_samples,)``.
    event_time
        Moment of each row, UTC, of shape ``(n_samples,)``.
    block
        Length of a block; the first one begins with the oldest row. Longer than the rows' correlation lasts.
    confidence
        Of the two-sided interval, ``(0, 1)``; its lower end is a one-sided bound at level ``(1 - confidence) / 2``.

    Returns
    -------
    Estimate
        ``value`` is the mean over rows, None without rows; no interval with fewer than two blocks.

    Raises
    ------
    DataError
        A value is not a number, or the lengths differ.

    Notes
    -----
    With blocks of equal size this is the t-interval over block means of Ibragimov and Müller, which holds its level
    with as few as two blocks, also when their variances differ (one-sided 5 % with up to 14 blocks; nearly, beyond).
    Blocks of unequal size enter as clusters of a ratio estimate, ``q`` blocks with sums ``S`` and sizes ``N``::

        variance = q / (q - 1) * sum((S - mean * N) ** 2) / sum(N) ** 2

    A percentile bootstrap of blocks is not used: with the seven day-blocks of one week it promised 5 % and erred in
    10 % of 4,000 simulated comparisons of equal models even without serial correlation, this interval in 5.8 %.
    Hourly rows with autocorrelation 0.5 / 0.8 / 0.9 / 0.95 gave 5.7 / 7.0 / 8.5 / 14 % against 9.4 / 11 / 14 / 20 %
    for the bootstrap and 28 / 36 / 41 / 45 % for a t-test over rows: where hours hang together longer than 0.8, take
    longer blocks (of two days: 5.1 / 5.6 / 8.2 % at 0.8 / 0.9 / 0.95). Loss differences on the harbour weather have
    0.2 to 0.6.

    References
    ----------
    Ibragimov and Müller (2010), t-statistic based correlation and heterogeneity robust inference, J. Bus. Econ. Stat.
    28, section 2. Cochran (1977), Sampling Techniques, 3rd ed., eq. 6.9.

    Examples
    --------
    >>> days = pd.to_datetime(["2013-03-01", "2013-03-02", "2013-03-03"], utc=True)
    >>> found = mean_over_blocks(np.array([1.0, 2.0, 3.0]), days, block=timedelta(days=1))
    >>> found.value, round(found.low, 3), round(found.high, 3)
    (2.0, 0.314, 3.686)
    """
    moments = pd.DatetimeIndex(event_time)
    _check(values, moments)
    if not len(values):
        return Estimate(value=None, n=0, confidence=confidence, detail="there are no rows")
    mean = float(values.mean())
    membership = np.asarray((moments - moments.min()) // block)
    deviations = _sums(values - mean, membership)
    count = len(deviations)
    if count < 2:
        return Estimate(value=mean, n=len(values), confidence=confidence, detail="a single block gives no interval")
    error = float(np.sqrt(count / (count - 1) * (deviations**2).sum())) / len(values)
    reach = float(stats.t.ppf((1 + confidence) / 2, df=count - 1)) * error
    return Estimate(value=mean, n=len(values), low=mean - reach, high=mean + reach, confidence=confidence)


def count_blocks(event_time: Any, block: timedelta) -> int:
    """Blocks that hold at least one row, as :func:`mean_over_blocks` cuts them."""
    moments = pd.DatetimeIndex(event_time)
    return len(np.unique(np.asarray((moments - moments.min()) // block))) if len(moments) else 0


def _sums(values: NDArray[np.float64], membership: NDArray[Any]) -> NDArray[np.float64]:
    _, number = np.unique(membership, return_inverse=True)
    return np.bincount(number, weights=values).astype(np.float64)


def _check(values: NDArray[np.float64], moments: pd.DatetimeIndex) -> None:
    if len(values) != len(moments):
        raise DataError("every value needs its event time", got=f"{len(values)} values, {len(moments)} event times")
    if not np.isfinite(values).all():
        raise DataError("a value is not a number", where=f"row {int(np.argmin(np.isfinite(values)))}")
