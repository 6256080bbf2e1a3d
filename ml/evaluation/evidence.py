"""What the gate decides on: losses of everyone on the same held-out rows, and what each model has seen."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ml.evaluation.baselines import forecast_majority, forecast_persistence
from ml.evaluation.metrics import LOSSES
from ml.evaluation.predict import predict
from ml.records.base import as_utc
from ml.records.decision import Parity, TrainingSet
from ml.records.measure import Window
from ml.training.parts import rows_of
from ml.use_case import UseCase

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Evidence:
    """Losses on the holdout, lower is better, and what the models were trained on.

    Attributes
    ----------
    event_time
        Moment of each holdout row, UTC, of shape ``(n_samples,)``.
    challenger_loss, champion_loss
        In the metric of the gate, of shape ``(n_samples,)``; the champion's is None before the first model.
    baseline_losses
        The same for each baseline that the use case file asks for, ``persistence`` and ``majority``.
    watermark, champion_watermark
        Newest event time that each was trained on; the challenger's is read from the rows, not from a record.
    shared_ids
        Rows of the holdout that the challenger was trained on as well.
    """

    challenger_version: int
    champion_version: int | None
    holdout: Window
    event_time: pd.DatetimeIndex
    challenger_loss: Floats
    champion_loss: Floats | None
    baseline_losses: dict[str, Floats]
    watermark: datetime
    champion_watermark: datetime | None
    shared_ids: int
    parity: Parity

    @property
    def n(self) -> int:
        """Rows of the holdout."""
        return len(self.challenger_loss)


def collect_evidence(  # noqa: PLR0913 - two models, each with version, folder and data
    use_case: UseCase,
    frame: pd.DataFrame,
    *,
    training_set: TrainingSet,
    challenger_version: int,
    challenger: Path,
    parity: Parity,
    champion_version: int | None,
    champion: Path | None,
    champion_watermark: datetime | None,
) -> Evidence:
    """Evidence on the holdout of a training set.

    Parameters
    ----------
    frame
        The training set's rows, with ``part``.
    challenger, champion
        Package folders; ``champion`` is None before the first model.
    parity
        Of the challenger's graph.

    Raises
    ------
    DataError
        A package is damaged, has other classes, or needs a column that the frame lacks.
    """
    trained, holdout = rows_of(frame, "fit", "validation"), rows_of(frame, "holdout")
    labels, classes = holdout["label"].to_numpy(), use_case.answers

    def losses(probabilities: Floats) -> Floats:
        return LOSSES[use_case.gate.metric](labels, probabilities, classes)

    forecasts = {"majority": forecast_majority} if use_case.baselines.majority else {}
    if use_case.baselines.persistence is not None:
        forecasts = {"persistence": forecast_persistence} | forecasts
    return Evidence(
        challenger_version=challenger_version,
        champion_version=champion_version,
        holdout=training_set.holdout,
        event_time=pd.DatetimeIndex(holdout["event_time"]),
        challenger_loss=losses(predict(challenger, holdout, use_case)),
        champion_loss=None if champion is None else losses(predict(champion, holdout, use_case)),
        baseline_losses={name: losses(forecast(trained, holdout, use_case)) for name, forecast in forecasts.items()},
        watermark=trained["event_time"].max().to_pydatetime(),
        champion_watermark=None if champion_watermark is None else as_utc(champion_watermark),
        shared_ids=int(holdout["id"].isin(trained["id"]).sum()),
        parity=parity,
    )
