"""The control database: decisions that are written once, each with its entry in the ledger; leases."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from sqlalchemy import (
    Column,
    Index,
    MetaData,
    Row,
    String,
    Table,
    Text,
    delete,
    insert,
    or_,
    select,
    update,
)
from sqlalchemy.exc import IntegrityError

from ml.errors import InputError
from ml.records.base import Record
from ml.store.database import ControlTables, UtcMoment, ledger_folder
from ml.store.ledger import BrokenLedgerError, Entry, Ledger, ledger_table
from ml.store.ledger_key import LedgerFolder
from ml.store.verify_ledger import RESUMED, Line

_METADATA = MetaData()

_RECORDS = Table(
    "records",
    _METADATA,
    Column("kind", String(63), primary_key=True),
    Column("key", String(500), primary_key=True),
    Column("use_case", String(63), nullable=False),
    Column("as_of", UtcMoment, nullable=False),
    Column("created_at", UtcMoment, nullable=False),
    Column("payload", Text, nullable=False),
    Index("records_by_time", "use_case", "kind", "as_of"),
)

_LEASES = Table(
    "leases",
    _METADATA,
    Column("name", String(200), primary_key=True),
    Column("holder", String(500), nullable=False),
    Column("expires_at", UtcMoment, nullable=False),
)

_LEDGER = ledger_table(_METADATA)

#: Actor of what the stages do by themselves.
PERENNIAL = "perennial"


@dataclass(frozen=True)
class Stored:
    """A record of the control database.

    Attributes
    ----------
    kind
        Such as ``monitor``, ``retrain``, ``gate``, ``release``, ``league``.
    as_of
        Virtual moment that it speaks of.
    created_at
        When it was written.
    payload
        The record's JSON.
    """

    kind: str
    key: str
    use_case: str
    as_of: datetime
    created_at: datetime
    payload: str


@dataclass(frozen=True)
class Lease:
    """Who holds a lease, and until when."""

    name: str
    holder: str
    expires_at: datetime


class ControlStore(ControlTables):
    """The control database of one installation; tables are made when they are absent.

    Parameters
    ----------
    url
        SQLAlchemy URL. A SQLite file and its folder are made; it runs in WAL mode.
    ledger
        Folder of the ledger's key pair and head; beside a SQLite file when it is None.

    Raises
    ------
    InputError
        The URL is none, its driver is not installed, or the folder cannot be made; a server without ``ledger``.
    ServiceAway
        The database does not answer.
    """

    def __init__(self, url: str, ledger: Path | None = None) -> None:
        super().__init__(url)
        self._ledger = Ledger(_LEDGER, _RECORDS, LedgerFolder(ledger or ledger_folder(url)))
        self._make(_METADATA)

    @property
    def ledger_folder(self) -> LedgerFolder:
        """Key pair and head of the ledger."""
        return self._ledger.folder

    def record(
        self,
        kind: str,
        key: str,
        record: Record,
        *,
        use_case: str,
        as_of: datetime,
        now: datetime,
        actor: str = PERENNIAL,
    ) -> Stored:
        """Write a record and its entry in the ledger, once and in one transaction; a second write changes nothing.

        Parameters
        ----------
        actor
            Who did or decided it: a person's name, or the stage.

        Returns
        -------
        Stored
            What is stored now: this record, or an earlier run's.

        Raises
        ------
        BrokenLedgerError
            The ledger is broken; the record is not written either.
        """
        row = _row(kind, key, record, use_case=use_case, as_of=as_of, now=now)
        try:
            with self._transaction() as connection:
                connection.execute(insert(_RECORDS).values(row))
                head = self._ledger.append(connection, row, actor=actor)
            self._ledger.folder.advance(head)
        except IntegrityError:
            pass  # an earlier run was first; its record is the answer
        stored = self.find(kind, key)
        if stored is None:
            raise BrokenLedgerError("the record of a ledger's entry is absent", where=self._where, got=f"{kind} {key}")
        return stored

    def resume_ledger(self, record: Record, *, now: datetime, actor: str) -> dict[str, Any]:
        """Let a broken ledger go on, on a person's word; returns the new head."""
        row = _row(RESUMED, now.isoformat(), record, use_case="", as_of=now, now=now)
        with self._transaction() as connection:
            connection.execute(insert(_RECORDS).values(row))
            head = self._ledger.resume(connection, row, actor=actor)
        self._ledger.folder.replace_head(head)
        return head

    def ledger_entries(
        self, *, kinds: tuple[str, ...] = (), use_case: str | None = None, limit: int | None = None
    ) -> tuple[Entry, ...]:
        """Newest entries first, with their records; of all kinds and use cases where none is named."""
        with self._transaction() as connection:
            return self._ledger.entries(connection, kinds=kinds, use_case=use_case, limit=limit)

    def ledger_use_cases(self) -> frozenset[str]:
        """Use cases that entries are about; empty before the first entry."""
        with self._transaction() as connection:
            return self._ledger.use_cases(connection)

    def ledger_lines(self) -> Iterator[Line]:
        """Every entry as it is stored, with its record, oldest first."""
        with self._transaction() as connection:
            yield from self._ledger.lines(connection)

    def unrecorded(self) -> tuple[str, ...]:
        """Records that the ledger does not know, as ``kind key``; before its first entry there is no ledger."""
        with self._transaction() as connection:
            return self._ledger.unrecorded(connection) if self._ledger.use_cases(connection) else ()

    def find(self, kind: str, key: str) -> Stored | None:
        """Record of a kind and key, None when there is none."""
        query = select(_RECORDS).where(_RECORDS.c.kind == kind, _RECORDS.c.key == key)
        with self._transaction() as connection:
            row = connection.execute(query).one_or_none()
        return None if row is None else _stored(row)

    def latest(self, kind: str, use_case: str) -> Stored | None:
        """Record of a kind with the newest ``as_of``, None when there is none."""
        found = self.history(use_case, kind, limit=1)
        return found[0] if found else None

    def history(
        self, use_case: str, kind: str | None = None, limit: int = 100, *, before: datetime | None = None
    ) -> tuple[Stored, ...]:
        """Records of a use case, newest ``as_of`` first; those that speak of an earlier moment where one is given."""
        query = select(_RECORDS).where(_RECORDS.c.use_case == use_case)
        if kind is not None:
            query = query.where(_RECORDS.c.kind == kind)
        if before is not None:
            query = query.where(_RECORDS.c.as_of < before)
        ordered = query.order_by(_RECORDS.c.as_of.desc(), _RECORDS.c.created_at.desc(), _RECORDS.c.key)
        with self._transaction() as connection:
            return tuple(_stored(row) for row in connection.execute(ordered.limit(limit)))

    def acquire_lease(self, name: str, holder: str, *, now: datetime, ttl: timedelta) -> bool:
        """Whether the holder has the lease now; True again for the same holder, whose time is prolonged.

        A lease that has expired is taken over. Two askers at once: one of them gets it.

        Raises
        ------
        InputError
            ``ttl`` is not positive.
        """
        if ttl <= timedelta(0):
            raise InputError("lease needs a positive length", where=name, got=str(ttl))
        mine = {"holder": holder, "expires_at": now + ttl}
        free = or_(_LEASES.c.holder == holder, _LEASES.c.expires_at <= now)
        try:
            with self._transaction() as connection:
                taken = connection.execute(update(_LEASES).where(_LEASES.c.name == name, free).values(mine))
                if taken.rowcount == 0:
                    connection.execute(insert(_LEASES).values(name=name, **mine))
        except IntegrityError:
            return False
        return True

    def release_lease(self, name: str, holder: str) -> None:
        """Give a lease back; nothing happens when somebody else holds it."""
        with self._transaction() as connection:
            connection.execute(delete(_LEASES).where(_LEASES.c.name == name, _LEASES.c.holder == holder))

    def lease(self, name: str) -> Lease | None:
        """A lease, expired or not; None when nobody holds it."""
        with self._transaction() as connection:
            row = connection.execute(select(_LEASES).where(_LEASES.c.name == name)).one_or_none()
        return None if row is None else Lease(row.name, row.holder, row.expires_at)

    def restore_lease(self, name: str, holder: str, *, expires_at: datetime) -> None:
        """Give a lease that nobody holds back to whom it was taken from, until when he had it."""
        with suppress(IntegrityError), self._transaction() as connection:
            connection.execute(insert(_LEASES).values(name=name, holder=holder, expires_at=expires_at))


def _row(kind: str, key: str, record: Record, *, use_case: str, as_of: datetime, now: datetime) -> dict[str, Any]:
    return {
        "kind": kind,
        "key": key,
        "use_case": use_case,
        "as_of": as_of,
        "created_at": now,
        "payload": record.model_dump_json(),
    }


def _stored(row: Row[tuple[object, ...]]) -> Stored:
    return Stored(**row._mapping)  # noqa: SLF001 - SQLAlchemy's documented access to a row as a mapping
