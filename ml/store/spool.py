"""The reading end of a replica's spool of telemetry."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from ml.errors import DataError, ServiceAway

_BUSY_SECONDS = 10.0


@dataclass(frozen=True)
class Spooled:
    """One row: an event or a rollup as JSON."""

    seq: int
    kind: str
    payload: bytes


class Spool:
    """A spool that a live replica may be writing to.

    Attributes
    ----------
    identity
        Of the file's sequence; empty when its replica has not made its tables yet.
    """

    def __init__(self, path: Path) -> None:
        self.path, self.identity = path, ""

    def __enter__(self) -> Self:
        with self._naming_faults():
            # mode=rw: a spool that has just gone away is not made again, empty.
            address = f"{self.path.resolve().as_uri()}?mode=rw"
            self._connection = sqlite3.connect(address, uri=True, isolation_level=None, timeout=_BUSY_SECONDS)
            try:
                tables = "SELECT count(*) FROM sqlite_schema WHERE name = 'spool'"
                if self._connection.execute(tables).fetchone() == (1,):
                    found = self._connection.execute("SELECT identity FROM spool").fetchone()
                    self.identity = found[0] if found else ""
            except BaseException:
                self._connection.close()
                raise
        return self

    def __exit__(self, *_: object) -> None:
        self._connection.close()

    def read(self, *, after: int, limit: int) -> list[Spooled]:
        """Rows beyond a position, in order."""
        query = "SELECT seq, kind, payload FROM spooled WHERE seq > ? ORDER BY seq LIMIT ?"
        with self._naming_faults():
            return [Spooled(*row) for row in self._connection.execute(query, (after, limit))]

    def delete(self, *, up_to: int) -> None:
        """Delete what the control database has."""
        with self._naming_faults():
            self._connection.execute("DELETE FROM spooled WHERE seq <= ?", (up_to,))

    @contextmanager
    def _naming_faults(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.OperationalError as error:
            raise ServiceAway("spool does not answer", where=str(self.path), got=str(error)) from error
        except sqlite3.DatabaseError as error:
            raise DataError("spool is damaged", where=str(self.path), got=str(error)) from error
