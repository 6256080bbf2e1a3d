"""Which version was champion at a time, by whose decision and on what evidence; which one served."""

from __future__ import annotations

import json
from datetime import datetime
from typing import Any

from ml.errors import InputError
from ml.records.base import Record, UtcTime
from ml.records.governance import AliasMove
from ml.records.release import ReleaseOutcome
from ml.registry.alias import ALIAS
from ml.store.control import ControlStore
from ml.store.ledger import Entry


class Evidence(Record):
    """A record that spoke for a champion; ``summary`` is its own reasons or what it decided."""

    kind: str
    key: str
    entry: int | None
    time: UtcTime | None
    actor: str
    summary: str


class ChampionThen(Record):
    """The champion of a use case at a time.

    Attributes
    ----------
    version
        None where the alias was taken away.
    entry
        Number of the ledger's entry that made it champion.
    served, served_since
        Version that the newest release until then left in service; None before the first.
    """

    use_case: str
    version: int | None
    since: UtcTime
    entry: int
    actor: str
    by: str
    reason: str
    evidence: tuple[Evidence, ...]
    served: int | None
    served_since: UtcTime | None


def champion_at(control: ControlStore, moment: datetime, use_case: str | None = None) -> tuple[ChampionThen, ...]:
    """Champions at a moment of the world, by use case; of one use case when it is named.

    Raises
    ------
    InputError
        There was no champion yet.
    """
    moves = [e for e in control.ledger_entries(kinds=(ALIAS,), use_case=use_case) if e.time <= moment]
    newest: dict[str, Entry] = {}
    for entry in moves:  # newest first
        newest.setdefault(entry.use_case, entry)
    if not newest:
        raise _none_yet(control, moment, use_case)
    return tuple(_then(control, newest[name], moment) for name in sorted(newest))


def _none_yet(control: ControlStore, moment: datetime, use_case: str | None) -> InputError:
    entries = control.ledger_entries(kinds=(ALIAS,), use_case=use_case)
    first = f"{entries[-1].time:%Y-%m-%d %H:%M:%S} UTC or later" if entries else "nothing: there never was one"
    return InputError("there was no champion then", where=use_case or "any use case", got=str(moment), allowed=first)


def _then(control: ControlStore, entry: Entry, moment: datetime) -> ChampionThen:
    move = AliasMove.model_validate_json(entry.payload)
    releases = control.ledger_entries(kinds=("release",), use_case=entry.use_case)
    release = next((e for e in releases if e.time <= moment), None)
    return ChampionThen(
        use_case=entry.use_case,
        version=move.version,
        since=entry.time,
        entry=entry.number,
        actor=entry.actor,
        by=move.by,
        reason=move.reason,
        evidence=tuple(_evidence(control, entry.use_case, name) for name in move.evidence),
        served=ReleaseOutcome.model_validate_json(release.payload).served_version if release else None,
        served_since=release.time if release else None,
    )


def _evidence(control: ControlStore, use_case: str, name: str) -> Evidence:
    kind, _, key = name.partition("/")
    found = next((e for e in control.ledger_entries(kinds=(kind,), use_case=use_case) if e.key == key), None)
    if found is None:
        return Evidence(kind=kind, key=key, entry=None, time=None, actor="", summary="is not in the ledger")
    return summarise_entry(found)


def summarise_entry(entry: Entry) -> Evidence:
    """An entry as evidence; of an absent record it is said that it is absent."""
    return Evidence(
        kind=entry.kind,
        key=entry.key,
        entry=entry.number,
        time=entry.time,
        actor=entry.actor,
        summary=summarise(json.loads(entry.payload)) if entry.payload else "its record is absent",
    )


def summarise(content: dict[str, Any]) -> str:
    """A record in one line: what was decided and why, or what it is about.

    Examples
    --------
    >>> summarise({"decision": "promote", "reasons": ["it won"]})
    'promote: it won'
    """
    decided = next((content[name] for name in ("decision", "action", "outcome") if name in content), "")
    reasons = content.get("reasons") or [content["reason"]] if "reason" in content or content.get("reasons") else []
    words = [f"{name} {content[name]}" for name in ("version", "digest", "data_version") if content.get(name)]
    return ": ".join(part for part in (str(decided), " ".join(map(str, reasons)) or ", ".join(words)) if part)
