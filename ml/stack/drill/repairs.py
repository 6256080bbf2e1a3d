"""What runbooks did while a fault was in the stack, by their own records: actions that nobody needed, false claims."""

from __future__ import annotations

from datetime import datetime, timedelta

from ml.records.runbook import RunbookBegun, RunbookRun
from ml.runbooks.run import BEGUN, ENDED, OF_ALL
from ml.runbooks.shelf import RUNBOOKS
from ml.stack.drill.fault import Fault
from ml.store.control import ControlStore

_RUNBOOK = "runbook "


def count_wrong_runs(control: ControlStore, fault: Fault, *, began: datetime, undone: datetime, repaired: bool) -> int:
    """Actions of another runbook than the fault's, and ends ``repaired`` of what was not.

    Parameters
    ----------
    began, undone
        Between them the fault was in the stack.
    repaired
        Whether the drill saw a repair, by a look of its own.
    """
    meant = fault.repair.removeprefix(_RUNBOOK) if fault.repair.startswith(_RUNBOOK) else ""
    acted = [
        RunbookBegun.model_validate_json(one.payload) for one in control.history(OF_ALL, BEGUN) if one.as_of > began
    ]
    strange = sum(one.runbook != meant and not RUNBOOKS[one.runbook].routine for one in acted)
    if repaired:
        return strange
    ended = (RunbookRun.model_validate_json(one.payload) for one in control.history(OF_ALL, ENDED) if one.as_of > began)
    claimed = [run for run in ended if run.end == "repaired" and run.began + timedelta(seconds=run.seconds) < undone]
    return strange + sum(run.runbook == meant for run in claimed)
