"""Every runbook by its name: a new one is a file and a line here, its tests and a section of ``docs/runbooks.md``."""

from __future__ import annotations

from ml.errors import InputError
from ml.runbooks.clear_lease import ClearLease
from ml.runbooks.compact_lake import CompactLake
from ml.runbooks.drain_backlog import DrainBacklog
from ml.runbooks.fall_back import FallBack
from ml.runbooks.prune import Prune
from ml.runbooks.reload_model import ReloadModel
from ml.runbooks.restart_replica import RestartReplica
from ml.runbooks.restart_service import RestartService
from ml.runbooks.runbook import Runbook
from ml.runbooks.unstick import Unstick

RUNBOOKS: dict[str, Runbook] = {
    runbook.name: runbook
    for runbook in (
        RestartReplica(),
        RestartService(),
        ReloadModel(),
        FallBack(),
        ClearLease(),
        CompactLake(),
        DrainBacklog(),
        Prune(),
        Unstick(),
    )
}


def find_runbook(name: str) -> Runbook:
    """Runbook of a name.

    Raises
    ------
    InputError
        There is none.
    """
    if name not in RUNBOOKS:
        raise InputError("no such runbook", where="runbook", got=name, allowed=", ".join(RUNBOOKS))
    return RUNBOOKS[name]
