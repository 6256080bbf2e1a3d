"""Alert rules in a hurry: the same conditions and bounds with shorter times, for a drill that cannot wait for hours."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from typing import Any

from ml.alerts.rules import RuleFile
from ml.use_case.duration import format_duration

#: Windows of conditions are this long at most: four rollups, or nearly so.
WINDOW = timedelta(seconds=40)
#: Of counted events, which come of runs of DAGs.
COUNTED_WINDOW = timedelta(minutes=4)
#: Gauges of slow processes and what is expected once a week keep their windows.
_SLOW = timedelta(days=1)

#: The one channel of a drill: nobody is called out of bed.
MAILBOX = "mailbox"


def hasten_rules(
    rules: RuleFile,
    *,
    tick: timedelta,
    bounds: Mapping[str, Mapping[str, Any]] | None = None,
    channels: Mapping[str, Mapping[str, Any]] | None = None,
    groups: Mapping[str, list[str]] | None = None,
) -> dict[str, Any]:
    """Content of a rule file with the same rules, whose notices go to the mailbox alone.

    Nothing waits, cools down or is silenced, and windows are short; conditions, bounds, numbers of looks and
    runbooks stay. A DAG that a rule triggers is left out: a drill retrains nothing.

    Parameters
    ----------
    tick
        How often is looked.
    bounds
        By rule: keys of its condition that are to be others, where the real bound cannot be reached on purpose.
    channels, groups
        Of the drill's own, beside the mailbox.
    """
    kept = {name: _plain(channel) for name, channel in rules.channels.items() if str(channel.kind) == "runbook"}
    ways = {name: _ways(rules.channels_of(name), kept) for name in (*rules.channels, *rules.groups)}
    return {
        "tick": format_duration(tick),
        "channels": {MAILBOX: {"kind": "mailbox"}} | kept | dict(channels or {}),
        "groups": dict(groups or {}),
        "rules": [_hasten(_plain(rule), ways, tick, (bounds or {}).get(rule.name, {})) for rule in rules.rules],
    }


def _plain(part: Any) -> dict[str, Any]:
    content: dict[str, Any] = part.model_dump(mode="json", exclude_defaults=True)
    return content | ({"kind": part.kind} if hasattr(part, "kind") else {})


def _ways(channels: tuple[str, ...], kept: Mapping[str, Any]) -> list[str]:
    """Runbooks as they are, and the mailbox once in place of everything else."""
    return list(dict.fromkeys(name if name in kept else MAILBOX for name in channels))


def _hasten(
    rule: dict[str, Any], ways: Mapping[str, list[str]], tick: timedelta, bounds: Mapping[str, Any]
) -> dict[str, Any]:
    lasting = {"lasting": format_duration(tick)} if rule.get("lasting") else {}
    actions = list(dict.fromkeys(way for action in rule["actions"] for way in ways[action]))
    told = {name: rule[name] for name in rule if name not in {"escalate", "silence", "cool_down", "auto_resolve"}}
    own = {"every": format_duration(tick), "actions": actions, "resolve_after": "0s"} | lasting
    return told | own | {"condition": _hasten_condition(rule["condition"]) | dict(bounds)}


def _hasten_condition(condition: Mapping[str, Any]) -> dict[str, Any]:
    from ml.use_case.duration import parse_duration

    given = parse_duration(condition.get("within", "5m"))
    kind = condition["kind"]
    if kind == "absence" or (kind in {"level", "no_data"} and given >= _SLOW):
        return dict(condition)
    longest = COUNTED_WINDOW if kind == "count" else WINDOW
    return dict(condition) | {"within": format_duration(min(given, longest))}
