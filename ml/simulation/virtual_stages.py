"""The stages of a retraining on rows in memory, for any virtual moment: what the DAGs would have trained then."""

from __future__ import annotations

import time
from dataclasses import dataclass
from datetime import datetime

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ml.drift.answers import with_answers
from ml.evaluation.baselines import forecast_majority, forecast_persistence
from ml.evaluation.describe import describe_training
from ml.evaluation.evidence import Evidence
from ml.evaluation.gate import decide_gate
from ml.records.decision import GateDecision, Parity, RetrainRequest
from ml.records.measure import Verdict, Window
from ml.records.profile import ReferenceProfile
from ml.training.assemble import InsufficientData, cut_rows
from ml.training.fit import answer_of, choose, fit_pipeline
from ml.training.loss import LOSSES
from ml.training.parts import rows_of
from ml.training.trial import try_candidate
from ml.training.tune import needs_trial, settled
from ml.use_case import UseCase

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class VirtualModel:
    """What a retraining as of a moment leads to.

    Attributes
    ----------
    as_of
        The virtual moment.
    watermark
        Newest event time that it was trained on.
    holdout
        Rows that it has not seen, newest part of what was known.
    trained_ids
        Of the rows that it was trained on; empty unless the domain classifier asks for them.
    first_row
        Position in the story's rows of the first one after the watermark.
    probabilities
        Answers to the story's rows from ``first_row`` on.
    described
        The same as columns that drift, :func:`ml.drift.answers.answer_columns`, where the reference has them.
    seconds
        Spent on fitting all candidates.
    """

    as_of: datetime
    chosen: str
    watermark: datetime
    holdout: Window
    trained_ids: tuple[str, ...]
    first_row: int
    probabilities: Floats
    reference: ReferenceProfile
    described: pd.DataFrame
    baselines: dict[str, Floats]
    seconds: float

    def answers(self, rows: slice) -> Floats:
        """Probabilities of a range of the story's rows, none of them trained on."""
        return self.probabilities[rows.start - self.first_row : rows.stop - self.first_row]

    def describe(self, story: pd.DataFrame, rows: slice) -> pd.DataFrame:
        """A range of the story's rows with the columns of its answers."""
        told = self.described.iloc[rows.start - self.first_row : rows.stop - self.first_row]
        return story.iloc[rows].join(told)

    def trained_rows(self, story: pd.DataFrame) -> pd.DataFrame:
        """Rows of the story that it was trained on."""
        return story[story["id"].isin(self.trained_ids)]


def train_virtually(use_case: UseCase, rows: pd.DataFrame, as_of: datetime) -> VirtualModel | str:
    """Fit every candidate as of a moment, choose, refit; or why there is not enough data.

    Parameters
    ----------
    rows
        The whole story, usable rows with ``id``, ``event_time``, features, ``label`` and ``source``, in order of
        time; only those whose truth was known at ``as_of`` are used.
    """
    request = RetrainRequest(key="backtest", use_case=use_case.name, as_of=as_of, reason="backtest", actor="monitor")
    known = rows[rows["event_time"] <= pd.Timestamp(as_of) - use_case.target.maturity]
    try:
        frame, split = cut_rows(use_case, known, request, champion_watermark=None)
    except InsufficientData as missing:
        return str(missing)
    started = time.perf_counter()
    fit, validation, trained = rows_of(frame, "fit"), rows_of(frame, "validation"), rows_of(frame, "fit", "validation")
    names = tuple(use_case.training.candidates)
    chosen, fitted_as = names[0], use_case
    if len(names) > 1 or needs_trial(use_case, chosen):
        choice = choose([try_candidate(use_case, name, fit, validation) for name in names])
        chosen, fitted_as = choice.chosen, settled(use_case, choice.result)
    pipeline, _ = fit_pipeline(fitted_as, chosen, trained)
    seconds = time.perf_counter() - started

    answer = answer_of(pipeline, use_case)
    watermark = trained["event_time"].max()
    later = rows[rows["event_time"] > watermark]
    holdout = rows_of(frame, "holdout")
    reference = describe_training(fitted_as, chosen, trained, answer, fingerprint="")
    return VirtualModel(
        as_of=as_of,
        chosen=chosen,
        watermark=watermark.to_pydatetime(),
        holdout=split.holdout,
        trained_ids=tuple(trained["id"]) if "domain_classifier" in use_case.monitoring.multivariate else (),
        first_row=len(rows) - len(later),
        probabilities=answer(later),
        reference=reference,
        described=with_answers(later, answer, use_case, reference.whole)[list(reference.roles)],
        baselines=_baselines(use_case, trained, holdout),
        seconds=seconds,
    )


def judge_virtually(
    use_case: UseCase, rows: pd.DataFrame, challenger: VirtualModel, champion: VirtualModel
) -> GateDecision:
    """The gate's decision; the export to ONNX, which does not happen here, counts as exact."""
    times = rows["event_time"]
    inside = (times >= challenger.holdout.start) & (times < challenger.holdout.end)
    known = times <= pd.Timestamp(challenger.as_of) - use_case.target.maturity
    where = np.flatnonzero((inside & known).to_numpy())
    part = slice(int(where[0]), int(where[-1]) + 1)
    holdout = rows.iloc[part]
    loss, labels = LOSSES[use_case.gate.metric], holdout["label"].to_numpy()
    classes = use_case.answers
    parity = Parity(n=len(holdout), flips=0, allowed_flips=0, largest_difference=0.0, verdict=Verdict.PASS)
    return decide_gate(
        Evidence(
            challenger_version=2,
            champion_version=1,
            holdout=challenger.holdout,
            event_time=pd.DatetimeIndex(holdout["event_time"]),
            challenger_loss=loss(labels, challenger.answers(part), classes),
            champion_loss=loss(labels, champion.answers(part), classes),
            baseline_losses={name: loss(labels, told, classes) for name, told in challenger.baselines.items()},
            watermark=challenger.watermark,
            champion_watermark=champion.watermark,
            shared_ids=0,
            parity=parity,
        ),
        use_case,
    )


def _baselines(use_case: UseCase, trained: pd.DataFrame, holdout: pd.DataFrame) -> dict[str, Floats]:
    found = {}
    if use_case.baselines.persistence is not None:
        found["persistence"] = forecast_persistence(trained, holdout, use_case)
    if use_case.baselines.majority:
        found["majority"] = forecast_majority(trained, holdout, use_case)
    return found
