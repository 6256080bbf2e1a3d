"""Telemetry in the control database: events, rollups, and how far each replica's spool was taken."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

from pydantic import ValidationError
from sqlalchemy import (
    Column,
    ColumnElement,
    Connection,
    Float,
    Index,
    Integer,
    MetaData,
    String,
    Table,
    Text,
    and_,
    delete,
    func,
    insert,
    or_,
    select,
    update,
)
from sqlalchemy.exc import IntegrityError

from ml.records.event import Event
from ml.records.rollup import Rollup
from ml.store.database import ControlTables
from ml.store.spool import Spool, Spooled

_METADATA = MetaData()

_LONGEST_KEY = 500

#: Moments are seconds since the epoch here: a day of events is read in one go, and dates are slow to parse.
_EVENTS = Table(
    "telemetry_events",
    _METADATA,
    Column("number", Integer, primary_key=True, autoincrement=True),
    Column("time", Float, nullable=False),
    Column("use_case", String(63)),
    Column("source", String(100), nullable=False),
    Column("code", Integer, nullable=False),
    Column("name", String(100), nullable=False),
    Column("severity", String(10), nullable=False),
    Column("message", Text, nullable=False),
    Column("request_id", String(200), nullable=False),
    Column("model_version", Integer),
    Column("key", String(_LONGEST_KEY), nullable=False),
    Column("count", Integer, nullable=False),
    Index("telemetry_events_by_time", "time"),
    Index("telemetry_events_by_name", "name", "time"),
    Index("telemetry_events_by_code", "code", "time"),
    Index("telemetry_events_by_request", "request_id"),
)
_KEYED = _EVENTS.c.key != ""
Index(
    "telemetry_events_keep_a_key_once",
    _EVENTS.c.name,
    _EVENTS.c.key,
    unique=True,
    sqlite_where=_KEYED,
    postgresql_where=_KEYED,
)

_ROLLUPS = Table(
    "telemetry_rollups",
    _METADATA,
    Column("number", Integer, primary_key=True, autoincrement=True),
    Column("time", Float, nullable=False),
    Column("seconds", Float, nullable=False),
    Column("source", String(100), nullable=False),
    Column("use_case", String(63)),
    Column("name", String(100), nullable=False),
    Column("label", String(100), nullable=False),
    Column("n", Integer, nullable=False),
    Column("total", Float, nullable=False),
    Column("high", Float),
    Column("histogram", Text),
    Index("telemetry_rollups_by_name", "name", "time"),
    Index("telemetry_rollups_by_time", "time"),
)

_SPOOLS = Table(
    "telemetry_spools",
    _METADATA,
    Column("identity", String(32), primary_key=True),
    Column("seq", Integer, nullable=False),
)

_BATCH = 5_000

#: Event about rows of a spool that are no records of ours.
NOT_UNDERSTOOD = "telemetry_not_understood"

#: PostgreSQL refuses what does not fit, and the character NUL: one such event would keep all others out.
_LONGEST = {
    column.name: getattr(column.type, "length", None) for column in _EVENTS.c if isinstance(column.type, String)
}

_TOLD = tuple(name for name in Event.model_fields if name != "format")


class EventRow(NamedTuple):
    """An event as rules read it; ``time`` in seconds since the epoch."""

    time: float
    use_case: str | None
    source: str
    code: int
    name: str
    severity: str
    message: str
    request_id: str
    model_version: int | None
    key: str
    n: int


class RollupRow(NamedTuple):
    """A rollup as rules read it; ``time`` is the end of its interval, in seconds since the epoch."""

    time: float
    source: str
    use_case: str | None
    name: str
    label: str
    n: int
    total: float
    high: float | None
    histogram: str | None


@dataclass(frozen=True)
class Need:
    """What is to be read: rows of these names or codes, not older than a moment; neither is every row."""

    since: datetime
    names: frozenset[str] = frozenset()
    codes: frozenset[int] = frozenset()


@dataclass(frozen=True)
class Taken:
    """What was taken out of a spool."""

    events: int = 0
    rollups: int = 0


class Telemetry(ControlTables):
    """Events and rollups of one installation; tables are made when they are absent.

    Parameters
    ----------
    url
        SQLAlchemy URL of the control database.

    Raises
    ------
    ServiceAway
        The database does not answer.
    """

    def __init__(self, url: str) -> None:
        super().__init__(url)
        self._make(_METADATA)

    def add_events(self, events: Iterable[Event]) -> None:
        """Append events; of one name and key, where it has a key, the first stays and later ones change nothing."""
        rows = [_event_row(event) for event in events]
        with self._transaction() as connection:
            _insert(connection, _EVENTS, [row for row in rows if not row["key"]])
        for row in rows:
            if row["key"]:
                with suppress(IntegrityError), self._transaction() as connection:
                    _insert(connection, _EVENTS, [row])

    def add_rollups(self, rollups: Iterable[Rollup]) -> None:
        """Append rollups."""
        with self._transaction() as connection:
            _insert(connection, _ROLLUPS, [_rollup_row(rollup) for rollup in rollups])

    def take_spool(self, path: Path, *, batch_rows: int = _BATCH) -> Taken:
        """Take a replica's spool into the database, each row exactly once, whoever is killed at whatever moment.

        Raises
        ------
        ServiceAway
            Database or spool do not answer; what was taken stays taken, the rest is still there.
        DataError
            The spool is damaged.
        """
        events = rollups = 0
        with Spool(path) as spool:
            if not spool.identity:
                return Taken()
            seq = self._position(spool.identity)
            while batch := spool.read(after=seq, limit=batch_rows):
                found, measured = _understand(batch, path)
                if not self._take(spool.identity, seq, batch[-1].seq, found, measured):
                    break  # another collector takes this spool
                seq = batch[-1].seq
                events, rollups = events + len(found), rollups + len(measured)
            spool.delete(up_to=self._position(spool.identity))
        return Taken(events, rollups)

    def search(
        self,
        *,
        since: datetime | None = None,
        until: datetime | None = None,
        use_case: str | None = None,
        codes: Sequence[int] = (),
        names: Sequence[str] = (),
        text: str = "",
        request_id: str = "",
        limit: int = 100,
    ) -> tuple[Event, ...]:
        """Newest events first that fit everything that is asked for; ``text`` is found in any case."""
        conditions = [
            *([_EVENTS.c.time >= since.timestamp()] if since else ()),
            *([_EVENTS.c.time < until.timestamp()] if until else ()),
            *([_EVENTS.c.use_case == use_case] if use_case is not None else ()),
            *([_EVENTS.c.code.in_(codes)] if codes else ()),
            *([_EVENTS.c.name.in_(names)] if names else ()),
            *([_EVENTS.c.message.icontains(text, autoescape=True)] if text else ()),
            *([_EVENTS.c.request_id == request_id] if request_id else ()),
        ]
        query = select(_EVENTS).where(*conditions).order_by(_EVENTS.c.time.desc(), _EVENTS.c.number.desc())
        with self._transaction() as connection:
            return tuple(_event(row._mapping) for row in connection.execute(query.limit(limit)))  # noqa: SLF001

    def read_events(self, needs: Sequence[Need], *, until: datetime) -> list[EventRow]:
        """Events that one of the needs asks for, oldest first."""
        if not needs:
            return []
        columns = [_EVENTS.c[name] for name in _TOLD]
        asked = or_(*(_asked(_EVENTS.c.time, _EVENTS.c.name, need, _EVENTS.c.code) for need in needs))
        query = select(*columns).where(_EVENTS.c.time < until.timestamp(), asked).order_by(_EVENTS.c.time)
        with self._transaction() as connection:
            return [EventRow._make(row) for row in connection.execute(query).all()]  # all at once: half the time

    def read_rollups(self, needs: Sequence[Need], *, until: datetime) -> list[RollupRow]:
        """Rollups of intervals that ended before a moment and that one of the needs asks for, oldest first."""
        if not needs:
            return []
        table = _ROLLUPS.c
        end = table.time + table.seconds
        columns = [end, *(table[name] for name in RollupRow._fields[1:])]
        asked = or_(*(_asked(table.time, table.name, need) for need in needs))
        query = select(*columns).where(end <= until.timestamp(), asked).order_by(end)
        with self._transaction() as connection:
            return [RollupRow._make(row) for row in connection.execute(query).all()]

    def begin(self) -> datetime | None:
        """Moment of the oldest row that is kept; None before the first."""
        with self._transaction() as connection:
            found = [connection.execute(select(func.min(table.c.time))).scalar() for table in (_EVENTS, _ROLLUPS)]
        known = [moment for moment in found if moment is not None]
        return datetime.fromtimestamp(min(known), UTC) if known else None

    def prune(self, *, events_before: datetime, rollups_before: datetime) -> int:
        """Forget what is older; returns how many rows went."""
        with self._transaction() as connection:
            gone = connection.execute(delete(_EVENTS).where(_EVENTS.c.time < events_before.timestamp())).rowcount
            old = delete(_ROLLUPS).where(_ROLLUPS.c.time < rollups_before.timestamp())
            return gone + connection.execute(old).rowcount

    def prune_use_case(
        self, use_case: str, *, events_before: datetime | None = None, rollups_before: datetime | None = None
    ) -> int:
        """Forget what is older of one use case; returns how many rows went."""
        gone = 0
        with self._transaction() as connection:
            for table, before in ((_EVENTS, events_before), (_ROLLUPS, rollups_before)):
                if before is not None:
                    old = table.c.time < before.timestamp()
                    gone += connection.execute(delete(table).where(table.c.use_case == use_case, old)).rowcount
        return gone

    def count(self, use_case: str, part: str, *, before: datetime) -> tuple[int, int]:
        """Rows of one use case among ``events`` or ``rollups``: all, and those that are older."""
        table = {"events": _EVENTS, "rollups": _ROLLUPS}[part]
        mine = select(func.count()).where(table.c.use_case == use_case)
        with self._transaction() as connection:
            found = [mine, mine.where(table.c.time < before.timestamp())]
            rows, older = (int(connection.execute(query).scalar() or 0) for query in found)
        return rows, older

    def _position(self, identity: str) -> int:
        with self._transaction() as connection:
            found = connection.execute(select(_SPOOLS.c.seq).where(_SPOOLS.c.identity == identity)).scalar()
        return found or 0

    def _take(
        self, identity: str, seq: int, reached: int, events: list[dict[str, Any]], rollups: list[dict[str, Any]]
    ) -> bool:
        """Rows and the new position in one transaction; False when somebody else has moved it."""
        mine = update(_SPOOLS).where(_SPOOLS.c.identity == identity, _SPOOLS.c.seq == seq).values(seq=reached)
        try:
            with self._transaction() as connection:
                if connection.execute(mine).rowcount == 0:
                    if seq:
                        return False
                    connection.execute(insert(_SPOOLS).values(identity=identity, seq=reached))
                _insert(connection, _EVENTS, [row for row in events if not row["key"]])
                for row in events:
                    if row["key"]:
                        with suppress(IntegrityError), connection.begin_nested():  # of a key the first stays
                            _insert(connection, _EVENTS, [row])
                _insert(connection, _ROLLUPS, rollups)
        except IntegrityError:
            return False
        return True


def _asked(
    time: ColumnElement[float], name: ColumnElement[str], need: Need, code: ColumnElement[int] | None = None
) -> ColumnElement[bool]:
    recent = time >= need.since.timestamp()
    if need.names:
        recent = and_(recent, name.in_(sorted(need.names)))
    if need.codes and code is not None:
        recent = and_(recent, code.in_(sorted(need.codes)))
    return recent


def _insert(connection: Connection, table: Table, rows: list[dict[str, Any]]) -> None:
    if rows:
        connection.execute(insert(table), rows)


def _understand(batch: Sequence[Spooled], path: Path) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Rows for the database; those that are no records of ours are told of, and hold up nothing."""
    events, rollups, faults = [], [], []
    for row in batch:
        try:
            if row.kind == "event":
                events.append(_event_row(Event.model_validate_json(row.payload)))
            else:
                rollups.append(_rollup_row(Rollup.model_validate_json(row.payload)))
        except ValidationError as error:
            faults.append(error)
    if faults:
        told = f"{len(faults)} rows of {path.name} are not understood, such as: {faults[0]}"
        of: dict[str, Any] = {"time": datetime.now(UTC), "use_case": None, "source": path.stem[:100]}
        fault = Event(**of, name=NOT_UNDERSTOOD, severity="error", message=told[:2000], count=len(faults))
        events.append(_event_row(fault))
    return events, rollups


def _event_row(event: Event) -> dict[str, Any]:
    row = event.model_dump(exclude={"format"}) | {"time": event.time.timestamp()}
    if len(event.key) > _LONGEST_KEY:  # cut, but still another one than its like
        digest = hashlib.sha256(event.key.encode("utf-8", "replace")).hexdigest()[:16]
        row["key"] = f"{event.key[: _LONGEST_KEY - 17]}~{digest}"
    for name, longest in _LONGEST.items():
        if row[name] is not None:
            row[name] = row[name].replace("\0", "\ufffd")[:longest]
    return row


def _event(row: Any) -> Event:
    known = {name: row[name] for name in _TOLD}
    return Event.model_validate(known | {"time": datetime.fromtimestamp(known["time"], UTC)})


def _rollup_row(rollup: Rollup) -> dict[str, Any]:
    histogram = json.dumps([rollup.bounds, rollup.buckets]) if rollup.buckets else None
    kept = rollup.model_dump(exclude={"format", "bounds", "buckets"})
    return kept | {"time": rollup.time.timestamp(), "histogram": histogram}
