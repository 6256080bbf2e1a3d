"""What the gate decides on: everyone's answers to the same held-out rows, and what each model has seen."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ml.errors import DataError
from ml.evaluation.baselines import forecast_baselines
from ml.evaluation.behaviour import Behaved, Told, ask_golden_rows, try_behaviour
from ml.evaluation.metrics import LOSSES
from ml.evaluation.slices import cut_slices, groups_of
from ml.records.base import as_utc
from ml.records.decision import Parity, ServingCost
from ml.records.measure import Window
from ml.training.base_rates import forecast_base_rates
from ml.training.evenly import spread_evenly
from ml.training.parts import rows_of
from ml.use_case import UseCase

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Contender:
    """A model that meets another one.

    Attributes
    ----------
    answer
        Its answers to a feature frame, of shape ``(n_rows, n_answers)``.
    digest
        Of its graph.
    watermark
        Newest event time that it was trained on; a challenger's is read from its rows where they are at hand.
    """

    version: int
    answer: Callable[[pd.DataFrame], Floats]
    digest: str
    watermark: datetime | None = None


@dataclass(frozen=True)
class OldRegime:
    """Losses on rows from the champion's own past, and how many of them the challenger was trained on."""

    event_time: pd.DatetimeIndex
    challenger_loss: Floats
    champion_loss: Floats
    majority_loss: Floats
    trained_on: int


@dataclass(frozen=True)
class Evidence:
    """Answers and losses on the holdout, lower is better, and what the models were trained on.

    Attributes
    ----------
    champion_fault
        Why the champion cannot answer these rows; None where it can or there is none.
    same_graph
        The challenger is the champion.
    event_time, labels
        Moment, UTC, and truth of each holdout row, of shape ``(n_samples,)``.
    challenger_answers, champion_answers
        Of shape ``(n_samples, n_answers)``; the champion's are None before the first model.
    challenger_loss, champion_loss
        In the metric of the gate, of shape ``(n_samples,)``.
    baseline_losses
        The same for each baseline that the use case file asks for; none without training rows.
    watermark, champion_watermark
        Newest event time that each was trained on; the challenger's is read from the rows, not from a record.
    shared_rows
        Rows of the holdout that the challenger was trained on as well, by id or by content.
    slices
        Rows of each slice, boolean, of shape ``(n_samples,)``.
    groups
        Group of each row by protected feature.
    old_regime
        None where there is no champion, or its rows are not at hand.
    cost
        None where it was not measured.
    earlier
        p-values of the challengers that this champion has met before.
    """

    challenger_version: int
    champion_version: int | None
    champion_fault: str | None
    same_graph: bool
    holdout: Window
    event_time: pd.DatetimeIndex
    labels: NDArray[np.object_]
    challenger_answers: Floats
    champion_answers: Floats | None
    challenger_loss: Floats
    champion_loss: Floats | None
    baseline_losses: dict[str, Floats]
    watermark: datetime
    champion_watermark: datetime | None
    shared_rows: int
    parity: Parity
    slices: dict[str, NDArray[np.bool_]]
    groups: dict[str, NDArray[np.object_]]
    golden: tuple[Told, ...]
    behaviour: tuple[Behaved, ...]
    old_regime: OldRegime | None
    cost: ServingCost | None
    earlier: tuple[float, ...]

    @property
    def n(self) -> int:
        """Rows of the holdout."""
        return len(self.challenger_loss)


def collect_evidence(  # noqa: PLR0913 - two models and all that is known of them
    use_case: UseCase,
    frame: pd.DataFrame,
    *,
    holdout: Window,
    challenger: Contender,
    champion: Contender | None,
    parity: Parity,
    cost: ServingCost | None,
    past: pd.DataFrame | None,
    earlier: Sequence[float],
) -> Evidence:
    """Evidence on the holdout of a training set.

    Parameters
    ----------
    frame
        The training set's rows, with ``part``; the holdout's alone where the others are not at hand.
    parity, cost
        Of the challenger's graph.
    past
        Rows of the champion's own training set, which the challenger may have been trained on, too.
    earlier
        p-values of the challengers that this champion has met before.

    Raises
    ------
    DataError
        The challenger cannot answer, or nobody knows what it was trained on. That the champion cannot is an answer:
        ``champion_fault``.
    """
    trained, judged = rows_of(frame, "fit", "validation"), rows_of(frame, "holdout")
    labels = judged["label"].to_numpy()
    told, fault = _ask_champion(champion, judged)
    answers = challenger.answer(judged)

    def loss(found: Floats) -> Floats:
        return LOSSES[use_case.gate.metric](labels, found, use_case.answers)

    known = None if champion is None or champion.watermark is None else as_utc(champion.watermark)
    return Evidence(
        challenger_version=challenger.version,
        champion_version=None if champion is None else champion.version,
        champion_fault=fault,
        same_graph=champion is not None and champion.digest == challenger.digest,
        holdout=holdout,
        event_time=pd.DatetimeIndex(judged["event_time"]),
        labels=labels,
        challenger_answers=answers,
        champion_answers=told,
        challenger_loss=loss(answers),
        champion_loss=None if told is None else loss(told),
        baseline_losses={name: loss(each) for name, each in forecast_baselines(trained, judged, use_case).items()},
        watermark=_watermark(trained, challenger),
        champion_watermark=known,
        shared_rows=_count_shared(trained, judged, use_case),
        parity=parity,
        slices=cut_slices(trained, judged, use_case),
        groups=groups_of(judged, use_case),
        golden=ask_golden_rows(challenger.answer, use_case),
        behaviour=try_behaviour(challenger.answer, judged, use_case),
        old_regime=None if fault or champion is None else _replay(use_case, trained, past, challenger, champion),
        cost=cost,
        earlier=tuple(earlier),
    )


def _ask_champion(champion: Contender | None, rows: pd.DataFrame) -> tuple[Floats | None, str | None]:
    """Its answers, or why it has none."""
    if champion is None:
        return None, None
    try:
        return champion.answer(rows), None
    except DataError as error:
        return None, str(error)


def _watermark(trained: pd.DataFrame, challenger: Contender) -> datetime:
    if len(trained):
        newest: datetime = trained["event_time"].max().to_pydatetime()
        return newest
    if challenger.watermark is None:
        raise DataError("nobody knows what the challenger was trained on", where=f"version {challenger.version}")
    return as_utc(challenger.watermark)


def _count_shared(trained: pd.DataFrame, judged: pd.DataFrame, use_case: UseCase) -> int:
    """Rows with an id, or with moment, features and label, that were trained on."""
    columns = ["event_time", *use_case.features, "label"]
    contents = pd.util.hash_pandas_object(trained[columns], index=False)
    known = pd.util.hash_pandas_object(judged[columns], index=False).isin(contents).to_numpy()
    return int((known | _among(judged["id"], trained["id"])).sum())


def _among(ids: pd.Series, others: pd.Series) -> NDArray[np.bool_]:
    """Which ids are among others; pandas' own ``isin`` takes a tenth of a second for texts that Arrow holds."""
    known = frozenset(others.tolist())
    return np.fromiter((one in known for one in ids.tolist()), bool, len(ids))


def _replay(
    use_case: UseCase, trained: pd.DataFrame, past: pd.DataFrame | None, challenger: Contender, champion: Contender
) -> OldRegime | None:
    """The past at equal distances, so that all its seasons are in."""
    if past is None or past.empty:
        return None
    ordered = past.sort_values(["event_time", "id"], kind="stable")
    rows = ordered.iloc[spread_evenly(len(ordered), use_case.gate.old_regime.rows)]
    labels, loss = rows["label"].to_numpy(), LOSSES[use_case.gate.metric]
    own, theirs, majority = (
        loss(labels, told, use_case.answers)
        for told in (challenger.answer(rows), champion.answer(rows), forecast_base_rates(rows, rows, use_case))
    )
    known = int(_among(rows["id"], trained["id"]).sum())
    return OldRegime(pd.DatetimeIndex(rows["event_time"]), own, theirs, majority, trained_on=known)
