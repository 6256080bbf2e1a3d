"""The rules in force: the file as it is now, or the last sound one when it has problems."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from ml.alerts.rules import RuleFile, read_rules, version_of
from ml.errors import InputError
from ml.records.event import Event
from ml.store.alerts import AlertStore, RuleVersion
from ml.store.telemetry import Telemetry


@dataclass(frozen=True)
class InForce:
    """Rules in force.

    Attributes
    ----------
    version
        Of their file's content.
    problem
        What is wrong with the file as it is now; empty when these are its rules.
    """

    rules: RuleFile
    version: str
    problem: str = ""


def rules_in_force(path: Path, *, store: AlertStore, telemetry: Telemetry, now: datetime) -> InForce:
    """Rules of the file when it is sound, and kept; else those that were kept last, and an event says why.

    Raises
    ------
    InputError
        The file has problems, and no sound one was ever read.
    """
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
