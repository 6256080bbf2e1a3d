"""What a check leads to: wait, alert a person, or retrain because it pays, with reasons that name their numbers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Literal

from ml.policy.reducible import more_rows_needed
from ml.records.base import as_utc
from ml.records.decision import UNTRAINED, DriftCheck, MonitorDecision, RetrainOutcome, Worth
from ml.records.measure import Estimate
from ml.use_case import UseCase
from ml.use_case.duration import format_duration

_YEAR = timedelta(days=365)


def decision_key(use_case: str, window_end: datetime, batch_rows: int | None = None) -> str:
    """Identity of the decision about a window: the use case, where the window ends, UTC, and the batch that waits.

    Examples
    --------
    >>> decision_key("harbour_weather", datetime(2013, 3, 8))
    'harbour_weather/2013-03-08T00:00:00+00:00'
    """
    batch = "" if batch_rows is None else f"/before {batch_rows} rows"
    return f"{use_case}/{as_utc(window_end).isoformat()}{batch}"


@dataclass(frozen=True)
class LiveEvidence:
    """What is known of the champion's answers at the time of a decision.

    Attributes
    ----------
    labelled
        Mature labelled live rows since the champion's data ends.
    reducible
        Avoidable loss per row on them, :func:`ml.policy.reducible.reducible_loss`.
    span
        Event time that ``reducible`` was computed on.
    live_loss, estimated_loss
        Of the window's served answers.
    estimate_trusted
        Of :func:`ml.policy.live.trust_estimates`.
    curve
        Of :func:`ml.policy.reducible.learning_curve`, where ``reducible`` leaves a doubt.
    ahead
        By how much the newest rejected challenger beats the champion on rows that neither was trained on,
        :func:`ml.policy.live.compare_live`; None without one.
    """

    labelled: int
    reducible: Estimate
    span: timedelta
    live_loss: Estimate
    estimated_loss: Estimate | None = None
    estimate_trusted: bool | None = None
    curve: tuple[tuple[float, float], ...] = ()
    ahead: Estimate | None = None


@dataclass(frozen=True)
class Past:
    """Earlier retrainings of a use case, newest first, as ``(virtual moment, outcome, actor)``."""

    retrainings: tuple[tuple[datetime, str, str], ...] = field(default=())

    @classmethod
    def of(cls, outcomes: Sequence[RetrainOutcome]) -> Past:
        """Past of recorded outcomes; those without enough data trained nothing and do not count."""
        told = [(o.request.as_of, o.outcome, o.request.actor) for o in outcomes if o.outcome not in UNTRAINED]
        return cls(tuple(sorted(told, reverse=True)))

    @property
    def last(self) -> datetime | None:
        """Virtual moment of the newest one."""
        return self.retrainings[0][0] if self.retrainings else None

    @property
    def rejected_in_a_row(self) -> int:
        """Automatic retrainings since the last that was not rejected or was asked for by a person."""
        count = 0
        for _, outcome, actor in self.retrainings:
            if outcome != "rejected" or actor != "monitor":
                break
            count += 1
        return count


def decide(
    check: DriftCheck,
    evidence: LiveEvidence,
    past: Past,
    *,
    use_case: UseCase,
    as_of: datetime,
    batch_rows: int | None = None,
) -> MonitorDecision:
    """Decision about a checked window.

    Parameters
    ----------
    past
        A retraining after ``as_of`` (an old window is looked at again) keeps the cool-down running.
    as_of
        Virtual now, the window's end or later.
    batch_rows
        Rows of a batch that is about to be answered, where somebody asks whether the champion is fresh enough.

    Returns
    -------
    MonitorDecision
        ``retrain`` when a trigger that the use case file allows is raised, it pays, and nothing stands against it:
        labelled rows, cool-down, budget, breaker. Triggers: *performance*, loss that is avoidable beyond doubt;
        *challenger_ahead*, a rejected challenger that has since been better beyond doubt; *data_drift* and
        *prediction_drift*, a drift with an effect on answers; *periodic*; *before_batch*, a batch whose expected
        avoidable loss is worth a retraining. A drift alone pays only when loss is avoidable: beyond doubt where the
        performance trigger is on, by the point estimate where it is off. ``alert`` when
        something stands against a retraining that is wanted, when drift meets too few labels to be weighed, and when
        rows are there of which neither drift nor avoidable loss can be judged. Else ``wait``.
    """
    worth = weigh(evidence.reducible, evidence, use_case)
    ahead = None if evidence.ahead is None else weigh(evidence.ahead, evidence, use_case)
    raised, reasons = _triggers(check, (worth, ahead), past, use_case, as_of)
    if batch_rows is not None:
        found, told = _before_batch(worth, batch_rows, use_case)
        raised, reasons = (*raised, *found), (*reasons, told)
    pays = (worth.pays and (worth.proven or "performance" not in _allowed(use_case))) or (
        ahead is not None and ahead.proven and ahead.pays
    )
    wanted = not {"periodic", "before_batch"}.isdisjoint(raised) or (bool(raised) and pays)
    action: Literal["wait", "alert", "retrain"] = "wait"
    unweighed = not {"data_drift", "prediction_drift"}.isdisjoint(raised) and worth.reducible.value is None
    if wanted or unweighed:
        free, conditions = _may_retrain(use_case, as_of, evidence.labelled, past)
        reasons += conditions
        action = "retrain" if free and wanted else "alert"
    elif check.verdict == "undecidable" and check.n_live and evidence.reducible.value is None:
        action = "alert"  # neither the data nor the answers can be judged
    return MonitorDecision(
        key=decision_key(use_case.name, check.window.end if check.window else as_of, batch_rows),
        use_case=use_case.name,
        as_of=as_of,
        action=action,
        triggers=raised,
        reasons=(*check.reasons, *reasons, *_describe_losses(evidence, use_case)),
        check=check,
        live_loss=evidence.live_loss,
        estimated_loss=evidence.estimated_loss,
        estimate_trusted=evidence.estimate_trusted,
        worth=worth,
        ahead=ahead,
        labelled=evidence.labelled,
    )


def weigh(gain: Estimate, evidence: LiveEvidence, use_case: UseCase) -> Worth:
    """What so much gain per row is worth over the horizon, against the cost of a retraining."""
    retraining, n = use_case.retraining, evidence.reducible.n
    rows = n * (retraining.horizon / evidence.span) if evidence.span > timedelta(0) else 0.0
    return Worth(
        reducible=gain,
        rows=rows,
        avoided=None if gain.value is None else gain.value * rows * retraining.cost_of_loss,
        cost=retraining.cost_of_retraining,
        currency=retraining.currency,
        more_rows=more_rows_needed(gain, evidence.curve if gain is evidence.reducible else ()),
    )


def _allowed(use_case: UseCase) -> tuple[str, ...]:
    triggers = use_case.retraining.triggers
    return tuple(name for name in type(triggers).model_fields if getattr(triggers, name))


def _triggers(
    check: DriftCheck,
    gains: tuple[Worth, Worth | None],
    past: Past,
    use_case: UseCase,
    as_of: datetime,
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Triggers that are raised and allowed, and what there is to say about each."""
    (worth, ahead), allowed, raised = gains, _allowed(use_case), []
    told = [_describe_worth(worth, use_case)]
    if worth.proven:
        raised.append("performance")
    if ahead is not None:
        told.append(_describe_ahead(ahead, use_case))
        if ahead.proven:
            raised.append("challenger_ahead")
    drifts, sayings = _drifts(check, use_case.retraining.effect_floor)
    raised += drifts
    told += sayings
    every, last = use_case.retraining.triggers.periodic, past.last
    if every is not None and (last is None or as_utc(as_of) - as_utc(last) >= every):
        raised.append("periodic")
        told.append(f"The periodic retraining is due: every {format_duration(every)}.")
    off = [name for name in raised if name not in allowed]
    if off:
        told.append(f"Raised but switched off: {', '.join(off)}.")
    return tuple(name for name in raised if name in allowed), tuple(told)


def _drifts(check: DriftCheck, floor: float) -> tuple[list[str], list[str]]:
    """Kinds of drift with an effect on answers, and what is to be said of those without."""
    if check.verdict != "drift":
        return [], []
    raised, told = [], []
    for name, what, roles in (
        ("data_drift", "columns", ("feature", "attribution")),
        ("prediction_drift", "answers", ("answer", "value")),
    ):
        drifted = [column for column in check.columns if column.drifted and column.role in roles]
        effects = [column.effect for column in drifted if column.effect is not None]
        if drifted and len(effects) == len(drifted) and max(effects) < floor:
            told.append(f"The drifted {what} change answers by {max(effects):.2g} at most, below the floor {floor:g}.")
        elif drifted:
            raised.append(name)
    return raised, told


def _before_batch(worth: Worth, rows: int, use_case: UseCase) -> tuple[tuple[str, ...], str]:
    """Whether a batch of so many rows is worth a retraining before it; what is likely counts, not only what is sure."""
    if worth.reducible.value is None:
        return (), f"Whether the champion is fresh enough for {rows} rows is unknown: no loss can be told."
    avoided = worth.reducible.value * rows * use_case.retraining.cost_of_loss
    sums = f"{avoided:.3g} {worth.currency} are expected to be avoidable on them, a retraining costs {worth.cost:g}"
    if avoided <= 0 or avoided < worth.cost:
        return (), f"The champion is fresh enough for {rows} rows: {sums}."
    raised = ("before_batch",) if use_case.retraining.triggers.before_batch else ()
    return raised, f"The champion is not fresh enough for {rows} rows: {sums}."


def _may_retrain(use_case: UseCase, as_of: datetime, labelled: int, past: Past) -> tuple[bool, tuple[str, ...]]:
    """Whether nothing stands against a retraining, and every condition in words."""
    retraining = use_case.retraining
    enough = labelled >= retraining.minimum_labelled
    amount = "enough" if enough else "too few"
    rows = f"{labelled} labelled live rows since the champion's data ends are {amount}"
    told = [f"{rows}: {retraining.minimum_labelled} are needed."]
    rested, rest = _cooled_down(as_of, past.last, retraining.cool_down)
    told.append(rest)
    within = True
    if retraining.budget is not None:
        used = sum(as_utc(as_of) - as_utc(when) < _YEAR for when, _, actor in past.retrainings if actor == "monitor")
        within = used < retraining.budget
        told.append(f"{used} of {retraining.budget} automatic retrainings of the last 365 days are used.")
    closed = past.rejected_in_a_row < retraining.breaker
    if not closed:
        told.append(
            f"The last {past.rejected_in_a_row} automatic retrainings were rejected: the breaker is open until a "
            "person starts one."
        )
    return enough and rested and within and closed, tuple(told)


def _cooled_down(as_of: datetime, last: datetime | None, cool_down: timedelta) -> tuple[bool, str]:
    if last is None:
        return True, "There was no retraining before, so no cool-down runs."
    passed = as_utc(as_of) - as_utc(last)
    length = format_duration(cool_down)
    if passed < timedelta(0):
        return False, f"The last retraining, as of {as_utc(last):%Y-%m-%d %H:%M}, knew newer data than this window."
    over = passed >= cool_down
    verb = "is over" if over else "still runs"
    return over, f"The cool-down of {length} {verb}: the last retraining was {format_duration(passed)} ago."


def _describe_worth(worth: Worth, use_case: UseCase) -> str:
    gain, metric = worth.reducible, use_case.gate.metric
    if gain.value is None or worth.avoided is None:
        return f"How much {metric} is avoidable is unknown: {gain.detail or 'there are no labels'}."
    interval = f" (at least {gain.low:.4f})" if gain.low is not None else ""
    sums = (
        f"{worth.avoided:.3g} {worth.currency} over {format_duration(use_case.retraining.horizon)} against a cost of "
        f"{worth.cost:g}"
    )
    told = f"{gain.value:.4f}{interval} on {gain.n} rows, {sums}"
    if worth.proven:
        return f"Avoidable {metric} per row: {told}: it {'pays' if worth.pays else 'does not pay'}."
    more = f"; {worth.more_rows} more rows would decide" if worth.more_rows else ""
    return f"No {metric} is avoidable beyond doubt: {told}{more}."


def _describe_ahead(ahead: Worth, use_case: UseCase) -> str:
    gain, metric = ahead.reducible, use_case.gate.metric
    if gain.value is None or ahead.avoided is None:
        return f"How the newest rejected challenger fares is unknown: {gain.detail or 'there are no labels'}."
    reach = f" (at least {gain.low:.4f})" if gain.low is not None else ""
    words = "is ahead of" if ahead.proven else "is not ahead beyond doubt of"
    sums = f"{ahead.avoided:.3g} {ahead.currency} over {format_duration(use_case.retraining.horizon)}"
    told = f"{metric} {gain.value:.4f}{reach} on {gain.n} rows, {sums}"
    return f"The newest rejected challenger {words} the champion: {told}."


def _describe_losses(evidence: LiveEvidence, use_case: UseCase) -> tuple[str, ...]:
    metric, told, live = use_case.gate.metric, [], evidence.live_loss
    if live.value is None:
        told.append(f"The realised {metric} of the window is unknown: {live.detail or 'no mature labels'}.")
    else:
        told.append(f"The realised {metric} of the window is {_interval(live)} on {live.n} labelled rows.")
    if evidence.estimated_loss is not None and evidence.estimated_loss.value is not None:
        trust = {True: "has been reliable", False: "is on probation: it has missed too often", None: "is not yet tried"}
        told.append(
            f"The answers expect {_interval(evidence.estimated_loss)} of themselves; "
            f"this estimate {trust[evidence.estimate_trusted]}."
        )
    return tuple(told)


def _interval(loss: Estimate) -> str:
    reach = f" ({loss.low:.4g} to {loss.high:.4g})" if loss.low is not None and loss.high is not None else ""
    return f"{loss.value:.4g}{reach}"
