"""The ledger: one entry for each record of the control database, written in the record's own transaction.

The format, and what a verification checks, are in :mod:`ml.store.verify_ledger`; key and head in
:mod:`ml.store.ledger_key`. The newest entry and the kept head are checked before another entry is added: a broken
ledger is never continued by itself, and so every entry vouches for the signature of the one before it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import (
    Column,
    Connection,
    Integer,
    MetaData,
    Row,
    String,
    Table,
    UniqueConstraint,
    and_,
    insert,
    select,
    text,
)

from ml.errors import PerennialError
from ml.store.ledger_key import LedgerFolder
from ml.store.verify_ledger import GENESIS, Line, canonical, digest_of, head_content, is_signed, link_of

#: Actor of records that were there before the ledger was.
ADOPTED = "adopted"

_BATCH = 1000  # rows that a reader holds


class BrokenLedgerError(PerennialError):
    """The ledger is not as it was written; nothing is added to it until a person lets it go on."""


def ledger_table(metadata: MetaData) -> Table:
    """Table of the entries; every column but the signature is what the signature is over."""
    return Table(
        "ledger",
        metadata,
        Column("number", Integer, primary_key=True, autoincrement=False),
        Column("time", String(40), nullable=False),
        Column("actor", String(500), nullable=False),
        Column("kind", String(63), nullable=False),
        Column("key", String(500), nullable=False),
        Column("use_case", String(63), nullable=False),
        Column("as_of", String(40), nullable=False),
        Column("payload_sha256", String(64), nullable=False),
        Column("previous", String(64), nullable=False),
        Column("signature", String(128), nullable=False),
        UniqueConstraint("kind", "key", name="ledger_names_a_record_once"),
    )


@dataclass(frozen=True)
class Entry:
    """An entry with its record.

    Attributes
    ----------
    payload
        The record's JSON; empty when the record is absent.
    """

    number: int
    time: datetime
    actor: str
    kind: str
    key: str
    use_case: str
    as_of: datetime
    payload: str


class Ledger:
    """Appends and reads entries within a transaction of the control database.

    Parameters
    ----------
    table, records
        The entries, and the records that they are about.
    """

    def __init__(self, table: Table, records: Table, folder: LedgerFolder) -> None:
        self._table, self._records, self.folder = table, records, folder

    def append(self, connection: Connection, record: Mapping[str, Any], *, actor: str) -> dict[str, Any]:
        """Add the entry of a record that this transaction has written; returns the head to keep once it is committed.

        On SQLite the record's own INSERT holds the only write lock; elsewhere the table is locked here.

        Raises
        ------
        BrokenLedgerError
            The newest entry is not as it was written, or the kept head knows of more.
        InputError
            The key is absent although there are entries.
        """
        number, link = self._continue(connection, record)
        return self._add(connection, record, actor=actor, number=number + 1, previous=link)

    def resume(self, connection: Connection, record: Mapping[str, Any], *, actor: str) -> dict[str, Any]:
        """Add an entry behind whatever is there: a person's, who was told what is broken. Lost numbers stay lost."""
        self._lock(connection)
        last = self._last(connection)
        link = GENESIS if last is None else _link(last)
        kept = (self.folder.head() or {}).get("number")
        number = max(0 if last is None else last.number, kept if isinstance(kept, int) else 0)
        return self._add(connection, record, actor=actor, number=number + 1, previous=link)

    def lines(self, connection: Connection) -> Iterator[Line]:
        """Every entry as it is stored, with its record, oldest first."""
        entries, records = self._table.c, self._records.c
        query = select(self._table, records.payload, records.use_case, records.as_of, records.created_at)
        joined = self._table.outerjoin(self._records, and_(records.kind == entries.kind, records.key == entries.key))
        found = connection.execution_options(yield_per=_BATCH).execute(
            query.select_from(joined).order_by(entries.number)
        )
        for row in found:
            *_, signature, payload, use_case, as_of, created_at = row
            entry = _entry(row)
            yield Line(entry, signature, payload, _moved(entry, use_case, as_of, created_at))

    def unrecorded(self, connection: Connection) -> tuple[str, ...]:
        """Records that no entry is about, as ``kind key``."""
        entries, records = self._table.c, self._records.c
        query = (
            select(records.kind, records.key)
            .outerjoin_from(self._records, self._table, and_(records.kind == entries.kind, records.key == entries.key))
            .where(entries.number.is_(None))
            .order_by(records.kind, records.key)
        )
        return tuple(f"{kind} {key}" for kind, key in connection.execute(query))

    def entries(
        self,
        connection: Connection,
        *,
        kinds: tuple[str, ...] = (),
        use_case: str | None = None,
        limit: int | None = None,
    ) -> tuple[Entry, ...]:
        """Newest entries first, with their records; of all kinds and use cases where none is named."""
        columns, records = self._table.c, self._records.c
        query = select(self._table, records.payload).select_from(
            self._table.outerjoin(self._records, and_(records.kind == columns.kind, records.key == columns.key))
        )
        if kinds:
            query = query.where(columns.kind.in_(kinds))
        if use_case is not None:
            query = query.where(columns.use_case == use_case)
        found = connection.execute(query.order_by(columns.number.desc()).limit(limit))
        return tuple(_with_record(row) for row in found)

    def use_cases(self, connection: Connection) -> frozenset[str]:
        """Use cases that entries are about; empty before the first entry."""
        return frozenset(connection.execute(select(self._table.c.use_case).distinct()).scalars())

    def _continue(self, connection: Connection, record: Mapping[str, Any]) -> tuple[int, str]:
        """Number and link to go on from, once what is there was checked."""
        self._lock(connection)
        last = self._last(connection)
        if last is None and not (self.folder.path / "signing.pem").exists():
            self.folder.make()
        number, link = (0, GENESIS) if last is None else (last.number, _link(last))
        self._check(connection, last, number, link)
        return self._adopt(connection, record) if last is None else (number, link)

    def _check(self, connection: Connection, last: Row[Any] | None, number: int, link: str) -> None:
        key, head = self.folder.private_key.public_key(), self.folder.head()
        if last is not None and not is_signed(key, last.signature, canonical(_entry(last))):
            raise self._broken(f"entry {number} is not signed by the ledger's key")
        if head is None or not is_signed(
            key, head.get("signature", ""), head_content(head.get("number", -1), head.get("link", ""))
        ):
            raise self._broken(f"no head that the ledger's key has signed; where: {self.folder.path / 'head.json'}")
        if head["number"] > number:
            raise self._broken(f"the kept head says entry {head['number']}; the ledger ends at entry {number}")
        known = link if head["number"] == number else self._link_at(connection, head["number"])
        if known != head["link"]:
            raise self._broken(f"entry {head['number']} is not the one that the kept head names")

    def _broken(self, got: str) -> BrokenLedgerError:
        return BrokenLedgerError(
            "the ledger is broken: nothing is added to it",
            where=str(self.folder.path),
            got=got,
            allowed="look at perennial ledger verify; a person lets it go on: perennial ledger resume --reason ...",
        )

    def _adopt(self, connection: Connection, record: Mapping[str, Any]) -> tuple[int, str]:
        """Take in what was recorded before there was a ledger, oldest first."""
        records = self._records.c
        earlier = connection.execute(
            select(self._records)
            .where(~and_(records.kind == record["kind"], records.key == record["key"]))
            .order_by(records.created_at, records.kind, records.key)
        ).all()
        number, link = 0, GENESIS
        for row in earlier:
            head = self._add(connection, dict(row._mapping), actor=ADOPTED, number=number + 1, previous=link)  # noqa: SLF001
            number, link = head["number"], head["link"]
        return number, link

    def _add(
        self, connection: Connection, record: Mapping[str, Any], *, actor: str, number: int, previous: str
    ) -> dict[str, Any]:
        entry = {
            "number": number,
            "time": moment_text(record["created_at"]),
            "actor": actor,
            "kind": record["kind"],
            "key": record["key"],
            "use_case": record["use_case"],
            "as_of": moment_text(record["as_of"]),
            "payload_sha256": digest_of(record["payload"]),
            "previous": previous,
        }
        content = canonical(entry)
        signature = self.folder.sign(content)
        connection.execute(insert(self._table).values(entry | {"signature": signature}))
        return self.folder.signed_head(number, link_of(signature, content))

    def _lock(self, connection: Connection) -> None:
        if connection.dialect.name == "postgresql":
            connection.execute(text(f"LOCK TABLE {self._table.name} IN SHARE ROW EXCLUSIVE MODE"))

    def _last(self, connection: Connection) -> Row[Any] | None:
        return connection.execute(select(self._table).order_by(self._table.c.number.desc()).limit(1)).one_or_none()

    def _link_at(self, connection: Connection, number: int) -> str:
        if number == 0:
            return GENESIS
        row = connection.execute(select(self._table).where(self._table.c.number == number)).one_or_none()
        return "" if row is None else _link(row)


def moment_text(moment: datetime) -> str:
    """A moment as entries hold it: UTC to the microsecond.

    Examples
    --------
    >>> moment_text(datetime(2013, 3, 8, tzinfo=UTC))
    '2013-03-08T00:00:00.000000+00:00'
    """
    aware = moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
    return aware.isoformat(timespec="microseconds")


_COLUMNS = ("number", "time", "actor", "kind", "key", "use_case", "as_of", "payload_sha256", "previous")


def _entry(row: Row[Any]) -> dict[str, Any]:
    return dict(zip(_COLUMNS, row, strict=False))  # the table's own columns come first, in this order


def _link(row: Row[Any]) -> str:
    return link_of(row.signature, canonical(_entry(row)))


def _moved(entry: Mapping[str, Any], use_case: str | None, as_of: datetime | None, created_at: datetime | None) -> str:
    """What a record's columns say otherwise than its entry."""
    if use_case is None or as_of is None or created_at is None:
        return ""  # the record is absent; the verification says so
    told = {"use_case": use_case, "as_of": moment_text(as_of), "time": moment_text(created_at)}
    wrong = [f"{name} {value}" for name, value in told.items() if value != entry[name]]
    return f"its record was changed: {entry['kind']} {entry['key']} now has {', '.join(wrong)}" if wrong else ""


def _with_record(row: Row[Any]) -> Entry:
    told = _entry(row)
    try:
        time, as_of = datetime.fromisoformat(told["time"]), datetime.fromisoformat(told["as_of"])
    except (TypeError, ValueError) as error:
        raise BrokenLedgerError(
            "entry of the ledger is unreadable",
            where=str(told["number"]),
            got=str(error),
            allowed="perennial ledger verify",
        ) from error
    return Entry(
        number=told["number"],
        time=time,
        actor=told["actor"],
        kind=told["kind"],
        key=told["key"],
        use_case=told["use_case"],
        as_of=as_of,
        payload=row[-1] or "",
    )
