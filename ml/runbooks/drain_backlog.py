"""Captured rows that wait in outboxes are taken into the lake, each exactly once."""

from __future__ import annotations

from ml.runbooks.runbook import Before, Runbook, Seen, World
from ml.store.lake import Lake
from ml.store.outbox import count_waiting

#: Fewer rows are the daily business of the monitor DAG.
BACKLOG_ROWS = 10_000


class DrainBacklog(Runbook):
    """Target is the use case."""

    name, target, per_hour = "drain_backlog", "a use case", 4

    def __init__(self, *, backlog: int = BACKLOG_ROWS) -> None:
        self._backlog = backlog

    def pre_check(self, target: str, world: World) -> Seen:
        """Many rows wait."""
        waiting = count_waiting(world.settings.outbox, world.use_case(target).name)
        return Seen(waiting >= self._backlog, f"{waiting} rows wait, {self._backlog} are a backlog")

    def remember(self, target: str, world: World) -> Before:
        """Rows in the outboxes and in the lake."""
        lake = Lake(world.settings.lake, world.use_case(target))
        rows = sum(extent.rows for extent in lake.extents().values())
        return {"waiting": str(count_waiting(world.settings.outbox, target)), "stored": str(rows)}

    def act(self, target: str, world: World, before: Before) -> str:
        """Ingest."""
        report = Lake(world.settings.lake, world.use_case(target)).ingest(world.settings.outbox)
        return f"{report.requests} answers, {report.labels} labels, {report.quarantined} put aside"

    def post_check(self, target: str, world: World, before: Before) -> Seen:
        """The backlog is gone, and the lake has grown by what left the outboxes."""
        waiting = count_waiting(world.settings.outbox, target)
        lake = Lake(world.settings.lake, world.use_case(target))
        grown = sum(extent.rows for extent in lake.extents().values()) - int(before["stored"])
        told = f"{waiting} rows wait, {grown} came into the lake"
        return Seen(waiting < self._backlog and grown >= int(before["waiting"]) - waiting, told)

    def revert(self, target: str, world: World, before: Before) -> str:
        """What the lake has stays: each row is in it once, and what could not be taken is still in its outbox."""
        return f"nothing to take back; {count_waiting(world.settings.outbox, target)} rows wait where they were"
