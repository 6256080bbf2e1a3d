"""Expected calibration error: how far probabilities are from the shares of what happened."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


def calibration_tables(probabilities: Floats, truth: NDArray[np.int64], *, bins: int) -> Floats:
    """Per row what it adds to the sums that the error is made of.

    The probability of each class but the first is looked at (of two classes the second's says all, of more every
    class's own), in bins that hold equal numbers of rows.

    Parameters
    ----------
    probabilities
        Of shape ``(n_samples, n_classes)``.
    truth
        Column of what happened, of shape ``(n_samples,)``.

    Returns
    -------
    ndarray of shape ``(n_samples, n_looked_at * bins)``
        In a row's bin its probability minus whether it happened, divided by the rows; 0 elsewhere. Hence
        :func:`error_of` of the columns' sums is the error, of all rows and of any resample of them.
    """
    rows, classes = probabilities.shape
    looked_at = range(1, classes) if classes == 2 else range(classes)
    parts = []
    for column in looked_at:
        found = probabilities[:, column]
        table = np.zeros((rows, bins))
        table[np.arange(rows), bins_of(found, bins)] = found - (truth == column)
        parts.append(table / max(rows * len(looked_at), 1))
    return np.concatenate(parts, axis=1)


def bins_of(said: Floats, bins: int) -> NDArray[np.int64]:
    """Bin of each value, from 0, in bins that hold equal numbers of rows; fewer where values are equal.

    Parameters
    ----------
    said
        Of shape ``(n_samples,)``.

    Examples
    --------
    >>> bins_of(np.array([0.1, 0.4, 0.2, 0.9]), 2).tolist()
    [0, 1, 0, 1]
    """
    edges = np.unique(np.quantile(said, np.arange(1, bins) / bins)) if len(said) else np.array([])
    return np.searchsorted(edges, said, side="left").astype(np.int64)


def error_of(sums: Floats) -> Floats:
    """Expected calibration error, ``[0, 1]``, lower is better: mean over classes of the bins' gaps by their rows.

    Parameters
    ----------
    sums
        Over rows of :func:`calibration_tables`, of shape ``(..., n_looked_at * bins)``.

    References
    ----------
    Naeini, Cooper and Hauskrecht (2015), Obtaining well calibrated probabilities using Bayesian binning, AAAI; bins of
    equal mass: Nixon et al. (2019), Measuring calibration in deep learning, CVPR workshops, section 3.

    Examples
    --------
    Nine in ten is said of ten rows, and eight of them happen:

    >>> said, truth = np.tile([0.1, 0.9], (10, 1)), np.array([1] * 8 + [0] * 2)
    >>> round(float(error_of(calibration_tables(said, truth, bins=10).sum(axis=0))), 3)
    0.1
    """
    found: Floats = np.abs(sums).sum(axis=-1)
    return found
