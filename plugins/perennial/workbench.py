"""The stores and the registry of one use case, opened from the settings inside a task."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from ml.settings import Settings, settings
from ml.use_case import UseCase, load

if TYPE_CHECKING:
    from ml.records.base import Record
    from ml.registry.port import Registry
    from ml.store.control import ControlStore, Stored
    from ml.store.lake import Lake


@dataclass(frozen=True)
class Workbench:
    """One use case with its lake, the control database and the registry."""

    use_case: UseCase
    lake: Lake
    control: ControlStore
    registry: Registry
    settings: Settings

    def run_folder(self, key: str) -> Path:
        """Folder that belongs to one request, for what its stages hand to each other."""
        return self.settings.runs / self.use_case.name / key.replace("/", "_").replace(":", "")

    def record(self, kind: str, key: str, record: Record, *, as_of: datetime, actor: str) -> Stored:
        """Write a record of this use case and its entry in the ledger, once."""
        name = self.use_case.name
        return self.control.record(kind, key, record, use_case=name, as_of=as_of, now=wall_clock(), actor=actor)

    def note_use_case(self) -> None:
        """Record the use case file when it is met first; tell of rules that nobody gave a reason for, or refuse them.

        Raises
        ------
        InputError
            They were changed without a reason, and the setting ``unreasoned_changes`` is ``refuse``.
        """
        from ml.governance.policy_record import note_policy
        from plugins.perennial.policy_tasks import tell_changes

        name = self.use_case.name
        path = self.settings.use_cases / f"{name}.yaml"
        changes = note_policy(self.control, name, path.read_text(encoding="utf-8"), now=wall_clock())
        if changes:
            tell_changes(self, path, changes)


def open_workbench(name: str) -> Workbench:
    """Workbench of a use case.

    Raises
    ------
    ServiceAway
        The registry or the control database does not answer.
    """
    from ml.registry.mlflow_registry import MlflowRegistry
    from ml.store.control import ControlStore
    from ml.store.lake import Lake

    current = settings()
    use_case = load(current.use_cases / f"{name}.yaml")
    return Workbench(
        use_case=use_case,
        lake=Lake(current.lake, use_case),
        control=ControlStore(current.control_url, current.ledger),
        registry=MlflowRegistry(current.mlflow_url),
        settings=current,
    )


def wall_clock() -> datetime:
    """Now, UTC: for what happens in the world (leases, records), never for what a verdict depends on."""
    return datetime.now(UTC)
