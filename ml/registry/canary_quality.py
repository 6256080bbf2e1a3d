"""A canary's answers against the truth, where it comes soon enough: losses of both versions, as evidence."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ml.evaluation.betting import add_losses
from ml.evaluation.metrics import LOSSES
from ml.records.release import LossEvidence
from ml.registry.share import falls_into
from ml.store.fresh import read_fresh_labels
from ml.store.lake import Lake
from ml.use_case import UseCase

if TYPE_CHECKING:
    import pandas as pd
    from numpy.typing import NDArray

#: Labels are looked at this often: each look ingests what the replicas have captured.
QUALITY_SECONDS = 5.0
#: A label this old is in the lake, and so is every one that came before it.
SETTLED = timedelta(seconds=2)


def weigh_losses(
    lake: Path, outbox: Path, use_case: UseCase, *, since: datetime, now: datetime, share: float
) -> LossEvidence:
    """Evidence that the candidate answers worse, from all labels of answers given since the canary began.

    Nothing is kept between looks: the same labels give the same evidence, in the order in which they came.

    Raises
    ------
    PerennialError
        The lake or an outbox cannot be used; nothing is lost.
    """
    Lake(lake, use_case).ingest(outbox)
    rows = read_fresh_labels(lake, use_case, since=since, until=now - SETTLED)
    return add_losses(LossEvidence(), deal_losses(rows, use_case, share), share)


def deal_losses(rows: pd.DataFrame, use_case: UseCase, share: float) -> Iterator[tuple[float, bool]]:
    """Mean loss of each request, and whether it was dealt to the candidate, in the order of its first label.

    A request counts once: its rows were dealt together. Who was meant to answer counts, not who did: a client that
    insists on a version, or a replica that is late, would else tip the scale.

    Parameters
    ----------
    rows
        As :func:`ml.store.fresh.read_fresh_labels` gives them.
    """
    losses = bounded_losses(rows, use_case)
    seen: set[str] = set()
    for _, group in rows.assign(loss=losses).groupby(["told_by", "request_id"], sort=False):
        request_id = str(group["request_id"].iloc[0])
        if request_id not in seen:
            seen.add(request_id)
            yield float(group["loss"].mean()), falls_into(request_id, share)


def bounded_losses(rows: pd.DataFrame, use_case: UseCase) -> NDArray[np.float64]:
    """Loss of each row, ``[0, 1]``: half the Brier score, errors where the gate counts those, of a number its distance.

    A number's distance is told in widths of the target's range.
    """
    labels = rows["label"].to_numpy()
    told = rows[[f"p_{place}" for place in range(len(use_case.answers))]].to_numpy(np.float64)
    if use_case.regression:
        low, high = use_case.target.range or (0.0, 1.0)
        distance = LOSSES["absolute_error"](labels, told, use_case.answers)
        return np.minimum(distance / (high - low), 1.0)
    if use_case.gate.metric == "error_rate":
        return LOSSES["error_rate"](labels, told, use_case.answers)
    return LOSSES["brier"](labels, told, use_case.answers) / 2
