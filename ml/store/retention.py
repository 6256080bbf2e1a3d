"""Expired rows of one use case: which there are, which of them are still needed, and their removal.

A row is expired when it was received earlier than its part is kept. Expired rows whose event lies within what checks
and retraining look at are needed, and stay. Training versions are never touched: models are reproduced from them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds

from ml.errors import ConflictError
from ml.store.lake import BLOCK_KEY, Lake
from ml.store.layout import TIME
from ml.store.table import LakeTable
from ml.store.telemetry import Telemetry
from ml.use_case import UseCase

#: When a row of a table happened; of the quarantine only its blocks say so, by their names.
_HAPPENED = {"requests": "event_time", "labels": "known_at"}
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
    undated
        Rows without a date of their receipt, as the quarantine had them once: counted from when their file was
        written, and dated by it before anything is removed.
    """

    part: str
    before: datetime
    rows: int
    expired: int
    needed: int
    undated: int = 0


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
        written = table.newest_without("received_at") if found.undated else None
        if written is not None:
            table.fill("received_at", _moment(written))
        removed = table.delete(self._as_sql(found.part, found.before)) if found.expired else 0
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
        written = table.newest_without("received_at")
        undated = 0 if written is None else table.count(ds.field("received_at").is_null())
        if written is not None and written < before:
            old |= ds.field("received_at").is_null()
        expired, needed = table.count(old), 0
        if needed_from is not None:
            needed = table.count(old & self._is_needed(part, needed_from))
        return Expired(part, before, table.extent().rows, expired - needed, needed, undated)

    def _is_needed(self, part: str, needed_from: datetime) -> ds.Expression:
        if part in _HAPPENED:
            return ds.field(_HAPPENED[part]) >= pa.scalar(needed_from, TIME)
        return pc.starts_with(ds.field("key"), BLOCK_KEY) & (ds.field("key") >= self._first_block(needed_from))

    def _as_sql(self, part: str, before: datetime) -> str:
        """Condition of the rows that go: what is expired, and not needed."""
        old, needed_from = f"received_at < {_moment(before)}", self.needed_from()
        if needed_from is None:
            return old
        if part in _HAPPENED:
            return f"{old} AND {_HAPPENED[part]} < {_moment(needed_from)}"
        first = self._first_block(needed_from)
        return f"{old} AND (key IS NULL OR NOT (key LIKE '{BLOCK_KEY}%' AND key >= '{first}'))"

    def _first_block(self, needed_from: datetime) -> str:
        """Key of the first block that may hold needed rows: a block is named by its begin, and is closed by being here.

        Were it forgotten while its rows can still be trained on, they would be.
        """
        begin = needed_from - self._use_case.training.poison.block
        return f"{BLOCK_KEY}{begin.astimezone(UTC):%Y-%m-%d}"


def _moment(moment: datetime) -> str:
    return f"arrow_cast('{moment:%Y-%m-%dT%H:%M:%S.%f}Z', 'Timestamp(Microsecond, Some(\"UTC\"))')"
