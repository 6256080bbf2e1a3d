"""A person has seen it: alerts are acknowledged, and episodes marked."""

from __future__ import annotations

from datetime import datetime
from typing import Literal

from ml.alerts.machine import acknowledge
from ml.errors import InputError
from ml.records.alert import AlertState, Mark
from ml.store.alerts import AlertStore, Book, Changes


def acknowledge_alerts(
    store: AlertStore, rule: str, group: tuple[str, ...] | None, *, now: datetime, actor: str
) -> list[AlertState]:
    """Acknowledge the firing alerts of a rule, of one group or of all; returns them.

    Raises
    ------
    InputError
        None of them fires; those that do are listed.
    """

    def judge(book: Book) -> Changes:
        wanted = [s for s in book.states.values() if s.rule == rule and group in {None, s.group}]
        steps = [acknowledge(state, now=now, actor=actor) for state in wanted if state.phase == "firing"]
        if not steps:
            raise _nothing(book, rule, group)
        return Changes([step.state for step in steps], [t for step in steps for t in step.transitions])

    return store.change(judge, now=now).states


def mark_alert(
    store: AlertStore,
    rule: str,
    group: tuple[str, ...] | None,
    verdict: Literal["useful", "noise"],
    *,
    now: datetime,
    actor: str,
) -> list[Mark]:
    """Keep what a person thinks of the newest episode of a rule's alerts, of one group or of all; returns the marks.

    Raises
    ------
    InputError
        It has never fired.
    """
    newest: dict[tuple[str, ...], int] = {}
    for step in store.history(rule=rule, limit=10_000):  # the newest first
        if step.step == "fired" and group in {None, step.group}:
            newest.setdefault(step.group, step.episode)
    if not newest:
        raise InputError("no such alert has ever fired", where=rule, got=", ".join(group or ()) or "any group")
    marks = [
        Mark(rule=rule, group=found, episode=episode, verdict=verdict, time=now, actor=actor)
        for found, episode in newest.items()
    ]
    for mark in marks:
        store.add_mark(mark)
    return marks


def _nothing(book: Book, rule: str, group: tuple[str, ...] | None) -> InputError:
    firing = sorted({f"{s.rule} {', '.join(s.group)}".strip() for s in book.states.values() if s.phase == "firing"})
    asked = f"{rule} {', '.join(group)}" if group else rule
    return InputError("no such alert is firing", where="alerts", got=asked, allowed="; ".join(firing) or "none is")
