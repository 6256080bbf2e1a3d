"""How well the served answers were, once the truth is known."""

from __future__ import annotations

import numpy as np
import pandas as pd

from ml.errors import DataError
from ml.records.measure import Estimate
from ml.training.block_interval import mean_over_blocks
from ml.training.loss import LOSSES
from ml.use_case import UseCase


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
        ``log_loss`` in nats, ``[0, inf)``, or ``brier`` (sum over classes), ``[0, 2]``. The interval is that of
        :func:`ml.training.block_interval.mean_over_blocks` with ``gate.block``, cut off at 0. Rows without
        probabilities or with an unknown class are left out and counted in ``detail``. No usable row: ``value`` is
        None.

    Raises
    ------
    DataError
        A needed column is absent.
    """
    classes = use_case.target.class_names
    columns = [f"p_{i}" for i in range(len(classes))]
    lacking = [name for name in (*columns, "label", "event_time") if name not in labelled.columns]
    if lacking:
        raise DataError("labelled rows lack a column", where=", ".join(lacking), got=", ".join(labelled.columns))
    usable = labelled[labelled["label"].isin(classes) & np.isfinite(labelled[columns].to_numpy()).all(axis=1)]
    losses = LOSSES[use_case.gate.metric](usable["label"].to_numpy(), usable[columns].to_numpy(), classes)
    found = mean_over_blocks(losses, usable["event_time"], block=use_case.gate.block)
    left_out = len(labelled) - len(usable)
    told = f"{left_out} rows without usable probabilities or class are left out" if left_out else ""
    return found.model_copy(
        update={
            "low": None if found.low is None else max(found.low, 0.0),
            "detail": "; ".join(part for part in (told, found.detail) if part),
        }
    )
