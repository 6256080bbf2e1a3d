"""The stages of a retraining on rows in memory, for any virtual moment: what the DAGs would have trained then."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ml.drift.answers import with_answers
from ml.errors import DataError
from ml.evaluation.describe import describe_training
from ml.evaluation.evidence import Contender, collect_evidence
from ml.evaluation.gate import decide_gate
from ml.evaluation.return_match import meet_again
from ml.records.decision import GateDecision, Parity, RetrainRequest
from ml.records.measure import Verdict, Window
from ml.records.profile import ReferenceProfile
from ml.training.assemble import InsufficientData, cut_rows
from ml.training.fit import answer_of, choose, fit_pipeline
from ml.training.learnable import check_learnable
from ml.training.parts import Split, rows_of
from ml.training.trial import try_candidate
from ml.training.tune import settled
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
    answer
        The model.
    unlearnt
        Why a retraining would have ended before the gate; rules that ask nothing deploy it all the same.
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
    answer: Callable[[pd.DataFrame], Floats]
    unlearnt: str
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
    try:
        frame, split = _known_rows(use_case, rows, as_of)
    except InsufficientData as missing:
        return str(missing)
    started = time.perf_counter()
    fit, validation, trained = rows_of(frame, "fit"), rows_of(frame, "validation"), rows_of(frame, "fit", "validation")
    unlearnt = ""
    try:
        choice = choose([try_candidate(use_case, name, fit, validation) for name in use_case.training.candidates])
        check_learnable(use_case, choice, fit, validation)
    except DataError as missing:
        return str(missing)
    except InsufficientData as missing:
        unlearnt = str(missing)
    chosen, fitted_as = choice.chosen, settled(use_case, choice.result)
    pipeline, _ = fit_pipeline(fitted_as, chosen, trained)
    seconds = time.perf_counter() - started

    answer = answer_of(pipeline, use_case)
    watermark = trained["event_time"].max()
    later = rows[rows["event_time"] > watermark]
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
        answer=answer,
        unlearnt=unlearnt,
        seconds=seconds,
    )


def judge_virtually(
    use_case: UseCase,
    rows: pd.DataFrame,
    challenger: VirtualModel,
    champion: VirtualModel,
    earlier: Sequence[float],
    *,
    at: datetime,
) -> GateDecision:
    """The gate's decision; the export to ONNX does not happen here, so it counts as exact and its cost as allowed.

    Parameters
    ----------
    rows
        The whole story.
    earlier
        p-values of the tests that this champion has stood before.
    at
        The moment; later than the challenger's own where a rejected one meets the champion again, on all that has
        become known since.
    """
    frame, split = _known_rows(use_case, rows, challenger.as_of)
    holdout = split.holdout
    if at != challenger.as_of:
        frame, holdout = meet_again(frame, _known_rows(use_case, rows, at)[0], use_case.target.horizon)
    past, _ = _known_rows(use_case, rows, champion.as_of)
    parity = Parity(n=len(frame), flips=0, allowed_flips=0, largest_difference=0.0, verdict=Verdict.PASS)
    gate = use_case.gate.model_copy(update={"latency_ms": None, "size_mb": None})
    use_case = use_case.model_copy(update={"gate": gate})
    evidence = collect_evidence(
        use_case,
        frame,
        holdout=holdout,
        challenger=Contender(2, challenger.answer, str(challenger.as_of)),
        champion=Contender(1, champion.answer, str(champion.as_of), champion.watermark),
        parity=parity,
        cost=None,
        past=past,
        earlier=earlier,
    )
    return decide_gate(evidence, use_case)


def _known_rows(use_case: UseCase, rows: pd.DataFrame, as_of: datetime) -> tuple[pd.DataFrame, Split]:
    """Rows whose truth was known at a moment, cut as a retraining cuts them.

    Raises
    ------
    InsufficientData
        They are too few.
    """
    request = RetrainRequest(key="backtest", use_case=use_case.name, as_of=as_of, reason="backtest", actor="monitor")
    known = rows[rows["event_time"] <= pd.Timestamp(as_of) - use_case.target.maturity]
    return cut_rows(use_case, known, request, champion_watermark=None)
