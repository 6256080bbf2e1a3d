"""The mean of rows in order of time, with an error that counts how long neighbours resemble each other."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import fft, stats

from ml.errors import DataError
from ml.records.measure import Estimate

Floats = NDArray[np.float64]

#: Cosines among ``moments``: 0.41 times their number to the power of two thirds, as Lazarus et al. recommend.
_SHARE, _POWER = 0.41, 2 / 3
#: With few moments no fewer cosines than these, where there are as many.
_FEWEST = 6
#: How much of the variance at the lowest frequency the mean over the cosines may miss, by the fitted autoregression.
_MISSED = 0.05
_FEWEST_KEPT = 4
_STRONGEST = 0.98


@dataclass(frozen=True)
class SerialMean:
    """A mean and what is known of its error.

    Attributes
    ----------
    mean
        Over rows; NaN without rows.
    error
        Standard error; NaN with fewer than two moments.
    freedom
        Degrees of freedom of the error.
    n
        Rows.
    """

    mean: float
    error: float
    freedom: int
    n: int

    def p_above(self, bound: float) -> float | None:
        """One-sided p-value against the mean being ``bound`` or less; None where there is no error to tell by."""
        if not self.freedom:
            return None
        if self.error == 0:
            return 0.0 if self.mean > bound else 1.0
        return float(stats.t.sf((self.mean - bound) / self.error, self.freedom))

    def interval(self, level: float) -> Estimate:
        """The mean with ``low`` and ``high``, each wrong at ``level``."""
        confidence = 1 - 2 * level
        if not self.n:
            return Estimate(value=None, n=0, confidence=confidence, detail="there are no rows")
        if not self.freedom:
            detail = "a single moment gives no interval"
            return Estimate(value=self.mean, n=self.n, confidence=confidence, detail=detail)
        reach = float(stats.t.isf(level, self.freedom)) * self.error
        return Estimate(value=self.mean, n=self.n, low=self.mean - reach, high=self.mean + reach, confidence=confidence)


_NOTHING = SerialMean(mean=float("nan"), error=float("nan"), freedom=0, n=0)


def mean_in_time(values: Floats, event_time: Any) -> SerialMean:
    """Mean of the rows with the equal-weighted cosine estimate of its variance.

    Rows of one moment are one draw, so entities may resemble each other in any way; how many moments resemble each
    other is read from the data: the low cosines of the series measure the variance of its mean directly. They are
    fewer the stronger a first-order autoregression of the series is, and what they miss by it is added.

    Parameters
    ----------
    values
        One number per row, of shape ``(n_samples,)``.
    event_time
        Moment of each row, UTC, in any order.

    Raises
    ------
    DataError
        A value is not a number, or the lengths differ.

    Notes
    -----
    One-sided 5 % erred, in 10,000 simulations of equal models for each number (2,000 with 5,000 rows), in::

        autocorrelation     0    0.5    0.8    0.9   0.95
           24 hourly rows  4.8   5.1    5.4    6.6    8.0 %
          200              4.9   5.2    5.0    5.0    4.7 %
        1,000              5.0   5.1    4.9    4.8    5.1 %
        5,000              5.4   4.9    5.4    4.7    5.4 %
        t over day blocks  5.5   5.4    7.0    8.9   14.3 %   (200 rows)

    and found a gain that an ideal test, knowing the variance, finds in 85 % of cases in 82, 81, 71, 64, 55 % with 200
    rows, in 84, 84, 83, 80, 72 % with 1,000, in 86 to 83 % with 5,000.

    References
    ----------
    Lazarus, Lewis, Stock and Watson (2018), HAR inference: recommendations for practice, J. Bus. Econ. Stat. 36,
    eq. 10 and section 6. Andrews and Monahan (1992), An improved heteroskedasticity and autocorrelation consistent
    covariance matrix estimator, Econometrica 60: the autoregression.

    Examples
    --------
    >>> days = pd.to_datetime(["2013-03-01", "2013-03-02", "2013-03-03"], utc=True)
    >>> found = mean_in_time(np.array([1.0, 3.0, 2.0]), days)
    >>> found.mean, found.freedom, found.interval(0.05).low > 0
    (2.0, 2, False)
    """
    moments = _check(values, event_time)
    if not len(values):
        return _NOTHING
    mean = float(values.mean())
    _, slot = np.unique(moments.asi8, return_inverse=True)
    series = np.bincount(slot, weights=values - mean).astype(np.float64)
    variance, freedom = _variance_of_sum(series)
    return SerialMean(mean=mean, error=float(np.sqrt(variance)) / len(values), freedom=freedom, n=len(values))


def mean_of_draws(values: Floats, event_time: Any) -> SerialMean:
    """Mean of rows that are draws of their own, whatever their moment, with Student's error.

    Parameters and errors are those of :func:`mean_in_time`.

    Examples
    --------
    >>> days = pd.to_datetime(["2013-03-01", "2013-03-02", "2013-03-03"], utc=True)
    >>> found = mean_of_draws(np.array([1.0, 3.0, 2.0]), days)
    >>> found.mean, found.freedom, round(found.error, 3)
    (2.0, 2, 0.577)
    """
    _check(values, event_time)
    n = len(values)
    if not n:
        return _NOTHING
    error = float(values.std(ddof=1) / np.sqrt(n)) if n > 1 else float("nan")
    return SerialMean(mean=float(values.mean()), error=error, freedom=n - 1, n=n)


def _check(values: Floats, event_time: Any) -> pd.DatetimeIndex:
    moments = pd.DatetimeIndex(event_time)
    if len(values) != len(moments):
        raise DataError("every value needs its event time", got=f"{len(values)} values, {len(moments)} event times")
    if not np.isfinite(values).all():
        raise DataError("a value is not a number", where=f"row {int(np.argmin(np.isfinite(values)))}")
    return moments


def _variance_of_sum(series: Floats) -> tuple[float, int]:
    """Of a series that sums to 0, and the cosines that it was estimated from."""
    count = len(series)
    if count < 2:
        return float("nan"), 0
    wanted = min(max(int(_SHARE * count**_POWER), _FEWEST), count - 1)
    squares = fft.dct(series, type=2)[1 : wanted + 1] ** 2 / (2 * count)
    found = np.cumsum(_spectrum(_autocorrelation(series), np.pi * np.arange(1, wanted + 1) / count))
    reached = found / np.arange(1, wanted + 1)
    kept = max(int((reached >= 1 - _MISSED).sum()), min(_FEWEST_KEPT, wanted))
    return float(squares[:kept].mean() / reached[kept - 1]) * count, kept


def _autocorrelation(series: Floats) -> float:
    """Of neighbours, ``[0, 0.98]``, freed of its bias in a short series (Marriott and Pope 1954), plus its error."""
    whole = float(series @ series)
    if whole == 0:
        return 0.0
    found = float(series[1:] @ series[:-1]) / whole
    found = float(np.clip(found + (1 + 4 * max(found, 0.0)) / len(series), 0.0, _STRONGEST))
    return min(found + float(np.sqrt((1 - found**2) / len(series))), _STRONGEST)


def _spectrum(strength: float, frequencies: Floats) -> Floats:
    """Of a first-order autoregression, 1 at frequency 0."""
    found: Floats = (1 - strength) ** 2 / (1 - 2 * strength * np.cos(frequencies) + strength**2)
    return found
