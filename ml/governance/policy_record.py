"""Which thresholds and rules are in force, by whose word, and what a file says otherwise.

In force is what a person has applied last, or what a stage met first. A file that says otherwise is noted once, as
unreasoned; what a person applies later gives it its reason.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from ml.errors import InputError
from ml.governance.authorise import check_reviewer
from ml.records.governance import AlertRulesSeen, Changed, PolicyChange, UseCaseSeen
from ml.store.control import PERENNIAL, ControlStore
from ml.store.ledger import Entry
from ml.use_case import UseCase

#: The subject that is no use case: the alert rules of the installation.
ALERTS = "alerts"

POLICY, USE_CASE, ALERT_RULES = "policy", "use_case", "alert_rules"

#: Keys of a use case file that are for people alone.
_WORDS = frozenset({"description", "owner", "goals", "card"})


@dataclass(frozen=True)
class InForce:
    """The policy in force, and the entry that says so."""

    text: str
    entry: int
    actor: str
    reason: str


@dataclass(frozen=True)
class PolicyDiff:
    """What a file says otherwise than the policy in force; ``in_force`` is None before anything was recorded."""

    subject: str
    in_force: InForce | None
    changes: tuple[Changed, ...]


def find_in_force(control: ControlStore, subject: str) -> InForce | None:
    """The newest policy that has a reason, or that was met first; None before anything was recorded.

    Raises
    ------
    BrokenLedgerError
        The entry is unreadable.
    """
    met, name = (ALERT_RULES, "") if subject == ALERTS else (USE_CASE, subject)
    for kind in (POLICY, met):  # what was applied goes before what was met
        found = (_read(entry, subject) for entry in control.ledger_entries(kinds=(kind,), use_case=name))
        newest = next((policy for policy in found if policy is not None), None)
        if newest is not None:
            return newest
    return None


def diff_policy(control: ControlStore, subject: str, text: str) -> PolicyDiff:
    """What a text of the file says otherwise than the policy in force."""
    found = find_in_force(control, subject)
    return PolicyDiff(subject, found, () if found is None else diff_texts(subject, found.text, text))


def diff_all(control: ControlStore, files: dict[str, Path]) -> tuple[PolicyDiff, ...]:
    """The same for every file by its subject; an absent one says nothing."""
    present = ((subject, path) for subject, path in files.items() if path.is_file())
    return tuple(diff_policy(control, subject, path.read_text(encoding="utf-8")) for subject, path in present)


def note_policy(control: ControlStore, subject: str, text: str, *, now: datetime) -> tuple[Changed, ...]:
    """Record a file that a stage meets for the first time; returns what differs from the policy in force."""
    found = diff_policy(control, subject, text)
    unreasoned, name = bool(found.changes), "" if subject == ALERTS else subject
    record: AlertRulesSeen | UseCaseSeen
    if subject == ALERTS:
        version = hashlib.sha256(text.encode()).hexdigest()[:12]
        kind, key = ALERT_RULES, f"{ALERTS}/{version}"
        record = AlertRulesSeen(version=version, text=text, unreasoned=unreasoned)
    else:
        digest = _hash(text)
        kind, key = USE_CASE, f"{subject}/{digest}"
        record = UseCaseSeen(use_case=subject, use_case_hash=digest, text=text, unreasoned=unreasoned)
    control.record(kind, key, record, use_case=name, as_of=now, now=now, actor=PERENNIAL)
    return found.changes


def apply_policy(
    control: ControlStore,
    subject: str,
    text: str,
    *,
    reason: str,
    actor: str,
    now: datetime,
    preview: tuple[str, ...] = (),
) -> PolicyChange | None:
    """Put a text of the file in force, on a person's word; None when it is in force already.

    Raises
    ------
    InputError
        The person is none of the reviewers that the policy in force names, or there is no reason.
    BrokenLedgerError
        The ledger is broken; nothing is recorded.
    """
    if not reason.strip():
        raise InputError("a reason is needed", where="--reason", got="nothing", allowed="why the rules change")
    found = diff_policy(control, subject, text)
    if found.in_force is not None and not found.changes:
        return None
    if subject != ALERTS:
        ruling = _use_case(found.in_force.text if found.in_force else text) or _use_case(text)
        if ruling is not None:
            check_reviewer(ruling, actor)
    applied = PolicyChange(
        subject=subject,
        text=text,
        reason=reason,
        previous=None if found.in_force is None else found.in_force.entry,
        changes=found.changes,
        preview=preview,
    )
    name = "" if subject == ALERTS else subject
    control.record(POLICY, f"{subject}/{now.isoformat()}", applied, use_case=name, as_of=now, now=now, actor=actor)
    return applied


def diff_texts(subject: str, before: str, after: str) -> tuple[Changed, ...]:
    """Rules that differ between two texts of a file, defaults filled in, by dotted path.

    A default that a newer version of the program brings is on both sides, and no change.
    """
    one, other = (_content(subject, text) for text in (before, after))
    if isinstance(one, str) or isinstance(other, str):  # a side that is not valid any more is compared as it is
        one, other = (dict(_flatten(_raw(text))) for text in (before, after))
    return tuple(
        Changed(path=path, before=one.get(path), after=other.get(path))
        for path in sorted({*one, *other})
        if one.get(path) != other.get(path)
    )


def _content(subject: str, text: str) -> dict[str, str] | str:
    """Values by dotted path; why not where the text is not valid."""
    if subject == ALERTS:
        raw = _raw(text)
        return dict(_flatten(raw)) if isinstance(raw, dict) else "no mapping"
    found = _use_case(text)
    if found is None:
        return "not valid"
    return dict(_flatten(found.model_dump(mode="json", exclude=set(_WORDS))))


def _flatten(content: Any, path: str = "") -> Iterator[tuple[str, str]]:
    """Leaves of mappings, and of lists of things with names, as JSON by dotted path."""
    if isinstance(content, list) and content and all(isinstance(one, dict) and "name" in one for one in content):
        content = {str(one["name"]): {key: value for key, value in one.items() if key != "name"} for one in content}
    if isinstance(content, dict) and content:
        for key, value in content.items():
            yield from _flatten(value, f"{path}.{key}" if path else str(key))
        return
    yield path, json.dumps(content, ensure_ascii=False, sort_keys=True, default=str)


def _raw(text: str) -> Any:
    try:
        return yaml.safe_load(text)
    except yaml.YAMLError:
        return {"": text}


def _use_case(text: str) -> UseCase | None:
    raw = _raw(text)
    try:
        return UseCase.model_validate(raw) if isinstance(raw, dict) else None
    except ValidationError:
        return None


def _hash(text: str) -> str:
    found = _use_case(text)
    return hashlib.sha256(text.encode()).hexdigest() if found is None else found.hash


def _read(entry: Entry, subject: str) -> InForce | None:
    """The policy of an entry; None where it has no reason, or is about another subject."""
    if entry.kind == POLICY:
        applied = PolicyChange.model_validate_json(entry.payload)
        return InForce(applied.text, entry.number, entry.actor, applied.reason) if applied.subject == subject else None
    kind = AlertRulesSeen if entry.kind == ALERT_RULES else UseCaseSeen
    met = kind.model_validate_json(entry.payload)
    return None if met.unreasoned else InForce(met.text, entry.number, entry.actor, "met first")
