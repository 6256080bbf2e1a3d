"""One history on a virtual clock: every model, check and meeting is computed once, whichever policy asks."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import partial

import numpy as np
import pandas as pd
from joblib import Parallel, delayed
from numpy.typing import NDArray

from ml.drift.calibrate import rule_of
from ml.drift.multivariate import check_together, frame_sides, live_profile
from ml.errors import DataError
from ml.policy.decide import LiveEvidence
from ml.policy.live import PAIRS_TO_LOOK_BACK, compare_live, estimated_loss, realised_loss, trust_estimates
from ml.policy.reducible import reducible_loss
from ml.records.base import as_utc
from ml.records.decision import DriftCheck, GateDecision, MonitorDecision
from ml.records.measure import Estimate, Window
from ml.simulation.virtual_stages import VirtualModel, judge_virtually, train_virtually
from ml.training.loss import LOSSES
from ml.training.parts import shortest_history
from ml.use_case import UseCase

Floats = NDArray[np.float64]
Progress = Callable[[str, float], None]


@dataclass
class VirtualHistory:
    """One history with everything that was computed on it, each thing once."""

    use_case: UseCase
    rows: pd.DataFrame
    ends: tuple[datetime, ...]
    models: dict[datetime, VirtualModel | str]
    checks: dict[tuple[datetime, datetime], DriftCheck] = field(default_factory=dict)
    gains: dict[tuple[datetime, datetime, float], Estimate] = field(default_factory=dict)
    live: dict[tuple[datetime, datetime], tuple[Estimate, Estimate]] = field(default_factory=dict)
    gates: dict[tuple[datetime, datetime, datetime, float, tuple[float, ...]], GateDecision] = field(
        default_factory=dict
    )

    def between(self, start: datetime, end: datetime) -> slice:
        """Rows of ``start <= event time < end``."""
        first, last = np.searchsorted(self._times, [_ticks(start), _ticks(end)])
        return slice(int(first), int(last))

    def __post_init__(self) -> None:
        self._times = self.rows["event_time"].dt.tz_convert("UTC").dt.tz_localize(None).to_numpy("datetime64[us]")

    def answered(self, model: VirtualModel, part: slice) -> pd.DataFrame:
        """Rows with the model's answers."""
        told = model.answers(part)
        return self.rows.iloc[part].assign(**{f"p_{i}": told[:, i] for i in range(told.shape[1])})

    def losses(self, model: VirtualModel, part: slice) -> Floats:
        """The metric per row."""
        labels = self.rows["label"].to_numpy()[part]
        loss = LOSSES[self.use_case.gate.metric]
        return loss(labels, model.answers(part), self.use_case.answers)


def open_history(use_case: UseCase, rows: pd.DataFrame, start: datetime | None, show: Progress) -> VirtualHistory:
    """A history cut into windows, with the model of each window's end.

    Raises
    ------
    DataError
        It is too short for a first model and two windows.
    """
    window = use_case.monitoring.window
    rows = rows.sort_values(["event_time", "id"], ignore_index=True)
    if rows.empty:
        raise DataError("history has no usable row", where=use_case.name, got="0 rows")
    oldest, newest = rows["event_time"].iloc[0].to_pydatetime(), rows["event_time"].iloc[-1].to_pydatetime()
    begin = as_utc(start or use_case.training.history.until or oldest + shortest_history(use_case) + 9 * window)
    rows = rows.assign(source=np.where(rows["event_time"] < pd.Timestamp(begin), "history", "live"))
    ends, slack = [begin], newest - rows["event_time"].iloc[-2].to_pydatetime() if len(rows) > 1 else timedelta(0)
    while ends[-1] + window <= newest + max(slack, timedelta(hours=1)):
        ends.append(ends[-1] + window)
    if len(ends) < 3:
        raise DataError(
            "history is too short for a backtest",
            where=f"{use_case.name}: live from {begin:%Y-%m-%d}",
            got=f"{len(ends) - 1} windows until {newest:%Y-%m-%d}",
            allowed="at least 2 windows of monitoring.window",
        )
    models = _train_all(use_case, rows, ends[:-1], show)
    first = models[begin]
    if isinstance(first, str):
        raise DataError("no first model can be trained", where=f"{use_case.name} as of {begin:%Y-%m-%d}", got=first)
    return VirtualHistory(use_case, rows, tuple(ends), models)


def _train_all(
    use_case: UseCase, rows: pd.DataFrame, moments: list[datetime], show: Progress
) -> dict[datetime, VirtualModel | str]:
    """Models of all moments, newest first since they take longest."""
    order = sorted(moments, reverse=True)
    train = delayed(partial(train_virtually, use_case, rows))
    found: dict[datetime, VirtualModel | str] = {}
    fits = Parallel(n_jobs=-1, return_as="generator", batch_size=1)(train(moment) for moment in order)
    for number, (moment, model) in enumerate(zip(order, fits, strict=True)):
        found[moment] = model
        show(f"trained as of {moment:%Y-%m-%d}", 0.8 * (number + 1) / len(order))
    return found


def judge_once(
    story: VirtualHistory,
    use_case: UseCase,
    models: tuple[datetime, datetime],
    moment: datetime,
    earlier: tuple[float, ...],
) -> GateDecision:
    """The gate on a challenger and the champion, once."""
    key = (*models, moment, use_case.gate.level, earlier)
    if key not in story.gates:
        challenger, champion = (model_of(story, model) for model in models)
        story.gates[key] = judge_virtually(use_case, story.rows, challenger, champion, earlier, at=moment)
    return story.gates[key]


def check_once(
    story: VirtualHistory, champion: datetime, start: datetime, end: datetime, earlier: tuple[DriftCheck, ...]
) -> DriftCheck:
    """The drift check of a window against the training data of the model that serves."""
    key = (champion, end)
    rule = rule_of(story.use_case)
    if key in story.checks and rule.of == 1:
        return story.checks[key]
    model, window = model_of(story, champion), Window(start=start, end=end)
    reference, rows = model.reference, model.describe(story.rows, story.between(start, end))
    story.checks[key] = check_together(
        reference,
        live_profile(rows, reference, window=window, context=rule.context),
        rule,
        sides=frame_sides(lambda: model.trained_rows(story.rows), lambda: rows, story.use_case, reference.whole),
        window=window,
        model_version=story.ends.index(champion),
        earlier=earlier,
    )
    return story.checks[key]


def evidence_once(
    story: VirtualHistory,
    use_case: UseCase,
    models: tuple[datetime, datetime | None],
    window: Window,
    decided: list[MonitorDecision],
) -> LiveEvidence:
    """The same as :func:`ml.policy.live.gather_evidence`, from what is kept."""
    champion, rejected = models
    model, end = model_of(story, champion), window.end
    known = end - use_case.target.maturity + timedelta(microseconds=1)
    unseen = as_utc(model.watermark) + timedelta(microseconds=1)
    oldest = max(unseen, end - use_case.retraining.evidence, story.ends[0])
    part = story.between(oldest, min(known, end))
    key = (champion, end, use_case.retraining.level)
    if key not in story.gains:
        story.gains[key] = reducible_loss(story.answered(model, part), use_case)
    if key[:2] not in story.live:
        inside = story.between(window.start, end)
        labelled = slice(inside.start, min(inside.stop, part.stop))
        story.live[key[:2]] = (
            realised_loss(story.answered(model, labelled), use_case),
            estimated_loss(story.answered(model, inside), use_case, model.reference.errors),
        )
    live, estimated = story.live[key[:2]]
    rows = story.rows["event_time"].iloc[part]
    pairs = [(d.estimated_loss, d.live_loss) for d in reversed(decided) if d.estimated_loss is not None]
    return LiveEvidence(
        labelled=len(rows),
        reducible=story.gains[key],
        span=(end - rows.iloc[0].to_pydatetime()) if len(rows) else timedelta(0),
        live_loss=live,
        estimated_loss=estimated,
        estimate_trusted=trust_estimates(pairs[:PAIRS_TO_LOOK_BACK]),
        ahead=None if rejected is None else _ahead(story, use_case, model, model_of(story, rejected), part),
    )


def _ahead(
    story: VirtualHistory, use_case: UseCase, champion: VirtualModel, challenger: VirtualModel, part: slice
) -> Estimate:
    """The rejected challenger on the labelled rows that it has not seen."""
    unseen = as_utc(challenger.watermark) + use_case.target.horizon + timedelta(microseconds=1)
    rows = slice(max(part.start, story.between(unseen, story.ends[-1]).start), part.stop)
    rows = slice(min(rows.start, rows.stop), rows.stop)
    return compare_live(story.rows.iloc[rows], champion.answers(rows), challenger.answers(rows), use_case)


def model_of(story: VirtualHistory, moment: datetime) -> VirtualModel:
    """The model of a moment.

    Raises
    ------
    DataError
        None was trained.
    """
    model = story.models[moment]
    if isinstance(model, str):  # pragma: no cover - only trained models are deployed
        raise DataError("no model was trained", where=f"{moment:%Y-%m-%d}", got=model)
    return model


def _ticks(moment: datetime) -> np.datetime64:
    return np.datetime64(as_utc(moment).replace(tzinfo=None), "us")
