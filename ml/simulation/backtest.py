"""Retraining policies on a use case's own history, with the stages of the DAGs on a virtual clock."""

from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import datetime

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ml.policy.decide import Past, decide
from ml.records.backtest import Backtest, BacktestDecision, PolicyResult
from ml.records.base import as_utc
from ml.records.decision import GateDecision, MonitorDecision
from ml.records.measure import Window
from ml.simulation.virtual_history import (
    Progress,
    VirtualHistory,
    check_once,
    evidence_once,
    judge_once,
    model_of,
    open_history,
)
from ml.simulation.virtual_stages import VirtualModel
from ml.use_case import UseCase

Floats = NDArray[np.float64]

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
    story = open_history(use_case, rows, start, show)
    first, live = story.ends[0], story.between(story.ends[0], story.ends[-1])
    policies = [_never(story), *_usual(story)]
    settings = list(_settings(use_case)) if grid else [(use_case, {})]
    for number, (variant, changed) in enumerate(settings):
        show(f"policy {number + 1} of {len(settings)}", 0.8 + 0.2 * number / len(settings))
        policies.append(replay_ours(story, variant, changed))
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


def _never(story: VirtualHistory) -> PolicyResult:
    return _deploy(story, "never", "rule", set())


def _usual(story: VirtualHistory) -> Iterator[PolicyResult]:
    inner = story.ends[1:-1]
    for k in EVERY:
        name = "every window" if k == 1 else f"every {k} windows"
        yield _deploy(story, name, "rule", set(inner[k - 1 :: k]))
    for bound in PSI_BOUNDS:
        yield _by_psi(story, bound)


def _by_psi(story: VirtualHistory, bound: float) -> PolicyResult:
    """The usual rule: mean PSI of the window against the training data of the model that serves."""
    champion, moments = story.ends[0], set()
    for start, end in zip(story.ends, story.ends[1:-1], strict=False):
        check = check_once(story, champion, start, end, ())
        values = [column.value for column in check.columns if column.statistic == "psi" and column.value is not None]
        if values and float(np.mean(values)) > bound and isinstance(story.models[end], VirtualModel):
            moments.add(end)
            champion = end
    return _deploy(story, f"mean PSI > {bound:g}", "rule", moments)


def _deploy(story: VirtualHistory, name: str, kind: str, moments: set[datetime]) -> PolicyResult:
    """Retrain at given moments and deploy every time."""
    champion, total, seconds = story.ends[0], 0.0, 0.0
    trained = [moment for moment in sorted(moments) if isinstance(story.models[moment], VirtualModel)]
    for start, end in zip(story.ends, story.ends[1:], strict=False):
        if start in trained:
            champion = start
            seconds += model_of(story, champion).seconds
        total += float(story.losses(model_of(story, champion), story.between(start, end)).sum())
    decisions = [BacktestDecision(as_of=end, retrain=end in trained) for end in story.ends[1:]]
    return _result(story, name, kind, total, (len(trained), len(trained)), seconds, decisions)


def replay_ours(story: VirtualHistory, use_case: UseCase, changed: dict[str, float]) -> PolicyResult:
    """What the stages of the DAGs would have led to under the settings of a use case file.

    Parameters
    ----------
    changed
        Its keys below ``retraining`` that differ from the story's own, for the result.
    """
    champion, past, total, seconds = story.ends[0], Past(), 0.0, 0.0
    rejected: datetime | None = None
    earlier: tuple[float, ...] = ()
    decided: list[MonitorDecision] = []
    told: list[BacktestDecision] = []
    retrainings = promoted = 0
    for start, end in zip(story.ends, story.ends[1:], strict=False):
        model = model_of(story, champion)
        total += float(story.losses(model, story.between(start, end)).sum())
        check = check_once(story, champion, start, end, tuple(d.check for d in reversed(decided)))
        evidence = evidence_once(story, use_case, (champion, rejected), Window(start=start, end=end), decided)
        decision = decide(check, evidence, past, use_case=use_case, as_of=end)
        decided.append(decision)
        outcome, reasons = None, decision.reasons
        if decision.action == "retrain" and end in story.models:
            met = _retrain(story, use_case, (champion, rejected), end, earlier)
            if isinstance(met, str):
                outcome, reasons = "insufficient_data", (*reasons, met)
            else:
                winner, gate = met[-1]
                outcome = OUTCOMES[gate.decision]
                reasons += tuple(reason for moment, each in met for reason in _told(each, again=moment != end))
                retrainings += 1
                seconds += model_of(story, end).seconds
                past = Past(((end, outcome, "monitor"), *past.retrainings))
                rejected = end if outcome == "rejected" else None
                earlier += tuple(each.p for _, each in met if each.p is not None)
                if outcome == "promoted":
                    promoted, champion, earlier = promoted + 1, winner, ()
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
    story: VirtualHistory,
    use_case: UseCase,
    models: tuple[datetime, datetime | None],
    moment: datetime,
    earlier: tuple[float, ...],
) -> list[tuple[datetime, GateDecision]] | str:
    """What the gate decides about a challenger as of a moment, then about the one rejected before; why there is none.

    Parameters
    ----------
    models
        The champion, and the challenger that was rejected before.
    """
    champion, rejected = models
    challenger = story.models[moment]
    if isinstance(challenger, str) or challenger.unlearnt:
        return challenger if isinstance(challenger, str) else challenger.unlearnt
    serving = model_of(story, champion)
    if challenger.holdout.start < as_utc(serving.watermark) + use_case.target.horizon:
        return "The champion was trained on rows of the holdout."
    own = judge_once(story, use_case, (moment, champion), moment, earlier)
    if own.decision != "reject" or rejected is None:
        return [(moment, own)]
    earlier += () if own.p is None else (own.p,)
    return [(moment, own), (rejected, judge_once(story, use_case, (rejected, champion), moment, earlier))]


def _told(gate: GateDecision, *, again: bool) -> tuple[str, ...]:
    return tuple(f"The one before, again: {reason}" for reason in gate.reasons) if again else gate.reasons


def _hindsight(story: VirtualHistory) -> Iterator[PolicyResult]:
    """Best moments by dynamic programming over windows: cost of serving model i through windows j .. k."""
    starts = story.ends[:-1]
    usable = [i for i, moment in enumerate(starts) if isinstance(story.models[moment], VirtualModel)]
    loss = np.full((len(starts), len(starts)), np.inf)
    for i in usable:
        for j in range(i, len(starts)):
            part = story.between(starts[j], story.ends[j + 1])
            loss[i, j] = story.losses(model_of(story, starts[i]), part).sum()
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
    story: VirtualHistory,
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
