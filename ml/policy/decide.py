"""What a drift check leads to: wait, alert a person, or retrain, with reasons that name their numbers."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Literal

from ml.records.base import as_utc
from ml.records.decision import DriftCheck, MonitorDecision
from ml.records.measure import Estimate
from ml.use_case import UseCase
from ml.use_case.duration import format_duration


def decision_key(use_case: str, window_end: datetime) -> str:
    """Identity of the decision about a window: the use case and where the window ends, UTC.

    Examples
    --------
    >>> decision_key("harbour_weather", datetime(2013, 3, 8))
    'harbour_weather/2013-03-08T00:00:00+00:00'
    """
    return f"{use_case}/{as_utc(window_end).isoformat()}"


def decide(
    check: DriftCheck,
    *,
    use_case: UseCase,
    as_of: datetime,
    labelled: int,
    live_loss: Estimate,
    last_retraining: datetime | None,
) -> MonitorDecision:
    """Decision about a checked window.

    Parameters
    ----------
    as_of
        Virtual now, the window's end or later.
    labelled
        Mature labelled live rows since the champion's data ends.
    live_loss
        Realised loss in the window; told among the reasons, not judged here.
    last_retraining
        Virtual moment of the last retraining, won or lost; None when there was none. One after ``as_of``
        (an old window is looked at again) keeps the cool-down running.

    Returns
    -------
    MonitorDecision
        ``wait`` without drift or without any rows. ``retrain`` with drift, at least
        ``retraining.minimum_labelled`` labelled rows and the cool-down over. ``alert`` with drift that may not be
        answered, and when rows are there but cannot be judged.
    """
    if check.verdict == "drift":
        allowed, conditions = _may_retrain(use_case, as_of, labelled, last_retraining)
        action: Literal["wait", "alert", "retrain"] = "retrain" if allowed else "alert"
    else:
        conditions = ()
        action = "alert" if check.verdict == "undecidable" and check.n_live else "wait"
    return MonitorDecision(
        key=decision_key(use_case.name, check.window.end),
        use_case=use_case.name,
        as_of=as_of,
        action=action,
        reasons=(*check.reasons, *conditions, _describe_loss(live_loss, use_case)),
        check=check,
        live_loss=live_loss,
        labelled=labelled,
    )


def _may_retrain(
    use_case: UseCase, as_of: datetime, labelled: int, last_retraining: datetime | None
) -> tuple[bool, tuple[str, ...]]:
    """Whether drift may be answered with a retraining, and the two conditions in words."""
    needed = use_case.retraining.minimum_labelled
    enough = labelled >= needed
    rested, rest = _cooled_down(as_of, last_retraining, use_case.retraining.cool_down)
    amount = "enough" if enough else "too few"
    rows = f"{labelled} labelled live rows since the champion's data ends are {amount}: {needed} are needed."
    return enough and rested, (rows, rest)


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


def _describe_loss(loss: Estimate, use_case: UseCase) -> str:
    metric = use_case.gate.metric
    if loss.value is None:
        return f"The realised {metric} of the window is unknown: {loss.detail or 'no mature labels'}."
    interval = f" ({loss.low:.4g} to {loss.high:.4g})" if loss.low is not None and loss.high is not None else ""
    return f"The realised {metric} of the window is {loss.value:.4g}{interval} on {loss.n} labelled rows."
