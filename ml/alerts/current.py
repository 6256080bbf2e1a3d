"""The rules in force: the file as it is now, or the last sound one when it has problems; or those of a drill.

A drill's rules replace the installation's for as long as it keeps their file fresh: a drill that is killed leaves
nothing in force. They are never kept as a version.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path

from ml.alerts.rules import RuleFile, read_rules, version_of
from ml.errors import InputError
from ml.records.event import Event
from ml.store.alerts import AlertStore, RuleVersion
from ml.store.telemetry import Telemetry

#: A drill's rules that were not renewed for so long are in force no more, seconds.
DRILL_SECONDS = 60.0
#: Secrets of a drill's own channels, beside its rules.
DRILL_SECRETS = "drill.secrets.json"


@dataclass(frozen=True)
class InForce:
    """Rules in force.

    Attributes
    ----------
    version
        Of their file's content.
    problem
        What is wrong with the file as it is now; empty when these are its rules.
    secrets
        Of a drill's own channels, beside those of the installation.
    """

    rules: RuleFile
    version: str
    problem: str = ""
    secrets: Mapping[str, str] = field(default_factory=dict)


def rules_in_force(
    path: Path,
    *,
    store: AlertStore,
    telemetry: Telemetry,
    now: datetime,
    drill: Path | None = None,
    addresses: Mapping[str, str] | None = None,
) -> InForce:
    """Rules of the file when it is sound, and kept; else those that were kept last, and an event says why.

    Parameters
    ----------
    drill
        Rule file of a drill, which replaces the other while it is fresh and sound.
    addresses
        Of the installation, for links.

    Raises
    ------
    InputError
        The file has problems, and no sound one was ever read.
    """
    drilled = _read_drill(drill, now) if drill is not None else None
    found = _read_own(path, store, telemetry, now) if drilled is None else drilled
    return replace(found, rules=found.rules.at(addresses or {}))


def _read_own(path: Path, store: AlertStore, telemetry: Telemetry, now: datetime) -> InForce:
    last = store.rule_file()
    text = ""
    try:
        text = _read(path)
        rules = read_rules(text, str(path))
    except InputError as error:
        if last is None:
            raise
        telemetry.add_events([_refusal(error, text, now)])
        return InForce(read_rules(last.text, f"version {last.version}"), last.version, str(error))
    version = version_of(text)
    if last is None or last.version != version:
        store.keep_rule_file(RuleVersion(version, now, text))
    return InForce(rules, version)


def _read_drill(path: Path, now: datetime) -> InForce | None:
    try:
        if abs(now.timestamp() - path.stat().st_mtime) > DRILL_SECONDS:
            return None
        text = path.read_text(encoding="utf-8")
        secrets = json.loads(path.with_name(DRILL_SECRETS).read_text(encoding="utf-8"))
        return InForce(read_rules(text, str(path)), f"drill {version_of(text)}", secrets=secrets)
    except (OSError, ValueError, InputError):  # gone meanwhile, or not a drill's work
        return None


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError("rule file cannot be read", where=str(path), got=str(error)) from error


def _refusal(error: InputError, text: str, now: datetime) -> Event:
    return Event(
        time=now,
        use_case=None,
        source="alerts",
        name="rules_refused",
        severity="error",
        message=str(error)[:4000],
        key=f"{version_of(text)} {now:%Y-%m-%d}",  # once a day for as long as it stays so
    )
