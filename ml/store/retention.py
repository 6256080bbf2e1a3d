"""Expired rows of one use case: which there are, which of them are still needed, and their removal.

A row is expired when it was received earlier than its part is kept. Expired rows whose event lies within what checks
and retraining look at are needed, and stay. Training versions are never touched: models are reproduced from them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

import pyarrow as pa
import pyarrow.dataset as ds

from ml.errors import ConflictError
from ml.store.lake import Lake
from ml.store.layout import TIME
from ml.store.table import LakeTable
from ml.store.telemetry import Telemetry
from ml.use_case import UseCase

#: When a row of a table happened; of the quarantine nobody knows.
_HAPPENED = {"requests": "event_time", "labels": "known_at", "quarantine": None}
_MEASURED = ("events", "rollups")


@dataclass(frozen=True)
class Expired:
    """Expired rows of one part.

    Attributes
    ----------
    before
        Rows that were received earlier are expired.
    rows
        All rows of the part.
    expired
        Rows that may go.
    needed
        Expired rows that stay.
    """

    part: str
    before: datetime
    rows: int
    expired: int
    needed: int


class Retained:
    """What of a use case is kept, and for how long, by its file.

    Parameters
    ----------
    now
        By which ages are counted; the same moment again finds the same rows.
    """

    def __init__(self, use_case: UseCase, lake: Lake, telemetry: Telemetry, *, now: datetime) -> None:
        self._use_case, self._lake, self._telemetry, self._now = use_case, lake, telemetry, now

    def needed_from(self) -> datetime | None:
        """Rows whose event is not earlier are needed by checks and retraining; None when there is no row.

        Counted from the newest event, not from now: history that is replayed is as old as its events.
        """
        newest = self._lake.newest_event()
        return None if newest is None else min(newest, self._now) - self._use_case.live_data_needed

    def look(self) -> tuple[Expired, ...]:
        """Every part that is not kept for ever."""
        needed_from = self.needed_from()
        found = []
        for part, keep in self._use_case.retention.declared.items():
            before = self._now - keep
            look = self._look_at_telemetry if part in _MEASURED else self._look_at_table
            found.append(look(part, before, needed_from))
        return tuple(found)

    def remove(self, found: Expired) -> int:
        """Remove the expired rows of a part that are not needed; returns how many went.

        Raises
        ------
        ConflictError
            Others went than were found: nothing of them has left the disk yet.
        """
        if found.part in _MEASURED:
            return self._telemetry.prune_use_case(self._use_case.name, **{f"{found.part}_before": found.before})
        table = self._lake.live_tables()[found.part]
        removed = table.delete(_as_sql(found.part, found.before, self.needed_from())) if found.expired else 0
        if removed != found.expired:
            got, allowed = f"{removed} rows were deleted", f"{found.expired}, which are expired"
            raise ConflictError("other rows went than were found", where=str(table.path), got=got, allowed=allowed)
        return removed

    def sweep(self) -> int:
        """Take files off the disk that hold nothing but removed rows; returns how many."""
        return sum(self._tables(LakeTable.sweep))

    def leftovers(self) -> int:
        """Files that are still to be swept."""
        return sum(self._tables(LakeTable.count_leftovers))

    def _tables(self, visit: Callable[[LakeTable], int]) -> list[int]:
        declared = self._use_case.retention.declared
        return [visit(table) for name, table in self._lake.live_tables().items() if name in declared]

    def _look_at_telemetry(self, part: str, before: datetime, _: datetime | None) -> Expired:
        rows, expired = self._telemetry.count(self._use_case.name, part, before=before)
        return Expired(part, before, rows, expired, 0)

    def _look_at_table(self, part: str, before: datetime, needed_from: datetime | None) -> Expired:
        table, old = self._lake.live_tables()[part], ds.field("received_at") < pa.scalar(before, TIME)
        expired, happened = table.count(old), _HAPPENED[part]
        needed = 0
        if happened and needed_from is not None:
            needed = table.count(old & (ds.field(happened) >= pa.scalar(needed_from, TIME)))
        return Expired(part, before, table.extent().rows, expired - needed, needed)


def _as_sql(part: str, before: datetime, needed_from: datetime | None) -> str:
    conditions = [f"received_at < {_moment(before)}"]
    happened = _HAPPENED[part]
    if happened and needed_from is not None:
        conditions.append(f"{happened} < {_moment(needed_from)}")
    return " AND ".join(conditions)


def _moment(moment: datetime) -> str:
    return f"arrow_cast('{moment:%Y-%m-%dT%H:%M:%S.%f}Z', 'Timestamp(Microsecond, Some(\"UTC\"))')"
