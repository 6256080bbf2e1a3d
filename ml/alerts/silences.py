"""Silences on a person's word: begun, planned, listed, ended early; each with who and why in the history."""

from __future__ import annotations

from datetime import datetime

from ml.errors import InputError
from ml.records.alert import Silence, Transition
from ml.store.alerts import AlertStore


def begin_silence(store: AlertStore, silence: Silence, *, now: datetime) -> int:
    """Keep a rule from telling anybody for a time, now or later; returns the number of the silence.

    Raises
    ------
    InputError
        It has no reason, would be over before it begins, or begins in the past.
    """
    if not silence.reason.strip():
        raise InputError("a silence needs a reason", where="--reason", got=repr(silence.reason), allowed="why")
    if silence.end <= silence.begin or silence.begin < now:
        got = f"{silence.begin:%Y-%m-%d %H:%M} to {silence.end:%Y-%m-%d %H:%M} UTC"
        raise InputError("no such time of silence", where="--begin, --for", got=got, allowed="from now on, some length")
    told = f"from {silence.begin:%Y-%m-%d %H:%M:%S} to {silence.end:%Y-%m-%d %H:%M:%S} UTC: {silence.reason}"
    return store.add_silence(silence, _step("silenced", silence, told, silence.actor, now))


def end_silence(store: AlertStore, number: int, *, now: datetime, actor: str, reason: str) -> Silence:
    """End a silence before its time, or one that has not begun; who still fires is told at the next look.

    Raises
    ------
    InputError
        There is no reason, or no such silence any more; those that there are, are listed.
    """
    if not reason.strip():
        raise InputError("ending a silence needs a reason", where="--reason", got=repr(reason), allowed="why")

    def end(found: Silence) -> tuple[Silence, Transition]:
        changes = {"end": now, "ended_by": actor, "ended_why": reason, "planned_end": found.end}
        told = f"{reason}; it would have lasted until {found.end:%Y-%m-%d %H:%M:%S} UTC, by {found.actor}"
        return found.model_copy(update=changes), _step("unsilenced", found, told, actor, now)

    ended = store.change_silence(number, end, now=now)
    if ended is None:
        left = ", ".join(f"{n} ({one.rule})" for n, one in store.silences(now).items())
        raise InputError("no such silence", where="alerts", got=str(number), allowed=left or "there is none")
    return ended


def _step(step: str, silence: Silence, detail: str, actor: str, now: datetime) -> Transition:
    told = {"rule": silence.rule, "group": silence.group or (), "episode": 0, "detail": detail, "actor": actor}
    return Transition.model_validate(told | {"time": now, "step": step})
