"""How the control database is opened: SQLite made ready for several processes, or another one by URL."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

from sqlalchemy import Connection, DateTime, Dialect, Engine, MetaData, NullPool, TypeDecorator, create_engine, event
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError, DBAPIError, IntegrityError, NoSuchModuleError
from sqlalchemy.schema import CreateIndex, CreateTable

from ml.errors import InputError, ServiceAway

#: How long a writer waits for another one.
BUSY_SECONDS = 30.0


class UtcMoment(TypeDecorator[datetime]):
    """Moments as naive UTC, since SQLite keeps no time zone."""

    impl = DateTime
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """Naive UTC of a moment; a naive one is taken as UTC."""
        if value is None or value.tzinfo is None:
            return value
        return value.astimezone(UTC).replace(tzinfo=None)

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """Moment with its zone, UTC."""
        return None if value is None else value.replace(tzinfo=UTC)


def open_engine(url: str) -> Engine:
    """Engine of a database; nothing is pooled, so that a fork inherits no connection.

    Raises
    ------
    InputError
        The URL is none or names an in-memory database, its driver is not installed, or its folder cannot be made.
    """
    try:
        parsed = make_url(url)
        engine = create_engine(parsed, poolclass=NullPool)
    except (ArgumentError, NoSuchModuleError, ModuleNotFoundError) as error:
        raise InputError("control database cannot be opened", where="control_url", got=str(error)) from error
    if parsed.get_backend_name() == "sqlite":
        _make_folder(parsed)
        event.listen(engine, "connect", _prepare_sqlite)
    return engine


class ControlTables:
    """Some tables of the control database; who keeps something in it is one of these.

    Parameters
    ----------
    url
        SQLAlchemy URL.

    Raises
    ------
    InputError
        As :func:`open_engine`.
    """

    def __init__(self, url: str) -> None:
        self._engine = open_engine(url)
        self._where = self._engine.url.render_as_string(hide_password=True)

    def _make(self, metadata: MetaData) -> None:
        """Make the tables and indexes that are absent."""
        with self._transaction() as connection:
            for table in metadata.sorted_tables:
                connection.execute(CreateTable(table, if_not_exists=True))
                for index in table.indexes:
                    connection.execute(CreateIndex(index, if_not_exists=True))

    @contextmanager
    def _transaction(self) -> Iterator[Connection]:
        """All or nothing.

        Raises
        ------
        ServiceAway
            The database does not answer.
        IntegrityError
            An answer, not a fault: the row is there already.
        """
        try:
            with self._engine.begin() as connection:
                yield connection
        except IntegrityError:
            raise
        except DBAPIError as error:
            raise ServiceAway("control database does not answer", where=self._where, got=str(error.orig)) from error


def ledger_folder(url: str) -> Path:
    """Folder of the key and head of a SQLite database's ledger, beside it: ``control.db`` has ``control.ledger/``.

    Raises
    ------
    InputError
        The database is on a server, which has no folder.
    """
    parsed = make_url(url)
    if parsed.get_backend_name() != "sqlite":
        where = parsed.render_as_string(hide_password=True)
        raise InputError("ledger needs a folder for its key", where=where, got="none", allowed="PERENNIAL_LEDGER")
    return Path(str(parsed.database)).with_suffix(".ledger")


def _make_folder(url: URL) -> None:
    if url.database in {None, "", ":memory:"}:
        raise InputError("control database is in memory", where="control_url", got=str(url), allowed="a file")
    try:
        Path(str(url.database)).parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(
            "folder of the control database cannot be made", where=str(url.database), got=str(error)
        ) from error


def _prepare_sqlite(connection: sqlite3.Connection, _: object) -> None:
    connection.execute(f"PRAGMA busy_timeout = {int(BUSY_SECONDS * 1000)}")
    deadline = time.monotonic() + BUSY_SECONDS
    while connection.execute("PRAGMA journal_mode").fetchone() != ("wal",):
        try:
            connection.execute("PRAGMA journal_mode = WAL")
        except sqlite3.OperationalError:  # the switch itself does not wait for another process that does it, too
            if time.monotonic() > deadline:
                raise
            time.sleep(0.01)
