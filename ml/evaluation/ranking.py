"""How well two models order the rows of two classes: the difference of their areas under the ROC curve."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from ml.training.serial_interval import SerialMean, mean_in_time

Floats = NDArray[np.float64]


def roc_auc(scores: Floats, positive: NDArray[np.bool_]) -> float:
    """Probability that a positive row has the higher score than a negative one, ties by half, ``[0, 1]``.

    Parameters
    ----------
    scores, positive
        Of shape ``(n_samples,)``; NaN where a class has no row.

    References
    ----------
    Hanley and McNeil (1982), The meaning and use of the area under a ROC curve, Radiology 143.

    Examples
    --------
    >>> roc_auc(np.array([0.1, 0.4, 0.4, 0.9]), np.array([False, False, True, True]))
    0.875
    """
    if positive.all() or not positive.any():
        return float("nan")
    return float(_placements(scores, positive)[positive].mean())


def compare_roc_auc(
    first: Floats, second: Floats, positive: NDArray[np.bool_], event_time: Any, *, independent: bool = False
) -> SerialMean:
    """Area of ``first`` less that of ``second``: positive where the first orders the rows better.

    Each row has a placement: the share of the other class that it stands on the right side of. Of independent rows the
    error is DeLong's, from the variances of the placements in each class. In time it is that of a mean of the rows'
    influences on the difference, which keeps the same variance where rows are independent.

    Parameters
    ----------
    first, second, positive
        Scores by two models, and whether the row is of the class that a high score means, of shape ``(n_samples,)``.
    event_time
        Moment of each row, UTC.
    independent
        Each row is a draw of its own.

    Returns
    -------
    SerialMean
        Without degrees of freedom, so that nothing can be told, where a class has fewer than two rows.

    References
    ----------
    DeLong, DeLong and Clarke-Pearson (1988), Comparing the areas under two or more correlated receiver operating
    characteristic curves, Biometrics 44. Sun and Xu (2014), Fast implementation of DeLong's algorithm, IEEE Signal
    Process. Lett. 21: placements from ranks.
    """
    n, hits = len(positive), int(positive.sum())
    if min(hits, n - hits) < 2:
        mean = roc_auc(first, positive) - roc_auc(second, positive)
        return SerialMean(mean=mean, error=float("nan"), freedom=0, n=n)
    difference = _placements(first, positive) - _placements(second, positive)
    mean = float(difference[positive].mean())
    if independent:
        parts = (difference[positive], difference[~positive])
        variance = sum(float(part.var(ddof=1)) / len(part) for part in parts)
        return SerialMean(mean=mean, error=float(np.sqrt(variance)), freedom=n - 2, n=n)
    weights = np.where(positive, n / hits, n / (n - hits))
    return mean_in_time(mean + (difference - mean) * weights, event_time)


def _placements(scores: Floats, positive: NDArray[np.bool_]) -> Floats:
    """Of a positive row the share of negatives below it, of a negative row the share of positives above it."""
    among_all = stats.rankdata(scores)
    found = np.empty(len(scores))
    hits = int(positive.sum())
    found[positive] = (among_all[positive] - stats.rankdata(scores[positive])) / (len(scores) - hits)
    found[~positive] = 1 - (among_all[~positive] - stats.rankdata(scores[~positive])) / hits
    return found
