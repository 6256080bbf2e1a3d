"""What each row weighs in a fit: less with age, more where its class is rare."""

from __future__ import annotations

from datetime import timedelta

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ml.use_case import UseCase

Floats = NDArray[np.float64]


def row_weights(rows: pd.DataFrame, use_case: UseCase) -> Floats | None:
    """Weight of each row, mean 1; None where all weigh the same.

    With ``strategy: recency_weighted`` a row weighs half of one that is ``half_life`` younger; with
    ``imbalance: balanced`` the classes weigh the same together, whatever the age of their rows.

    Parameters
    ----------
    rows
        Has ``event_time`` and ``label``.

    References
    ----------
    Klinkenberg (2004), Learning drifting concepts: example selection vs. example weighting, Intell. Data Anal. 8.
    King and Zeng (2001), Logistic regression in rare events data, Polit. Anal. 9, section 4.
    """
    training = use_case.training
    balanced = training.imbalance == "balanced" and bool(use_case.target.classes)
    if training.half_life is None and not balanced:
        return None
    weights = np.ones(len(rows))
    if training.half_life is not None:
        weights *= recency_weights(rows["event_time"], training.half_life)
    if balanced:
        weights *= balance_weights(rows["label"], weights)
    return np.asarray(weights / weights.mean(), dtype=np.float64)


def recency_weights(event_time: pd.Series, half_life: timedelta) -> Floats:
    """Half for every half life that a row is older than the newest one.

    Examples
    --------
    >>> days = pd.Series(pd.to_datetime(["2013-03-01", "2013-03-08", "2013-03-15"], utc=True))
    >>> recency_weights(days, timedelta(days=7)).tolist()
    [0.25, 0.5, 1.0]
    """
    ages = ((event_time.max() - event_time) / half_life).to_numpy(dtype=np.float64)
    return np.asarray(0.5**ages, dtype=np.float64)


def balance_weights(labels: pd.Series, weights: Floats) -> Floats:
    """Factor of each row that makes the classes' sums of weights equal."""
    codes, names = pd.factorize(labels)
    sums = np.bincount(codes, weights=weights)
    return np.asarray(weights.sum() / len(names) / sums[codes], dtype=np.float64)


def share_of_weight(rows: pd.DataFrame, part: pd.Series, use_case: UseCase) -> float:
    """Share of the whole weight that some of the rows have, ``[0, 1]``."""
    weights = row_weights(rows, use_case)
    inside = part.to_numpy(dtype=bool)
    return float(inside.mean() if weights is None else weights[inside].sum() / weights.sum())


def effective_rows(weights: Floats | None, rows: int) -> float:
    """Rows of equal weight that would be as informative, ``(sum w)^2 / sum w^2``; all of them without weights.

    References
    ----------
    Kish (1965), Survey Sampling, section 11.7.
    """
    return float(rows) if weights is None else float(weights.sum() ** 2 / (weights**2).sum())
