"""Lake tables of many small files are merged, with not a row less or more."""

from __future__ import annotations

import json

from ml.errors import PerennialError
from ml.runbooks.runbook import Before, Runbook, Seen, World
from ml.store.lake import Lake
from ml.store.table import Extent


class CompactLake(Runbook):
    """Target is the use case."""

    name, target, per_hour = "compact_lake", "a use case", 2

    def pre_check(self, target: str, world: World) -> Seen:
        """A partition holds many small files."""
        lake = _lake(target, world)
        crowded = [name for name, table in lake.live_tables().items() if table.is_crowded()]
        return Seen(bool(crowded), f"many small files: {', '.join(crowded)}" if crowded else "no table is crowded")

    def remember(self, target: str, world: World) -> Before:
        """Version, rows and files of each table."""
        return {name: json.dumps(extent) for name, extent in _lake(target, world).extents().items()}

    def act(self, target: str, world: World, before: Before) -> str:
        """Merge; a compaction that goes on elsewhere is left to it."""
        removed = sum(table.compact() for table in _lake(target, world).live_tables().values())
        return f"{removed} files were merged"

    def post_check(self, target: str, world: World, before: Before) -> Seen:
        """Nothing is crowded any more, and of no table are rows missing; more may have come meanwhile."""
        lake = _lake(target, world)
        crowded = [name for name, table in lake.live_tables().items() if table.is_crowded()]
        if crowded:
            return Seen(False, f"still many small files: {', '.join(crowded)}")
        changed = [name for name, now in lake.extents().items() if name in before and _lost(before[name], now)]
        files = sum(extent.files for extent in lake.extents().values())
        return Seen(
            not changed, f"rows are missing: {', '.join(changed)}" if changed else f"{files} files, no row lost"
        )

    def revert(self, target: str, world: World, before: Before) -> str:
        """The version before, of each table to which nothing was added since."""
        lake, back = _lake(target, world), []
        now = lake.extents()
        for name, table in lake.live_tables().items():
            if name not in before or now[name].version == Extent(*json.loads(before[name])).version:
                continue
            if now[name].rows > Extent(*json.loads(before[name])).rows:
                raise PerennialError("rows were added since; a restore would lose them", where=str(table.path))
            table.restore(Extent(*json.loads(before[name])).version)
            back.append(name)
        return f"back at the version before: {', '.join(back) or 'nothing had changed'}"


def _lake(target: str, world: World) -> Lake:
    return Lake(world.settings.lake, world.use_case(target))


def _lost(before: str, now: Extent) -> bool:
    return now.rows < Extent(*json.loads(before)).rows
