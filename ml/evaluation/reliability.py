"""Whether what is said to happen so often does: shares of what happened, by what was said."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ml.evaluation.calibration_error import bins_of
from ml.records.measure import Estimate
from ml.training.serial_interval import mean_in_time

Floats = NDArray[np.float64]

_CONFIDENCE, _Z = 0.9, 1.6448536269514722


@dataclass(frozen=True)
class ReliabilityBin:
    """Rows of which nearly the same was said.

    Attributes
    ----------
    said
        Mean probability of the rows, ``[0, 1]``.
    happened
        Share of the rows in which it did, with an interval at 90 %.
    """

    said: float
    happened: Estimate


def reliability_curve(
    probability: Floats, happened: NDArray[np.bool_], event_time: Any, *, bins: int
) -> tuple[ReliabilityBin, ...]:
    """Bins of equal numbers of rows, lowest probability first; fewer where probabilities are equal, none without rows.

    Parameters
    ----------
    probability
        Of the class that is looked at, of shape ``(n_samples,)``.
    happened
        Whether it did.
    event_time
        Moment of each row, UTC.

    References
    ----------
    Murphy and Winkler (1977), Reliability of subjective probability forecasts of precipitation and temperature, J. R.
    Stat. Soc. C 26.
    """
    if not len(probability):
        return ()
    moments = pd.DatetimeIndex(event_time)
    place = bins_of(probability, bins)
    return tuple(
        ReliabilityBin(said=float(probability[rows].mean()), happened=share_in_time(happened[rows], moments[rows]))
        for rows in (place == number for number in range(bins))
        if rows.any()
    )


def share_in_time(happened: NDArray[np.bool_], event_time: Any) -> Estimate:
    """A share of rows with Wilson's interval at 90 %, of as many independent rows as the serial ones are worth.

    How many they are worth follows from the error of the share that respects time; where all rows or none did, nothing
    is known of that and each counts.

    Returns
    -------
    Estimate
        ``[0, 1]``; undefined without rows.

    References
    ----------
    Wilson (1927), JASA 22; with the effective sample size: Korn and Graubard (1998), Confidence intervals for
    proportions with small expected number of positive counts estimated from survey data, Survey Methodology 24.

    Examples
    --------
    >>> hours = pd.date_range("2013-03-01", periods=20, freq="h", tz="UTC")
    >>> share = share_in_time(np.zeros(20, dtype=bool), hours)
    >>> share.value, share.low, round(share.high, 3)
    (0.0, 0.0, 0.119)
    """
    n = len(happened)
    if not n:
        return Estimate(value=None, n=0, detail="there are no rows")
    found = mean_in_time(happened.astype(np.float64), event_time)
    share, worth = float(happened.mean()), float(n)
    if found.freedom and found.error > 0:
        worth = min(worth, share * (1 - share) / found.error**2)
    z2 = _Z**2
    middle, half = share + z2 / (2 * worth), _Z * math.sqrt(share * (1 - share) / worth + z2 / (4 * worth**2))
    low, high = (middle - half) / (1 + z2 / worth), (middle + half) / (1 + z2 / worth)
    return Estimate(
        value=share, n=n, low=min(max(low, 0.0), share), high=max(min(high, 1.0), share), confidence=_CONFIDENCE
    )
