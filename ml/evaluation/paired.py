"""Two models on the same rows: the mean difference of their losses, with an error that respects time."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from ml.errors import DataError
from ml.training.serial_interval import SerialMean, mean_in_time, mean_of_draws

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Discordant(SerialMean):
    """The mean difference of errors that are 0 or 1, of rows that are draws of their own.

    Attributes
    ----------
    gained, lost
        Rows in which the second model alone is right, and alone is wrong; the others say nothing.
    """

    gained: int
    lost: int

    def p_above(self, bound: float) -> float | None:
        """McNemar's exact one-sided p-value against 0; against another bound, Student's over the rows.

        References
        ----------
        McNemar (1947), Note on the sampling error of the difference between correlated proportions or percentages,
        Psychometrika 12. Exact form: the gained of all discordant rows are binomial with probability 1/2.
        """
        if bound:
            return super().p_above(bound)
        return p_of_discordant(self.gained, self.lost)


def p_of_discordant(more: int, fewer: int) -> float:
    """Exact one-sided p-value of so many pairs that speak for one side, were both sides as likely (sign test).

    Examples
    --------
    >>> p_of_discordant(5, 0), p_of_discordant(0, 0)
    (0.03125, 1.0)
    """
    return float(stats.binom.sf(more - 1, more + fewer, 0.5))


def compare_paired(first: Floats, second: Floats, event_time: Any, *, independent: bool = False) -> SerialMean:
    """Mean of ``first - second`` row by row: positive where the second model is the better one.

    Parameters
    ----------
    first, second
        Losses on the same rows, of shape ``(n_samples,)``; lower is better.
    event_time
        Moment of each row, UTC.
    independent
        Each row is a draw of its own, whatever its moment: errors of 0 and 1 are compared by McNemar's exact test,
        other losses by Student's paired test.

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
    difference = first - second
    if not independent:
        return mean_in_time(difference, event_time)
    found = mean_of_draws(difference, event_time)
    if not np.isin(first, (0.0, 1.0)).all() or not np.isin(second, (0.0, 1.0)).all():
        return found
    gained, lost = int((difference > 0).sum()), int((difference < 0).sum())
    return Discordant(found.mean, found.error, found.freedom, found.n, gained=gained, lost=lost)
