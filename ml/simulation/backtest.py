"""Retraining policies on a use case's own history, with the stages of the DAGs on a virtual clock."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
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
from ml.policy.decide import LiveEvidence, Past, decide
from ml.policy.live import PAIRS_TO_LOOK_BACK, compare_live, estimated_loss, realised_loss, trust_estimates
from ml.policy.reducible import reducible_loss
from ml.records.backtest import Backtest, BacktestDecision, PolicyResult
from ml.records.base import as_utc
from ml.records.decision import DriftCheck, GateDecision, MonitorDecision
from ml.records.measure import Estimate, Window
from ml.simulation.virtual_stages import VirtualModel, judge_virtually, train_virtually
from ml.training.loss import LOSSES
from ml.training.parts import shortest_history
from ml.use_case import UseCase

Floats = NDArray[np.float64]
Progress = Callable[[str, float], None]

#: Rules that are usual: every k windows, and a mean population stability index above a bound.
EVERY = (1, 2, 4, 8)
PSI_BOUNDS = (0.1, 0.2, 0.5, 1.0)
#: Factors of the file's own settings that the grid of ours tries.
LEVELS = (0.01, 0.05, 0.1, 0.2)
COSTS = (0.25, 1.0, 4.0)
#: Best moments in hindsight are told for up to this many retrainings.
HINDSIGHT = 6


#: What became of a challenger by what the gate decided; a reviewer is taken to approve.
OUTCOMES = {"promote": "promoted", "review": "promoted", "reject": "rejected"}


@dataclass
class _Story:
    """One history with everything that was computed on it, each thing once."""

    use_case: UseCase
    rows: pd.DataFrame
    ends: tuple[datetime, ...]
    models: dict[datetime, VirtualModel | str]
    checks: dict[tuple[datetime, datetime], DriftCheck] = field(default_factory=dict)
    gains: dict[tuple[datetime, datetime, float], Estimate] = field(default_factory=dict)
    live: dict[tuple[datetime, datetime], tuple[Estimate, Estimate]] = field(default_factory=dict)
    gates: dict[tuple[datetime, datetime, float, tuple[float, ...]], GateDecision] = field(default_factory=dict)

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


def run_backtest(
    use_case: UseCase, rows: pd.DataFrame, *, start: datetime | None, grid: bool, show: Progress
) -> Backtest:
    """Trade-off of retraining policies on a history.

    The clock goes from window to window: the champion answers, its answers are checked, the policy decides, and a
    retraining as of that moment is fitted on what was known, judged by the gate and deployed from the next row on.
    Every model is fitted once, whoever asks for it; fits run on all cores.

    Parameters
    ----------
    rows
        Usable rows of all time: ``id``, ``event_time``, the features and ``label``.
    start
        Where live traffic begins; None takes ``training.history.until``, else the first moment at which a model can
        be trained and its reference calibrated.
    grid
        Whether to try other levels and costs beside the file's own.

    Raises
    ------
    DataError
        The history is too short for a first model and two windows.
    """
    began = time.monotonic()
    story = _prepare(use_case, rows, start, show)
    first, live = story.ends[0], story.between(story.ends[0], story.ends[-1])
    policies = [_never(story), *_usual(story)]
    settings = list(_settings(use_case)) if grid else [(use_case, {})]
    for number, (variant, changed) in enumerate(settings):
        show(f"policy {number + 1} of {len(settings)}", 0.8 + 0.2 * number / len(settings))
        policies.append(_ours(story, variant, changed))
    policies += _hindsight(story)
    recommended, explanation = _recommend(policies, use_case)
    return Backtest(
        use_case=use_case.name,
        metric=use_case.gate.metric,
        start=first,
        end=story.ends[-1],
        rows=live.stop - live.start,
        currency=use_case.retraining.currency,
        cost_of_retraining=use_case.retraining.cost_of_retraining,
        policies=tuple(policies),
        recommended=recommended.name,
        recommended_settings=recommended.settings,
        explanation=explanation,
        seconds=round(time.monotonic() - began, 2),
    )


def _prepare(use_case: UseCase, rows: pd.DataFrame, start: datetime | None, show: Progress) -> _Story:
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
    return _Story(use_case, rows, tuple(ends), models)


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


def _settings(use_case: UseCase) -> Iterator[tuple[UseCase, dict[str, float]]]:
    """The file's own settings first, then the grid around them."""
    own = use_case.retraining
    yield use_case, {}
    for level in sorted({own.level, *LEVELS}):
        for cost in (own.cost_of_retraining * factor for factor in COSTS):
            changed = {}
            if level != own.level:
                changed["level"] = level
            if cost != own.cost_of_retraining:
                changed["cost_of_retraining"] = cost
            if changed:
                yield use_case.model_copy(update={"retraining": own.model_copy(update=changed)}), changed


def _never(story: _Story) -> PolicyResult:
    return _deploy(story, "never", "rule", set())


def _usual(story: _Story) -> Iterator[PolicyResult]:
    inner = story.ends[1:-1]
    for k in EVERY:
        name = "every window" if k == 1 else f"every {k} windows"
        yield _deploy(story, name, "rule", set(inner[k - 1 :: k]))
    for bound in PSI_BOUNDS:
        yield _by_psi(story, bound)


def _by_psi(story: _Story, bound: float) -> PolicyResult:
    """The usual rule: mean PSI of the window against the training data of the model that serves."""
    champion, moments = story.ends[0], set()
    for start, end in zip(story.ends, story.ends[1:-1], strict=False):
        check = _check(story, champion, start, end, ())
        values = [column.value for column in check.columns if column.statistic == "psi" and column.value is not None]
        if values and float(np.mean(values)) > bound and isinstance(story.models[end], VirtualModel):
            moments.add(end)
            champion = end
    return _deploy(story, f"mean PSI > {bound:g}", "rule", moments)


def _deploy(story: _Story, name: str, kind: str, moments: set[datetime]) -> PolicyResult:
    """Retrain at given moments and deploy every time."""
    champion, total, seconds = story.ends[0], 0.0, 0.0
    trained = [moment for moment in sorted(moments) if isinstance(story.models[moment], VirtualModel)]
    for start, end in zip(story.ends, story.ends[1:], strict=False):
        if start in trained:
            champion = start
            seconds += _model(story, champion).seconds
        total += float(story.losses(_model(story, champion), story.between(start, end)).sum())
    decisions = [BacktestDecision(as_of=end, retrain=end in trained) for end in story.ends[1:]]
    return _result(story, name, kind, total, (len(trained), len(trained)), seconds, decisions)


def _ours(story: _Story, use_case: UseCase, changed: dict[str, float]) -> PolicyResult:
    """The stages of the DAGs."""
    champion, past, total, seconds = story.ends[0], Past(), 0.0, 0.0
    rejected: datetime | None = None
    earlier: tuple[float, ...] = ()
    decided: list[MonitorDecision] = []
    told: list[BacktestDecision] = []
    retrainings = promoted = 0
    for start, end in zip(story.ends, story.ends[1:], strict=False):
        model = _model(story, champion)
        total += float(story.losses(model, story.between(start, end)).sum())
        check = _check(story, champion, start, end, tuple(d.check for d in reversed(decided)))
        evidence = _evidence(story, use_case, (champion, rejected), Window(start=start, end=end), decided)
        decision = decide(check, evidence, past, use_case=use_case, as_of=end)
        decided.append(decision)
        outcome, reasons = None, decision.reasons
        if decision.action == "retrain" and end in story.models:
            gate = _retrain(story, use_case, champion, end, earlier)
            if isinstance(gate, str):
                outcome, reasons = "insufficient_data", (*reasons, gate)
            else:
                outcome, reasons = OUTCOMES[gate.decision], reasons + gate.reasons
                retrainings += 1
                seconds += _model(story, end).seconds
                past = Past(((end, outcome, "monitor"), *past.retrainings))
                rejected = end if outcome == "rejected" else None
                earlier += () if gate.p is None else (gate.p,)
            if outcome == "promoted":
                promoted, champion, earlier = promoted + 1, end, ()
        told.append(
            BacktestDecision(
                as_of=end,
                retrain=decision.action == "retrain",
                outcome=outcome,
                drift_score=check.score,
                threshold=check.threshold,
                verdict=check.verdict,
                avoidable=evidence.reducible.value,
                reasons=reasons,
            )
        )
    name = "shipped settings" if not changed else ", ".join(f"{key} {value:g}" for key, value in changed.items())
    result = _result(story, name, "ours", total, (retrainings, promoted), seconds, told)
    verdicts = [decision.verdict for decision in told]
    update = {"settings": changed, "alarms": verdicts.count("drift"), "undecidable": verdicts.count("undecidable")}
    return result.model_copy(update=update)


def _retrain(
    story: _Story, use_case: UseCase, champion: datetime, moment: datetime, earlier: tuple[float, ...]
) -> GateDecision | str:
    """What the gate decides about a challenger as of a moment, or why there is none."""
    challenger = story.models[moment]
    if isinstance(challenger, str) or challenger.unlearnt:
        return challenger if isinstance(challenger, str) else challenger.unlearnt
    serving = _model(story, champion)
    if challenger.holdout.start < as_utc(serving.watermark) + use_case.target.horizon:
        return "The champion was trained on rows of the holdout."
    key = (moment, champion, use_case.gate.level, earlier)
    if key not in story.gates:
        story.gates[key] = judge_virtually(use_case, story.rows, challenger, serving, earlier)
    return story.gates[key]


def _check(
    story: _Story, champion: datetime, start: datetime, end: datetime, earlier: tuple[DriftCheck, ...]
) -> DriftCheck:
    key = (champion, end)
    rule = rule_of(story.use_case)
    if key in story.checks and rule.of == 1:
        return story.checks[key]
    model, window = _model(story, champion), Window(start=start, end=end)
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


def _evidence(
    story: _Story,
    use_case: UseCase,
    models: tuple[datetime, datetime | None],
    window: Window,
    decided: list[MonitorDecision],
) -> LiveEvidence:
    """The same as :func:`ml.policy.live.gather_evidence`, from what is kept."""
    champion, rejected = models
    model, end = _model(story, champion), window.end
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
        ahead=None if rejected is None else _ahead(story, use_case, model, _model(story, rejected), part),
    )


def _ahead(story: _Story, use_case: UseCase, champion: VirtualModel, challenger: VirtualModel, part: slice) -> Estimate:
    """The rejected challenger on the labelled rows that it has not seen."""
    unseen = as_utc(challenger.watermark) + use_case.target.horizon + timedelta(microseconds=1)
    rows = slice(max(part.start, story.between(unseen, story.ends[-1]).start), part.stop)
    rows = slice(min(rows.start, rows.stop), rows.stop)
    return compare_live(story.rows.iloc[rows], champion.answers(rows), challenger.answers(rows), use_case)


def _hindsight(story: _Story) -> Iterator[PolicyResult]:
    """Best moments by dynamic programming over windows: cost of serving model i through windows j .. k."""
    starts = story.ends[:-1]
    usable = [i for i, moment in enumerate(starts) if isinstance(story.models[moment], VirtualModel)]
    loss = np.full((len(starts), len(starts)), np.inf)
    for i in usable:
        for j in range(i, len(starts)):
            part = story.between(starts[j], story.ends[j + 1])
            loss[i, j] = story.losses(_model(story, starts[i]), part).sum()
    for count in range(1, min(HINDSIGHT, len(usable) - 1) + 1):
        moments = {starts[i] for i in best_moments(loss, count)}
        yield _deploy(story, f"best {count} in hindsight", "hindsight", moments)


def best_moments(loss: Floats, count: int) -> tuple[int, ...]:
    """Moments, of so many, that minimise the total; model 0 serves first.

    Parameters
    ----------
    loss
        Of model i in window j, of shape ``(n, n)``; infinite where the model does not exist.

    Examples
    --------
    >>> best_moments(np.array([[1.0, 5.0, 9.0], [np.inf, 1.0, 2.0], [np.inf, np.inf, 1.0]]), 1)
    (1,)
    """
    n = len(loss)
    ahead = np.concatenate([np.cumsum(loss[:, ::-1], axis=1)[:, ::-1], np.zeros((n, 1))], axis=1)
    best: dict[tuple[int, int], tuple[float, tuple[int, ...]]]
    best = {(i, 0): (float(ahead[i, i]), ()) for i in range(n)}
    for left in range(1, count + 1):
        for i in range(n):
            options: list[tuple[float, tuple[int, ...]]] = [
                (float(loss[i, i:k].sum()) + best[k, left - 1][0], (k, *best[k, left - 1][1]))
                for k in range(i + 1, n)
                if np.isfinite(loss[k, k])
            ]
            best[i, left] = min(options, default=(np.inf, ()))
    return best[0, count][1]


def _recommend(policies: list[PolicyResult], use_case: UseCase) -> tuple[PolicyResult, tuple[str, ...]]:
    ours = [policy for policy in policies if policy.kind == "ours"]
    shipped, best = ours[0], min(ours, key=lambda policy: policy.cost)
    price, unit = use_case.retraining.cost_of_retraining, use_case.retraining.currency
    never = next(policy for policy in policies if policy.name == "never")
    own = f"{shipped.retrainings} retrainings, loss {shipped.loss:.4f}"
    said = [f"The file's own settings cost {shipped.cost:.5g} {unit}: {own}. Never retraining costs {never.cost:.5g}."]
    if shipped.cost - best.cost <= max(price, 0.01 * shipped.cost):
        said.append(
            f"The best of {len(ours)} settings saves {shipped.cost - best.cost:.3g}: too little to change them."
        )
        return shipped, tuple(said)
    said.append(
        f"With {best.name}: {best.cost:.5g} {unit}, {best.retrainings} retrainings, loss {best.loss:.4f}. It is the "
        f"best of {len(ours)} settings on this one history, so expect less of it on the next."
    )
    return best, tuple(said)


def _result(  # noqa: PLR0917 - a policy and its sums
    story: _Story,
    name: str,
    kind: str,
    total: float,
    trained: tuple[int, int],
    seconds: float,
    decisions: list[BacktestDecision],
) -> PolicyResult:
    part = story.between(story.ends[0], story.ends[-1])
    own = story.use_case.retraining
    return PolicyResult(
        name=name,
        kind=kind,
        loss=total / max(part.stop - part.start, 1),
        retrainings=trained[0],
        promoted=trained[1],
        cost=total * own.cost_of_loss + trained[0] * own.cost_of_retraining,
        cost_seconds=round(seconds, 3),
        decisions=tuple(decisions),
    )


def _model(story: _Story, moment: datetime) -> VirtualModel:
    model = story.models[moment]
    if isinstance(model, str):  # pragma: no cover - only trained models are deployed
        raise DataError("no model was trained", where=f"{moment:%Y-%m-%d}", got=model)
    return model


def _ticks(moment: datetime) -> np.datetime64:
    return np.datetime64(as_utc(moment).replace(tzinfo=None), "us")
