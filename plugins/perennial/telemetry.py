"""What the stages tell: events in the control database, which rules turn into alerts."""

from __future__ import annotations

import resource
from typing import TYPE_CHECKING, Any

from ml.settings import settings
from plugins.perennial.workbench import wall_clock

if TYPE_CHECKING:
    from ml.records.event import Severity


def note_event(
    name: str,
    *,
    source: str,
    use_case: str | None,
    message: str,
    severity: Severity = "info",
    code: int = 0,
    key: str = "",
    model_version: int | None = None,
) -> None:
    """Tell what happened; of one name and key only the first is kept, so a task that is run again repeats nothing."""
    from ml.records.event import Event
    from ml.store.telemetry import Telemetry

    event = Event(
        time=wall_clock(),
        use_case=use_case,
        source=source,
        code=code,
        name=name,
        severity=severity,
        message=message,
        key=key,
        model_version=model_version,
    )
    Telemetry(settings().control_url).add_events([event])


def note_gauge(name: str, value: float, *, source: str, use_case: str | None, label: str = "") -> None:
    """Tell what was measured."""
    from ml.records.rollup import Rollup
    from ml.store.telemetry import Telemetry

    of = {"time": wall_clock(), "seconds": 0.0, "source": source, "use_case": use_case, "label": label[:100]}
    Telemetry(settings().control_url).add_rollups([Rollup(**of, name=name, n=1, total=value, high=value)])


#: Processor seconds of this process when its task began, by the task's try.
_BEGUN: dict[str, float] = {}


def begin_cost(context: Any) -> None:
    """Remember what this process has used before its task: one process may run several."""
    _BEGUN[str(context["ti"].id)] = _processor_seconds()


def note_cost(context: Any) -> None:
    """Tell a task's processor time, that of its children included; what keeps it from being told is in its log."""
    from ml.pipeline.gather import TASK_COST

    instance = context["ti"]
    use_case, _, file = instance.dag_id.rpartition(".")
    used = _processor_seconds() - _BEGUN.pop(str(instance.id), 0.0)
    try:
        named = None if use_case == "perennial" else use_case
        note_gauge(TASK_COST, used, source=file, use_case=named, label=instance.task_id)
    except Exception as fault:  # a number is missing; the task has done what it was for
        print(f"the processor time could not be told: {fault}")


def _processor_seconds() -> float:
    """User and system time of this process and of its children that have ended, killed ones too."""
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(one.ru_utime + one.ru_stime for one in used)


def note_failure(context: Any) -> None:
    """Tell of a task that has failed for good; what keeps that from being told is in the task's log."""
    instance, error = context["ti"], context.get("exception")
    use_case, _, file = instance.dag_id.rpartition(".")
    try:
        note_event(
            "task_failed",
            source=file,
            use_case=use_case or None,
            severity="error",
            message=f"{instance.dag_id}.{instance.task_id} failed in run {instance.run_id}: {error}"[:2000],
            key=f"{instance.dag_id}/{instance.run_id}/{instance.task_id}/{instance.map_index}",
        )
    except Exception as fault:  # the failure itself is what matters
        print(f"the failure could not be told: {fault}")
