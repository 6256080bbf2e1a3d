"""How well the served answers were, once the truth is known."""

from __future__ import annotations

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import stats

from ml.errors import DataError
from ml.records.measure import Estimate
from ml.use_case import UseCase

CONFIDENCE = 0.9

#: A certain and wrong answer costs -log of this, about 34.5, instead of infinity.
SMALLEST_PROBABILITY = 1e-15


def realised_loss(labelled: pd.DataFrame, use_case: UseCase) -> Estimate:
    """Mean loss of the served answers in the metric of the gate; lower is better.

    Parameters
    ----------
    labelled
        Rows of :meth:`ml.store.lake.Lake.labelled`: ``event_time``, ``label`` and the served probabilities
        ``p_0 ..`` in the order of the class names.

    Returns
    -------
    Estimate
        ``log_loss`` in nats, ``[0, inf)``, or ``brier`` (sum over classes), ``[0, 2]``. The interval treats the rows
        of one ``gate.block`` as one draw; it is absent with fewer than two blocks. Rows without probabilities or
        with an unknown class are left out and counted in ``detail``. No usable row: ``value`` is None.

    Raises
    ------
    DataError
        A needed column is absent.

    References
    ----------
    Cochran (1977), Sampling Techniques, 3rd ed., eq. 6.9: variance of a ratio of cluster totals, clusters of
    unequal size.
    """
    served, truth = _probabilities(labelled, use_case)
    usable = np.isfinite(served).all(axis=1) & (truth >= 0)
    left_out = int(len(labelled) - usable.sum())
    detail = f"{left_out} rows without usable probabilities or class are left out" if left_out else ""
    if not usable.any():
        return Estimate(value=None, n=0, confidence=CONFIDENCE, detail=detail or "no labelled rows")
    losses = _losses(served[usable], truth[usable], use_case.gate.metric)
    blocks = labelled["event_time"][usable].dt.floor(use_case.gate.block).to_numpy()
    return _estimate(losses, blocks, detail)


def _probabilities(labelled: pd.DataFrame, use_case: UseCase) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    names = use_case.target.class_names
    columns = [f"p_{i}" for i in range(len(names))]
    lacking = [name for name in (*columns, "label", "event_time") if name not in labelled.columns]
    if lacking:
        raise DataError("labelled rows lack a column", where=", ".join(lacking), got=", ".join(labelled.columns))
    position = {name: i for i, name in enumerate(names)}
    truth = np.array([position.get(label, -1) for label in labelled["label"]], dtype=np.int64)
    return labelled[columns].to_numpy(dtype=np.float64), truth


def _losses(served: NDArray[np.float64], truth: NDArray[np.int64], metric: str) -> NDArray[np.float64]:
    """Loss per row, of shape ``(n_rows,)``."""
    rows = np.arange(len(truth))
    if metric == "log_loss":
        losses: NDArray[np.float64] = -np.log(np.clip(served[rows, truth], SMALLEST_PROBABILITY, 1.0))
        return losses
    hit = np.zeros_like(served)
    hit[rows, truth] = 1.0
    squares: NDArray[np.float64] = ((served - hit) ** 2).sum(axis=1)
    return squares


def _estimate(losses: NDArray[np.float64], blocks: NDArray[np.datetime64], detail: str) -> Estimate:
    mean, n = float(losses.mean()), len(losses)
    _, membership = np.unique(blocks, return_inverse=True)
    deviations = np.bincount(membership, weights=losses - mean)
    count = len(deviations)
    if count < 2:
        only = "; ".join(part for part in (detail, "no interval from a single block") if part)
        return Estimate(value=mean, n=n, confidence=CONFIDENCE, detail=only)
    error = float(np.sqrt(count / (count - 1) * (deviations**2).sum())) / n
    reach = float(stats.t.ppf((1 + CONFIDENCE) / 2, df=count - 1)) * error
    return Estimate(
        value=mean, n=n, low=max(mean - reach, 0.0), high=mean + reach, confidence=CONFIDENCE, detail=detail
    )
