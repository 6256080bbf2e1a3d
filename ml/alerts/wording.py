"""What people are told of an alert: subject and text, from facts alone."""

from __future__ import annotations

import string
from collections.abc import Sequence
from datetime import UTC, datetime

from ml.alerts.links import find_link
from ml.alerts.machine import Tell
from ml.alerts.mail import digest_of
from ml.alerts.rules import Rule, RuleFile, RunRunbook
from ml.records.alert import AlertState, Notice
from ml.store.telemetry import EventRow

_LONGEST_MESSAGE = 4_000
_LONGEST_GROUP = 800

_WORDS = {"fired": "", "escalated": "nobody has acknowledged: ", "resolved": "over: "}


def compose_notice(
    state: AlertState, rule: Rule, tell: Tell, *, now: datetime, rules: RuleFile, events: Sequence[EventRow] = ()
) -> Notice:
    """Notice about an alert; the same episode and kind always have the same key.

    Parameters
    ----------
    events
        Evidence, oldest first.
    """
    label, group = group_label(state.group), dict(zip(rule.group_by, state.group, strict=False))
    actions = rule.escalate.actions if tell == "escalated" and rule.escalate else rule.actions
    return Notice(
        key=notice_key(state, tell),
        rule=rule.name,
        group=state.group,
        use_case=_use_case(rule, state.group),
        kind=tell,
        time=now,
        severity="info" if tell == "resolved" else rule.severity,
        subject=f"{_WORDS[tell]}{rule.name}{f' ({label})' if label else ''}: {rule.description}",
        text="\n".join(_lines(state, rule, tell, label, events) + _repairs(rule, rules, tell)),
        link=find_link(rule.link, group) or find_link(rules.link, {}),
        actions=actions,
    )


def notice_key(state: AlertState, tell: str) -> str:
    """Identity of a notice: rule, group, begin of the episode, kind; a group that is too long is cut, but not mixed up.

    Examples
    --------
    >>> notice_key(AlertState(rule="failed", group=("ferry", "a/b"), since="2026-01-05T12:00Z"), "fired")
    'failed/ferry/a%2Fb/never/fired'
    """
    began = f"{state.fired_at:%Y%m%dT%H%M%S}" if state.fired_at else "never"
    group = "/".join(value.replace("%", "%25").replace("/", "%2F") for value in state.group)
    if len(group) > _LONGEST_GROUP:
        group = f"{group[:_LONGEST_GROUP]}~{digest_of(group)[:16]}"
    return "/".join((state.rule, *([group] if state.group else []), began, tell))


def group_label(group: tuple[str, ...]) -> str:
    """The values of a group, as people read them; empty for none."""
    return ", ".join(value for value in group if value)


def _use_case(rule: Rule, group: tuple[str, ...]) -> str | None:
    return dict(zip(rule.group_by, group, strict=False)).get("use_case") or None


def _lines(state: AlertState, rule: Rule, tell: Tell, label: str, events: Sequence[EventRow]) -> list[str]:
    lines = [rule.description, "", f"Seen: {state.detail}."]
    if state.fired_at:
        lines.append(f"It began at {state.fired_at:%Y-%m-%d %H:%M:%S} UTC.")
    if rule.text:
        lines += ["", own_words(rule, state, label)]
    if events:
        lines += ["", "Newest evidence:"]
        lines += [_event_line(event) for event in events]
    if tell != "resolved":
        lines += ["", f"Who looks at it says so: perennial alerts ack {rule.name}"]
        lines.append(f"Was this worth being told? perennial alerts mark {rule.name} useful (or noise)")
    return lines


def _repairs(rule: Rule, rules: RuleFile, tell: Tell) -> list[str]:
    """Where the prepared repairs are explained that the rule has run."""
    ways = [rules.channels[name] for action in rule.actions for name in rules.channels_of(action)]
    named = dict.fromkeys(way.runbook for way in ways if isinstance(way, RunRunbook))
    if not named or tell == "resolved":
        return []
    return [f"What repairs it, and how: {', '.join(f'docs/runbooks.md#{name}' for name in named)}"]


def own_words(rule: Rule, state: AlertState, label: str) -> str:
    """The rule's own text; names are replaced by values, and a value is text whatever it looks like."""
    words = {
        "rule": rule.name,
        "group": label,
        "use_case": _use_case(rule, state.group) or "",
        "value": "unknown" if state.value is None else f"{state.value:.6g}",
        "bound": _bound(rule),
        "severity": rule.severity,
        "detail": state.detail,
    }
    return string.Template(rule.text).safe_substitute(words)


def _bound(rule: Rule) -> str:
    bound = getattr(rule.condition, "above", None)
    return f"{bound:g}" if bound is not None else ""


def _event_line(event: EventRow) -> str:
    parts = [f"{datetime.fromtimestamp(event.time, UTC):%Y-%m-%d %H:%M:%S}", event.name]
    parts += [f"code {event.code}"] if event.code else []
    parts += [f"version {event.model_version}"] if event.model_version is not None else []
    parts += [f"request {event.request_id}"] if event.request_id else []
    parts += [f"{event.n} times"] if event.n > 1 else []
    return f"- {', '.join(parts)}: {event.message[:_LONGEST_MESSAGE]}"
