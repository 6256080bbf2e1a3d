"""The forecast that knows nothing of a row: shares of the classes, mean or median of a number."""

from __future__ import annotations

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ml.use_case import UseCase

#: Rows of every class that are added to what was counted, so that nothing is impossible (Laplace's rule).
_PRIOR = 1.0


def forecast_base_rates(trained: pd.DataFrame, judged: pd.DataFrame, use_case: UseCase) -> NDArray[np.float64]:
    """Every row gets the shares of the classes among the trained rows; of a regression the mean of their labels.

    With ``gate.metric: absolute_error`` it is their median, which then is the best of all constants.

    Parameters
    ----------
    trained, judged
        Feature frames with ``label``; labels of ``judged`` are not looked at.

    Returns
    -------
    ndarray of shape ``(n_judged, len(use_case.answers))``
    """
    if use_case.regression:
        centre = np.median if use_case.gate.metric == "absolute_error" else np.mean
        return np.full((len(judged), 1), float(centre(trained["label"].to_numpy(dtype=np.float64))))
    return np.tile(class_shares(trained["label"], use_case), (len(judged), 1))


def class_shares(labels: pd.Series, use_case: UseCase) -> NDArray[np.float64]:
    """Of each class, in the order of ``use_case.answers``, with one more of each."""
    counts = np.array([(labels == name).sum() for name in use_case.target.class_names]) + _PRIOR
    shares: NDArray[np.float64] = counts / counts.sum()
    return shares
