"""What stages do that meet thresholds or rules which were changed without a reason."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from plugins.perennial.telemetry import note_event
from plugins.perennial.workbench import wall_clock

if TYPE_CHECKING:
    from plugins.perennial.workbench import Workbench

#: Changes that are told by name.
_MOST = 20


def tell_changes(bench: Workbench, path: Path, changes: Any) -> None:
    """Tell once of rules that were changed without a reason; where the settings say so, refuse to work by them."""
    from ml.errors import InputError

    name = bench.use_case.name
    _tell(name, changes, use_case=name, key=f"{name}/{bench.use_case.hash}")
    if bench.settings.unreasoned_changes == "refuse":
        raise InputError(
            "rules were changed without a reason",
            where=str(path),
            got=", ".join(change.path for change in changes[:_MOST]),
            allowed=f"perennial policy diff {name}, then perennial policy apply {name} --reason ...",
        )


def note_alert_rules() -> None:
    """Record the alert rules when they are met first, and tell of changes that nobody gave a reason for.

    They are judged all the same: an alert that nobody is told of would be worse.
    """
    import hashlib

    from ml.alerts.rules import read_rules
    from ml.errors import PerennialError
    from ml.governance.policy_record import ALERTS, note_policy
    from ml.settings import settings
    from ml.store.control import ControlStore

    current = settings()
    try:
        text = current.alerts.read_text(encoding="utf-8")
        read_rules(text, str(current.alerts))  # one with problems is not in force, and told elsewhere
        changes = note_policy(ControlStore(current.control_url, current.ledger), ALERTS, text, now=wall_clock())
    except (PerennialError, OSError, ValueError) as error:
        print(f"the alert rules could not be compared with those in force: {error}")
        return
    if changes:
        _tell(ALERTS, changes, use_case=None, key=f"{ALERTS}/{hashlib.sha256(text.encode()).hexdigest()[:12]}")


def _tell(subject: str, changes: Any, *, use_case: str | None, key: str) -> None:
    lines = [f"{change.path}: {change.before} became {change.after}" for change in changes[:_MOST]]
    note_event(
        "policy_changed",
        source="policy",
        use_case=use_case,
        severity="warning",
        message="\n".join(
            (
                f"{len(changes)} rules of {subject} were changed without a reason.",
                *lines,
                f"Look: perennial policy diff {subject}",
                f"Give it a reason: perennial policy apply {subject} --reason ...",
            )
        ),
        key=key,
    )
