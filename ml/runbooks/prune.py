"""What is kept longer than its use case file says is removed, and nothing else."""

from __future__ import annotations

import json
from datetime import datetime, timedelta

from ml.errors import PerennialError
from ml.records.retention import Pruned, PrunedPart
from ml.runbooks.runbook import Before, Runbook, Seen, World
from ml.store.lake import Lake
from ml.store.retention import Expired, Retained

#: Kind of the record of what was pruned.
PRUNED = "prune"


class Prune(Runbook):
    """Target is the use case, whose section ``retention`` says what is kept how long."""

    name, target, per_hour = "prune", "a use case", 10
    routine = True

    def pre_check(self, target: str, world: World) -> Seen:
        """Something is expired that nobody needs or has no date, or removed rows are still on the disk."""
        use_case = world.use_case(target)
        if not use_case.retention.declared:
            return Seen(False, f"{target} keeps everything: its file declares no retention")
        retained = _retained(target, world, world.clock())
        found, left = retained.look(), retained.leftovers()
        told = "; ".join(map(_tell, found)) + (f"; {left} files of removed rows" if left else "")
        return Seen(left > 0 or any(part.expired or part.undated for part in found), told)

    def remember(self, target: str, world: World) -> Before:
        """The moment that ages are counted by, and of each part its rows, those that go, and its version."""
        now = world.clock()
        lake, found = _lake(target, world), _retained(target, world, now).look()
        versions = {name: extent.version for name, extent in lake.extents().items()}
        told = {part.part: json.dumps([part.rows, part.expired, versions.get(part.part)]) for part in found}
        return {"now": now.isoformat()} | told

    def act(self, target: str, world: World, before: Before) -> str:
        """Remove part by part, then take the files off the disk, then write down what went."""
        now = datetime.fromisoformat(before["now"])
        retained = _retained(target, world, now)
        found = retained.look()
        removed = {part.part: retained.remove(part) for part in found}
        swept = retained.sweep()
        self._record(target, world, now, {part.part: part for part in found}, removed)
        gone = ", ".join(f"{n} {name}" for name, n in removed.items() if n)
        return f"removed: {gone or 'nothing'}; {swept} files swept"

    def post_check(self, target: str, world: World, before: Before) -> Seen:
        """Nothing is expired by the same moment, no other row is missing, no file of removed rows is left."""
        retained = _retained(target, world, datetime.fromisoformat(before["now"]))
        found, left = retained.look(), retained.leftovers()
        still = [f"{part.expired + part.undated} {part.part}" for part in found if part.expired or part.undated]
        lost = [part.part for part in found if _is_short(part, before)]
        if lost:
            return Seen(False, f"rows are missing that had not expired: {', '.join(lost)}")
        if still or left:
            return Seen(False, f"still there: {', '.join(still) or 'no expired row'}, {left} files of removed rows")
        return Seen(True, "; ".join(map(_tell, found)))

    def revert(self, target: str, world: World, before: Before) -> str:
        """Tables that lost a row too much go back to the version before, while its files are there.

        What was removed rightly stays removed; what was not reached is there, and the next run removes it.
        """
        lake, back = _lake(target, world), []
        for part in _retained(target, world, datetime.fromisoformat(before["now"])).look():
            if not _is_short(part, before):
                continue
            _, _, version = json.loads(before[part.part])
            if part.rows > lake.live_tables()[part.part].rows_at(version):
                raise PerennialError("rows were added since; a restore would lose them", where=part.part)
            lake.live_tables()[part.part].restore(version)
            back.append(part.part)
        return f"back at the version before: {', '.join(back) or 'nothing, no row is missing that had not expired'}"

    def _record(
        self, target: str, world: World, now: datetime, found: dict[str, Expired], removed: dict[str, int]
    ) -> None:
        retained, keep = _retained(target, world, now), world.use_case(target).retention.declared
        left = {part.part: part.rows for part in retained.look()}
        parts = [
            PrunedPart.model_validate(
                {
                    "part": name,
                    "keep_days": keep[name] / timedelta(days=1),
                    "before": part.before,
                    "removed": removed[name],
                    "needed": part.needed,
                    "left": left[name],
                }
            )
            for name, part in found.items()
        ]
        pruned = Pruned(
            use_case=target,
            at=now,
            needed_from=retained.needed_from(),
            parts=tuple(parts),
            training_versions=_lake(target, world).training_versions(),
        )
        key = f"{target}/{now.isoformat()}"
        world.control.record(PRUNED, key, pruned, use_case=target, as_of=now, now=now, actor="runbook")


def find_expired(world: World) -> list[str]:
    """Use cases of which something is expired, those that were pruned longest ago first."""
    runbook = Prune()
    names = [path.stem for path in sorted(world.settings.use_cases.glob("*.yaml"))]
    found = [name for name in names if runbook.pre_check(name, world).ok]
    pruned = {name: [stored.as_of for stored in world.control.history(name, PRUNED, 1)] for name in found}
    return sorted(found, key=lambda name: (pruned[name], name))


def _is_short(part: Expired, before: Before) -> bool:
    """Whether a table lacks more rows than were expired; events and rollups are removed by the installation, too."""
    rows, expired, version = json.loads(before[part.part])
    return version is not None and part.rows < rows - expired


def _tell(part: Expired) -> str:
    needed = f", {part.needed} older ones are still needed" if part.needed else ""
    undated = f", {part.undated} have no date of their own yet" if part.undated else ""
    return (
        f"{part.part}: {part.expired} of {part.rows} are from before {part.before:%Y-%m-%d %H:%M} UTC{needed}{undated}"
    )


def _lake(target: str, world: World) -> Lake:
    return Lake(world.settings.lake, world.use_case(target))


def _retained(target: str, world: World, now: datetime) -> Retained:
    return Retained(world.use_case(target), _lake(target, world), world.telemetry, now=now)
