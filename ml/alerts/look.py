"""One look: the due rules are judged on what has happened, and what follows is kept in one transaction."""

from __future__ import annotations

import gc
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from ml.alerts.conditions import Observation
from ml.alerts.evidence import Evidence, Group
from ml.alerts.machine import Step, advance
from ml.alerts.rules import Rule, RuleFile
from ml.alerts.wording import compose_notice
from ml.records.alert import AlertState, Notice, Silence, Transition
from ml.store.alerts import AlertStore, Book, Changes
from ml.store.telemetry import EventRow, Need, Telemetry

#: Events that a notice shows.
SHOWN_EVENTS = 5

#: A look that comes a little early still counts as the next one.
_SLACK = 0.9
#: What happened while nobody looked is looked at, so far back.
_LONGEST_GAP = timedelta(days=30)
_QUIET_KEPT = timedelta(days=30)
_HISTORY_KEPT = timedelta(days=400)


@dataclass(frozen=True)
class Look:
    """What one look did.

    Attributes
    ----------
    looked
        Rules that were due.
    """

    now: datetime
    looked: tuple[str, ...]
    transitions: tuple[Transition, ...]
    notices: tuple[Notice, ...]


def look(rules: RuleFile, *, store: AlertStore, telemetry: Telemetry, now: datetime, everything: bool = False) -> Look:
    """Judge the rules that are due now and keep what follows.

    Parameters
    ----------
    everything
        Whether rules that are not due are judged, too.

    Raises
    ------
    ServiceAway
        The control database does not answer; nothing has changed.
    """
    before = store.book(now)
    due = due_rules(rules.rules, before.looked, now, everything=everything)
    with _uncollected():
        evidence = gather(due, before.looked, telemetry, begin=now, end=now)

        def judge(book: Book) -> Changes:
            mine = due_rules(due, book.looked, now, everything=everything)
            return judge_rules(mine, evidence, book, rules=rules, now=now)

        changes = store.change(judge, now=now)
    return Look(now, tuple(changes.looked), tuple(changes.transitions), tuple(changes.notices))


@contextmanager
def _uncollected() -> Iterator[None]:
    """No garbage is collected meanwhile: going through a day of rows again and again took a third of a look."""
    was = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was:
            gc.enable()


def tidy(store: AlertStore, *, now: datetime) -> None:
    """Forget what nobody asks for any more."""
    store.forget(quiet_before=now - _QUIET_KEPT, history_before=now - _HISTORY_KEPT)


def due_rules(
    rules: Sequence[Rule], looked: Mapping[str, datetime], now: datetime, *, everything: bool = False
) -> tuple[Rule, ...]:
    """Enabled rules whose last look is long enough ago.

    Parameters
    ----------
    everything
        Whether any time is long enough; a rule that was judged on newer evidence is not due all the same.
    """
    return tuple(
        rule
        for rule in rules
        if rule.enabled
        and (
            rule.name not in looked or now - looked[rule.name] >= (timedelta(0) if everything else rule.every * _SLACK)
        )
    )


def gather(
    rules: Sequence[Rule], looked: Mapping[str, datetime], telemetry: Telemetry, *, begin: datetime, end: datetime
) -> Evidence:
    """Everything that rules may ask for, seen from any moment of a time."""
    now = end.timestamp()
    oldest = telemetry.begin()
    return Evidence(
        telemetry.read_events(_event_needs(rules, looked, begin), until=_just_after(end)),
        telemetry.read_rollups(_metric_needs(rules, begin), until=_just_after(end)),
        now=now,
        begin=None if oldest is None else oldest.timestamp(),
    )


def judge_rules(due: Sequence[Rule], evidence: Evidence, book: Book, *, rules: RuleFile, now: datetime) -> Changes:
    """What follows from the evidence at a moment; pure."""
    changes = Changes(looked=[rule.name for rule in due])
    known: dict[str, list[Group]] = {}
    for name, group in book.states:
        known.setdefault(name, []).append(group)
    for rule in due:
        seen = observe(rule, evidence, known.get(rule.name, ()), book.looked.get(rule.name))
        for group, observation in seen.items():
            before = book.states.get((rule.name, group))
            if before is None and not observation.holds:
                continue
            state = before or AlertState(rule=rule.name, group=group, since=now)
            silenced = is_silenced(rule, group, book.silences, now)
            step = advance(state, observation, rule, now=now, silenced=silenced)
            if before is None or _is_worth_keeping(before, step):
                changes.states.append(step.state)
            changes.transitions += step.transitions
            changes.notices += _notices(step, rule, evidence, rules, now)
    _close_orphans(rules, book, changes, now)
    return changes


def observe(
    rule: Rule, evidence: Evidence, known: Iterable[Group], looked: datetime | None
) -> Mapping[Group, Observation]:
    """What a rule's condition says of each group; groups of another shape are an older rule's."""
    groups = [group for group in known if len(group) == len(rule.group_by)]
    last = None if looked is None else max(looked.timestamp(), evidence.now - _LONGEST_GAP.total_seconds())
    return rule.condition.observe(evidence, rule.group_by, groups, last)


def _notices(step: Step, rule: Rule, evidence: Evidence, rules: RuleFile, now: datetime) -> list[Notice]:
    return [
        compose_notice(
            step.state,
            rule,
            tell,
            now=now,
            rules=rules,
            events=evidence_of(rule, step.state.group, evidence) if tell != "resolved" else (),
        )
        for tell in step.tell
    ]


def is_silenced(rule: Rule, group: Group, silences: Iterable[Silence], now: datetime) -> bool:
    """Whether nobody is to be told now, by the rule's own windows or on a person's word."""
    return any(window.holds(now) for window in rule.silence) or any(
        silence.rule == rule.name and silence.begin <= now < silence.end and silence.group in {None, group}
        for silence in silences
    )


def evidence_of(rule: Rule, group: Group, evidence: Evidence) -> list[EventRow]:
    """Newest events that a rule speaks of, of one group, oldest first."""
    begin = evidence.now - rule.condition.horizon.total_seconds()
    found = [
        event
        for where in rule.condition.events()
        for place, series in evidence.events(where.asks(), rule.group_by)
        if place == group
        for one in series
        for event in one.newest(begin, SHOWN_EVENTS)
    ]
    return sorted(found, key=lambda event: event.time)[-SHOWN_EVENTS:]


def _is_worth_keeping(before: AlertState, step: Step) -> bool:
    """Of a quiet alert only its steps are kept, not each number that it was seen at."""
    ignored = {} if step.state.active else {"value": before.value, "detail": before.detail}
    return step.state.model_copy(update=ignored) != before


def _close_orphans(rules: RuleFile, book: Book, changes: Changes, now: datetime) -> None:
    """Alerts whose rule is gone, switched off or grouped otherwise are over; there is nobody to tell on its behalf."""
    wanted = {rule.name: len(rule.group_by) for rule in rules.rules if rule.enabled}
    for state in book.states.values():
        if wanted.get(state.rule) == len(state.group) or state.phase in {"inactive", "resolved"}:
            continue
        over = state.model_copy(update={"phase": "resolved", "since": now, "detail": "its rule is gone"})
        changes.states.append(over)
        told = {name: getattr(over, name) for name in ("rule", "group", "episode", "detail")}
        changes.transitions.append(Transition(time=now, step="resolved", **told))


def _event_needs(rules: Sequence[Rule], looked: Mapping[str, datetime], begin: datetime) -> list[Need]:
    """What to read: for each set of names and codes back to the longest look at it."""
    since: dict[tuple[frozenset[str], frozenset[int]], datetime] = {}
    for rule in rules:
        gap = begin - max(looked.get(rule.name, begin), begin - _LONGEST_GAP)
        start = begin - max(rule.condition.horizon, gap)
        for where in rule.condition.events():
            place = frozenset(where.names), frozenset(where.codes)
            since[place] = min(since.get(place, start), start)
    broad = since.get((frozenset(), frozenset()))
    kept = {p: s for p, s in since.items() if broad is None or s < broad or not (p[0] or p[1])}
    return _merge(kept)


def _merge(since: Mapping[tuple[frozenset[str], frozenset[int]], datetime]) -> list[Need]:
    """Few clauses for many rules: names alone and codes alone are put together by their age."""
    names: dict[datetime, set[str]] = {}
    codes: dict[datetime, set[int]] = {}
    needs = []
    for (wanted, numbers), start in since.items():
        if wanted and not numbers:
            names.setdefault(start, set()).update(wanted)
        elif numbers and not wanted:
            codes.setdefault(start, set()).update(numbers)
        else:
            needs.append(Need(start, wanted, numbers))
    needs += [Need(start, names=frozenset(some)) for start, some in names.items()]
    return needs + [Need(start, codes=frozenset(some)) for start, some in codes.items()]


def _metric_needs(rules: Sequence[Rule], begin: datetime) -> list[Need]:
    since: dict[str, datetime] = {}
    for rule in rules:
        for metric in rule.condition.metrics():
            start = begin - rule.condition.horizon
            since[metric] = min(since.get(metric, start), start)
    return _merge({(frozenset({name}), frozenset()): start for name, start in since.items()})


def _just_after(moment: datetime) -> datetime:
    return moment.astimezone(UTC) + timedelta(microseconds=1)
