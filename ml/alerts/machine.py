"""The state machine of an alert: observation and moment in, new state, transitions and notices' kinds out; pure.

::

    inactive ──holds──▶ pending ──lasting, or n of m──▶ firing ──a person──▶ acknowledged
       ▲                   │ clear                        │                      │
       └───────────────────┘            clear, resolve_after ──▶ resolved ◀──────┘   (resolved holds again: pending)
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from ml.alerts.conditions import Observation
from ml.alerts.rules import Rule
from ml.records.alert import AlertState, Transition

Tell = Literal["fired", "escalated", "resolved"]


@dataclass(frozen=True)
class Step:
    """What one look does to an alert: the new state, what happened, and what people are to be told."""

    state: AlertState
    transitions: tuple[Transition, ...] = ()
    tell: tuple[Tell, ...] = ()


def advance(state: AlertState, seen: Observation, rule: Rule, *, now: datetime, silenced: bool) -> Step:
    """One look at an alert.

    Parameters
    ----------
    silenced
        Whether nobody is to be told now; who was not told because of it is told when it ends, if the alert still
        fires then.
    """
    holds = seen.holds
    if holds is None:
        if rule.undecided == "hold":
            return _tell_late(state, rule, now, silenced=silenced)
        holds = False
    state = state.model_copy(update={"value": seen.value, "detail": seen.detail, "recent": _recent(state, rule, holds)})
    if state.active:
        return _go_on(state, rule, holds=holds, now=now, silenced=silenced)
    if _is_due(state, rule, holds, now):
        return _fire(state, rule, now, silenced=silenced)
    waits, pending = _waits(state, rule, holds), state.phase == "pending"
    if waits == pending:
        return Step(state)
    return _step(_move(state, "pending", now), "pending", now) if waits else _dismiss(state, now)


def _dismiss(state: AlertState, now: datetime) -> Step:
    return _step(_move(state, "inactive", now), "dismissed", now)


def acknowledge(state: AlertState, *, now: datetime, actor: str) -> Step:
    """A person has seen it; an alert that does not fire, or was seen before, stays as it is."""
    if state.phase != "firing":
        return Step(state)
    seen = _move(state, "acknowledged", now).model_copy(update={"acknowledged_by": actor})
    return _step(seen, "acknowledged", now, actor=actor)


def _recent(state: AlertState, rule: Rule, holds: bool) -> tuple[bool, ...]:
    return (*state.recent, holds)[-rule.persistence[1] :] if rule.persistence else ()


def _is_due(state: AlertState, rule: Rule, holds: bool, now: datetime) -> bool:
    if rule.persistence:
        return holds and sum(state.recent) >= rule.persistence[0]
    waited = now - state.since if state.phase == "pending" else now - now
    return holds and waited >= rule.lasting


def _waits(state: AlertState, rule: Rule, holds: bool) -> bool:
    return any(state.recent) if rule.persistence else holds


def _fire(state: AlertState, rule: Rule, now: datetime, *, silenced: bool) -> Step:
    fired = _move(state, "firing", now).model_copy(
        update={
            "episode": state.episode + 1,
            "fired_at": now,
            "told": False,
            "escalated": False,
            "acknowledged_by": "",
            "clear_since": None,
        }
    )
    transition = _transition(fired, "fired", now)
    if silenced or not _is_rested(fired, rule, now):
        return Step(fired, (transition,))
    return Step(fired.model_copy(update={"told": True, "told_at": now}), (transition,), ("fired",))


def _go_on(state: AlertState, rule: Rule, *, holds: bool, now: datetime, silenced: bool) -> Step:
    """An alert that fires: it goes on, clears, or is resolved."""
    if holds:
        return _tell_late(state.model_copy(update={"clear_since": None}), rule, now, silenced=silenced)
    if state.clear_since is None:
        state = state.model_copy(update={"clear_since": now})
    may_end = rule.auto_resolve or state.phase == "acknowledged"
    if not may_end or state.clear_since is None or now - state.clear_since < rule.resolve_after:
        return _tell_late(state, rule, now, silenced=silenced)
    resolved = _move(state, "resolved", now).model_copy(update={"clear_since": None, "recent": ()})
    transition = _transition(resolved, "resolved", now)
    return Step(resolved, (transition,), ("resolved",) if state.told else ())


def _tell_late(state: AlertState, rule: Rule, now: datetime, *, silenced: bool) -> Step:
    """Who was not told because of a silence or a cool-down is told; who was told and did nothing has it escalated."""
    if state.phase != "firing" or silenced:
        return Step(state)
    if not state.told:
        if state.clear_since is not None or not _is_rested(state, rule, now):
            return Step(state)
        told = state.model_copy(update={"told": True, "told_at": now})
        return Step(told, (_transition(told, "told", now),), ("fired",))
    escalate = rule.escalate
    if escalate is None or state.escalated or state.told_at is None or now - state.told_at < escalate.after:
        return Step(state)
    escalated = state.model_copy(update={"escalated": True})
    return Step(escalated, (_transition(escalated, "escalated", now),), ("escalated",))


def _is_rested(state: AlertState, rule: Rule, now: datetime) -> bool:
    return state.told_at is None or now - state.told_at >= rule.cool_down


def _move(state: AlertState, phase: str, now: datetime) -> AlertState:
    return state.model_copy(update={"phase": phase, "since": now})


def _step(state: AlertState, step: str, now: datetime, *, actor: str = "") -> Step:
    return Step(state, (_transition(state, step, now, actor=actor),))


def _transition(state: AlertState, step: str, now: datetime, *, actor: str = "") -> Transition:
    told = {"time": now, "step": step, "actor": actor}
    told |= {name: getattr(state, name) for name in ("rule", "group", "episode", "value", "detail")}
    return Transition.model_validate(told)
