"""What a check leads to: wait, alert a person, or retrain because it pays, with reasons that name their numbers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Literal

from ml.policy.reducible import more_rows_needed
from ml.records.base import as_utc
from ml.records.decision import DriftCheck, MonitorDecision, RetrainOutcome, Worth
from ml.records.measure import Estimate
from ml.use_case import UseCase
from ml.use_case.duration import format_duration

_YEAR = timedelta(days=365)


def decision_key(use_case: str, window_end: datetime) -> str:
    """Identity of the decision about a window: the use case and where the window ends, UTC.

    Examples
    --------
    >>> decision_key("harbour_weather", datetime(2013, 3, 8))
    'harbour_weather/2013-03-08T00:00:00+00:00'
    """
    return f"{use_case}/{as_utc(window_end).isoformat()}"


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
    """

    labelled: int
    reducible: Estimate
    span: timedelta
    live_loss: Estimate
    estimated_loss: Estimate | None = None
    estimate_trusted: bool | None = None


@dataclass(frozen=True)
class Past:
    """Earlier retrainings of a use case, newest first, as ``(virtual moment, outcome, actor)``."""

    retrainings: tuple[tuple[datetime, str, str], ...] = field(default=())

    @classmethod
    def of(cls, outcomes: Sequence[RetrainOutcome]) -> Past:
        """Past of recorded outcomes; those without enough data trained nothing and do not count."""
        told = [(o.request.as_of, o.outcome, o.request.actor) for o in outcomes if o.outcome != "insufficient_data"]
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
    check: DriftCheck, evidence: LiveEvidence, past: Past, *, use_case: UseCase, as_of: datetime
) -> MonitorDecision:
    """Decision about a checked window.

    Parameters
    ----------
    past
        A retraining after ``as_of`` (an old window is looked at again) keeps the cool-down running.
    as_of
        Virtual now, the window's end or later.

    Returns
    -------
    MonitorDecision
        ``retrain`` when a trigger that the use case file allows is raised, it pays, and nothing stands against it:
        labelled rows, cool-down, budget, breaker. Triggers: *performance*, loss that is avoidable beyond doubt;
        *data_drift*, a drift with an effect on answers; *periodic*. A drift alone pays only when loss is avoidable:
        beyond doubt where the performance trigger is on, by the point estimate where it is off. ``alert`` when
        something stands against a retraining that is wanted, when drift meets too few labels to be weighed, and when
        rows are there of which neither drift nor avoidable loss can be judged. Else ``wait``.
    """
    worth = weigh(evidence, use_case)
    raised, reasons = _triggers(check, worth, past, use_case, as_of)
    wanted = "periodic" in raised or (
        bool(raised) and worth.pays and (worth.proven or "performance" not in _allowed(use_case))
    )
    action: Literal["wait", "alert", "retrain"] = "wait"
    unweighed = "data_drift" in raised and evidence.reducible.value is None
    if wanted or unweighed:
        free, conditions = _may_retrain(use_case, as_of, evidence.labelled, past)
        reasons += conditions
        action = "retrain" if free and wanted else "alert"
    elif check.verdict == "undecidable" and check.n_live and evidence.reducible.value is None:
        action = "alert"  # neither the data nor the answers can be judged
    return MonitorDecision(
        key=decision_key(use_case.name, check.window.end if check.window else as_of),
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
        labelled=evidence.labelled,
    )


def weigh(evidence: LiveEvidence, use_case: UseCase) -> Worth:
    """What a retraining would bring over the horizon, against its cost."""
    retraining, gain = use_case.retraining, evidence.reducible
    rows = gain.n * (retraining.horizon / evidence.span) if evidence.span > timedelta(0) else 0.0
    return Worth(
        reducible=gain,
        rows=rows,
        avoided=None if gain.value is None else gain.value * rows * retraining.cost_of_loss,
        cost=retraining.cost_of_retraining,
        currency=retraining.currency,
        more_rows=more_rows_needed(gain),
    )


def _allowed(use_case: UseCase) -> tuple[str, ...]:
    triggers = use_case.retraining.triggers
    named = {"performance": triggers.performance, "data_drift": triggers.data_drift, "periodic": triggers.periodic}
    return tuple(name for name, on in named.items() if on)


def _triggers(
    check: DriftCheck, worth: Worth, past: Past, use_case: UseCase, as_of: datetime
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Triggers that are raised and allowed, and what there is to say about each."""
    allowed, raised, told = _allowed(use_case), [], [_describe_worth(worth, use_case)]
    if worth.proven:
        raised.append("performance")
    if check.verdict == "drift":
        floor = use_case.retraining.effect_floor
        if check.effect is not None and check.effect < floor:
            told.append(f"The drifted columns change answers by {check.effect:.2g} at most, below the floor {floor:g}.")
        else:
            raised.append("data_drift")
    every, last = use_case.retraining.triggers.periodic, past.last
    if every is not None and (last is None or as_utc(as_of) - as_utc(last) >= every):
        raised.append("periodic")
        told.append(f"The periodic retraining is due: every {format_duration(every)}.")
    off = [name for name in raised if name not in allowed]
    if off:
        told.append(f"Raised but switched off: {', '.join(off)}.")
    return tuple(name for name in raised if name in allowed), tuple(told)


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
