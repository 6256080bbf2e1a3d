"""Replay: when a rule would have fired, had it been in force; nothing is written and nobody is told."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from ml.alerts.look import gather, is_silenced, observe
from ml.alerts.machine import advance
from ml.alerts.rules import Rule
from ml.records.alert import AlertState, Silence, Transition
from ml.store.telemetry import Telemetry


@dataclass(frozen=True)
class Replayed:
    """What a rule would have done.

    Attributes
    ----------
    looks
        Moments that it would have been looked at.
    told
        Notices that would have been sent.
    """

    rule: str
    looks: int
    transitions: tuple[Transition, ...]
    told: int

    @property
    def fired(self) -> int:
        """How often it would have fired."""
        return sum(t.step == "fired" for t in self.transitions)


def replay(
    rules: Sequence[Rule],
    telemetry: Telemetry,
    *,
    since: datetime,
    until: datetime,
    silences: Sequence[Silence] = (),
) -> list[Replayed]:
    """What each rule would have done on what was told in a time, looked at as often as it asks for.

    Acknowledgement is nobody's, so escalations show as they would have come with nobody there.
    """
    told = []
    for rule in rules:
        evidence = gather([rule], {}, telemetry, begin=since, end=until)
        states: dict[tuple[str, ...], AlertState] = {}
        transitions, notices, looks, now, before = list[Transition](), 0, 0, since, None
        while now <= until:
            seen = observe(rule, evidence.at(now.timestamp()), list(states), before)
            for group, observation in seen.items():
                if group not in states and not observation.holds:
                    continue
                state = states.get(group) or AlertState(rule=rule.name, group=group, since=now)
                silenced = is_silenced(rule, group, silences, now)
                step = advance(state, observation, rule, now=now, silenced=silenced)
                states[group] = step.state
                transitions += step.transitions
                notices += len(step.tell)
            before, now, looks = now, now + rule.every, looks + 1
        told.append(Replayed(rule.name, looks, tuple(transitions), notices))
    return told
