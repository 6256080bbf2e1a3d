"""What happened in a week, read from the ledger and the alert store for the digest."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta

from ml.alerts.scoreboard import NOISY_PERIOD, find_noise
from ml.governance.overrides import OVERRIDES
from ml.governance.policy_record import POLICY
from ml.records.alert import AlertState
from ml.records.digest import Change, NoisyRule, OverrideCount
from ml.records.governance import AliasMove, PolicyChange
from ml.records.measure import Window
from ml.records.overrides import OverrideReview
from ml.records.release import ReleaseOutcome
from ml.records.runbook import RunbookRun
from ml.registry.alias import ALIAS
from ml.store.alerts import AlertStore
from ml.store.control import ControlStore
from ml.store.ledger import Entry

_RELEASE, _RUNBOOK = "release", "runbook"
_ENTRIES, _TRANSITIONS = 5_000, 100_000


def week_before(moment: datetime) -> Window:
    """The last whole week, Monday to Monday, UTC.

    Examples
    --------
    >>> from datetime import UTC
    >>> str(week_before(datetime(2026, 1, 14, 6, tzinfo=UTC)).start.date())
    '2026-01-05'
    """
    midnight = moment.replace(hour=0, minute=0, second=0, microsecond=0)
    monday = midnight - timedelta(days=midnight.weekday())
    return Window(start=monday - timedelta(days=7), end=monday)


def week_name(week: Window) -> str:
    """ISO year and week.

    Examples
    --------
    >>> from datetime import UTC
    >>> week_name(week_before(datetime(2026, 1, 14, 6, tzinfo=UTC)))
    '2026-W02'
    """
    year, number, _ = week.start.isocalendar()
    return f"{year}-W{number:02d}"


def read_changes(control: ControlStore, week: Window) -> tuple[Change, ...]:
    """Promotions, rollbacks, changes of rules and repairs of a week, oldest first."""
    kinds = (ALIAS, _RELEASE, POLICY, _RUNBOOK)
    entries = control.ledger_entries(kinds=kinds, limit=_ENTRIES)
    found = [
        Change(time=entry.time, use_case=entry.use_case, what=told[0], actor=entry.actor, reason=told[1])
        for entry in entries
        if week.start <= entry.time < week.end and entry.payload and (told := _tell(entry))
    ]
    return tuple(sorted(found, key=lambda change: change.time))


def read_overrides(control: ControlStore, week: Window) -> tuple[OverrideCount, ...]:
    """The newest count of each use case in a week."""
    newest: dict[str, Entry] = {}
    for entry in control.ledger_entries(kinds=(OVERRIDES,), limit=_ENTRIES):
        if week.start <= entry.time < week.end and entry.payload:
            newest.setdefault(entry.use_case, entry)
    return tuple(_count(newest[name]) for name in sorted(newest))


def read_open_alerts(alerts: AlertStore, now: datetime) -> tuple[AlertState, ...]:
    """Alerts that fire, the oldest first."""
    active = [state for state in alerts.book(now).states.values() if state.active]
    return tuple(sorted(active, key=lambda state: (state.fired_at or state.since, state.rule, state.group)))


def read_noisy_rules(alerts: AlertStore, now: datetime) -> tuple[NoisyRule, ...]:
    """Rules that have only produced noise for long."""
    history = alerts.history(since=now - NOISY_PERIOD, limit=_TRANSITIONS)
    return tuple(
        NoisyRule(rule=one.rule, noise=one.noise, fired=one.fired, since=one.since)
        for one in find_noise(history, alerts.marks(), now=now)
    )


def _tell(entry: Entry) -> tuple[str, str] | None:
    """What an entry changed, and why; None where it changed nothing."""
    if entry.kind == ALIAS:
        move = AliasMove.model_validate_json(entry.payload)
        return _tell_move(move), move.reason
    if entry.kind == _RELEASE:
        outcome = ReleaseOutcome.model_validate_json(entry.payload)
        return _tell_release(outcome)
    if entry.kind == POLICY:
        change = PolicyChange.model_validate_json(entry.payload)
        paths = ", ".join(one.path for one in change.changes) or "nothing"
        return f"rules of {change.subject} changed: {paths}", change.reason
    run = RunbookRun.model_validate_json(entry.payload)
    return (f"runbook {run.runbook} on {run.target}: {run.end}", run.reason) if run.end != "not_needed" else None


def _tell_move(move: AliasMove) -> str:
    if move.version is None:
        return f"champion version {move.previous} was taken away"
    before = "" if move.previous is None else f" in place of {move.previous}"
    back = move.previous is not None and move.version < move.previous
    return f"version {move.version} became champion{before}{', a way back' if back else ''}, by {move.by}"


def _tell_release(outcome: ReleaseOutcome) -> tuple[str, str] | None:
    if outcome.outcome == "unchanged":
        return None
    if outcome.outcome == "confirmed":
        return f"version {outcome.wanted_version} is served", ""
    return f"release of version {outcome.wanted_version} was rolled back", outcome.reason


def _count(entry: Entry) -> OverrideCount:
    found = OverrideReview.model_validate_json(entry.payload)
    return OverrideCount(use_case=entry.use_case, **found.model_dump(include=set(OverrideCount.model_fields)))


def iterate_weeks(week: Window, count: int) -> Iterator[datetime]:
    """Ends of so many weeks, the given one last."""
    for back in reversed(range(count)):
        yield week.end - back * timedelta(days=7)
