"""Error signatures of the logs in the control database, and how far each log was read; kept in one transaction."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from datetime import datetime
from typing import Any, NamedTuple

from sqlalchemy import Column, Connection, Integer, MetaData, Row, String, Table, Text, delete, insert, select, update
from sqlalchemy.exc import IntegrityError

from ml.records.pipeline import ErrorSignature
from ml.store.database import ControlTables, UtcMoment

_METADATA = MetaData()

_SIGNATURES = Table(
    "log_signatures",
    _METADATA,
    Column("digest", String(64), primary_key=True),
    Column("first_seen", UtcMoment, nullable=False),
    Column("last_seen", UtcMoment, nullable=False),
    Column("count", Integer, nullable=False),
    Column("template", Text, nullable=False),
    Column("source", String(200), nullable=False),
    Column("example", Text, nullable=False),
)

_POSITIONS = Table(
    "log_positions",
    _METADATA,
    Column("file", String(1000), primary_key=True),
    Column("inode", Integer, nullable=False),
    Column("offset", Integer, nullable=False),
    Column("time", UtcMoment, nullable=False),
)


class Position(NamedTuple):
    """How far a log was read, and which file it was."""

    inode: int
    offset: int


class Seen(NamedTuple):
    """Lines of one template that a look has found."""

    template: str
    source: str
    example: str
    lines: int


class LogSignatures(ControlTables):
    """What is known of the logs of one installation; tables are made when they are absent.

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

    def positions(self) -> dict[str, Position]:
        """How far each log was read."""
        query = select(_POSITIONS.c.file, _POSITIONS.c.inode, _POSITIONS.c.offset)
        with self._transaction() as connection:
            return {row.file: Position(row.inode, row.offset) for row in connection.execute(query)}

    def forget_positions(self, *, before: datetime) -> None:
        """Forget logs that had nothing new for so long; a task's log is written once and never again."""
        with self._transaction() as connection:
            connection.execute(delete(_POSITIONS).where(_POSITIONS.c.time < before))

    def looked(self) -> datetime | None:
        """When a log was last read; None before the first time."""
        query = select(_POSITIONS.c.time).order_by(_POSITIONS.c.time.desc()).limit(1)
        with self._transaction() as connection:
            return connection.execute(query).scalar()

    def keep(
        self, file: str, seen: Mapping[str, Seen], *, before: Position | None, after: Position, now: datetime
    ) -> bool:
        """Signatures of a log and the position that it was read to, all or nothing.

        Returns
        -------
        bool
            False when another look has read on meanwhile; then nothing has changed.
        """
        row = {"inode": after.inode, "offset": after.offset, "time": now}
        try:
            with self._transaction() as connection:
                if before is None:
                    connection.execute(insert(_POSITIONS).values(file=file, **row))
                else:
                    mine = (_POSITIONS.c.file == file, _POSITIONS.c.inode == before.inode)
                    same = update(_POSITIONS).where(*mine, _POSITIONS.c.offset == before.offset)
                    if connection.execute(same.values(row)).rowcount == 0:
                        return False
                for one in seen.values():
                    _count(connection, one, now)
        except IntegrityError:
            return False
        return True

    def signatures(self, *, since: datetime | None = None, until: datetime | None = None) -> tuple[ErrorSignature, ...]:
        """Signatures, the oldest first; those first seen between two moments, both included, where they are given."""
        query = select(_SIGNATURES).order_by(_SIGNATURES.c.first_seen, _SIGNATURES.c.template)
        if since is not None:
            query = query.where(_SIGNATURES.c.first_seen >= since)
        if until is not None:
            query = query.where(_SIGNATURES.c.first_seen <= until)
        with self._transaction() as connection:
            return tuple(_signature(row) for row in connection.execute(query))


def _count(connection: Connection, one: Seen, now: datetime) -> None:
    digest = hashlib.sha256(one.template.encode()).hexdigest()
    known = update(_SIGNATURES).where(_SIGNATURES.c.digest == digest)
    if connection.execute(known.values(count=_SIGNATURES.c.count + one.lines, last_seen=now)).rowcount == 0:
        row = {"digest": digest, "first_seen": now, "last_seen": now, "count": one.lines, "template": one.template}
        connection.execute(insert(_SIGNATURES).values(row | {"source": one.source[:200], "example": one.example}))


def _signature(row: Row[Any]) -> ErrorSignature:
    return ErrorSignature(
        template=row.template,
        count=row._mapping["count"],  # noqa: SLF001 - `count` is a method of a row
        first_seen=row.first_seen,
        last_seen=row.last_seen,
        source=row.source,
        example=row.example,
    )
