"""The reading end of a replica's outbox: batches in order, and deletion of what the lake has confirmed."""

from __future__ import annotations

import sqlite3
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Self

from ml.errors import DataError, ServiceAway
from ml.records.outbox import COUNT_ROWS, Captured, upgrade

#: Rows and payload bytes of one batch at most, whichever comes first: the bound of the ingester's memory.
BATCH_ROWS = 50_000
BATCH_BYTES = 64 * 2**20

#: Rows deleted in one transaction; the replica waits to write while it lasts (about 1 ms, 10 with a checkpoint).
_DELETED_AT_ONCE = 1_000

_BUSY_MILLISECONDS = 30_000

#: The ingester's own table in the outbox. A file that was made anew under the same name gets a new identity,
#: so its sequence, which starts at 1 again, is not taken for rows that the lake has already.
_SCHEMA = """
CREATE TABLE IF NOT EXISTS ingested (
    one INTEGER PRIMARY KEY CHECK (one = 1),
    outbox TEXT NOT NULL,
    fences INTEGER NOT NULL
) STRICT
"""


class Outbox:
    """An outbox file that a live replica may be writing to.

    Attributes
    ----------
    path
        The SQLite file.
    identity
        Of this file's sequence; made at the first look, 32 hex digits.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.identity = ""

    def __enter__(self) -> Self:
        with self._naming_faults():
            # mode=rw: an outbox that has just gone away is not made again, empty.
            self._connection = sqlite3.connect(
                f"{self.path.resolve().as_uri()}?mode=rw", uri=True, isolation_level=None
            )
            try:
                self._connection.execute(f"PRAGMA busy_timeout = {_BUSY_MILLISECONDS}")
                self.identity = self._read_identity()
            except BaseException:
                self._connection.close()
                raise
        return self

    def __exit__(self, *_: object) -> None:
        self._connection.close()

    def newest(self, use_case: str) -> int:
        """Position of the newest captured row of a use case, 0 when there is none."""
        query = "SELECT max(seq) FROM captured WHERE use_case = ?"
        with self._naming_faults():
            found = self._connection.execute(query, (use_case,)).fetchone()[0] if self.identity else None
        return found or 0

    def count(self, use_case: str) -> int:
        """Captured rows of a use case that wait."""
        query = f"{COUNT_ROWS} WHERE use_case = ?"
        with self._naming_faults():
            return int(self._connection.execute(query, (use_case,)).fetchone()[0]) if self.identity else 0

    def of_request(self, use_case: str, request_id: str) -> list[Captured]:
        """Records of a request that wait, in order; they are not taken."""
        query = (
            "SELECT seq, use_case, kind, request_id, received_at, payload, rows FROM captured "
            "WHERE use_case = ? AND request_id = ? AND kind = 'request' ORDER BY seq"
        )
        with self._naming_faults():
            found = self._connection.execute(query, (use_case, request_id)).fetchall() if self.identity else []
        return [Captured(*row) for row in found]

    def batches(
        self, use_case: str, *, up_to: int, rows: int = BATCH_ROWS, size: int = BATCH_BYTES
    ) -> Iterator[list[Captured]]:
        """Records of a use case up to a position, in order, in batches of bounded rows and payload bytes.

        The bounds are exceeded by one record at most.

        What was yielded survives a power cut: else an outbox that lost its newest rows would use their positions
        again, and the lake would take new rows for ones that it has.
        """
        after = 0
        while after < up_to:
            self._fence()
            batch = self._read(use_case, after, up_to, rows, size)
            if not batch:
                return
            yield batch
            after = batch[-1].seq

    def delete(self, use_case: str, *, up_to: int) -> int:
        """Delete the records of a use case up to a position, a few at a time; returns how many rows went."""
        statement = "DELETE FROM captured WHERE use_case = ? AND seq <= ? RETURNING rows"
        deleted = 0
        while last := self._few(use_case, up_to):
            with self._naming_faults():
                deleted += sum(rows for (rows,) in self._connection.execute(statement, (use_case, last)))
        return deleted

    def _few(self, use_case: str, up_to: int) -> int:
        """Position up to which the oldest records have few rows, or are one; 0 when there is none."""
        query = "SELECT seq, rows FROM captured WHERE use_case = ? AND seq <= ? ORDER BY seq LIMIT ?"
        last, total = 0, 0
        with self._naming_faults():
            for seq, rows in self._connection.execute(query, (use_case, up_to, _DELETED_AT_ONCE)).fetchall():
                if total and total + rows > _DELETED_AT_ONCE:
                    break
                last, total = seq, total + rows
        return last

    def _read_identity(self) -> str:
        """Identity of the file; empty when its replica has not made its table yet."""
        tables = "SELECT count(*) FROM sqlite_schema WHERE name = 'captured'"
        if self._connection.execute(tables).fetchone() == (0,):
            return ""
        upgrade(self._connection)
        self._connection.execute(_SCHEMA)
        self._connection.execute("INSERT OR IGNORE INTO ingested VALUES (1, ?, 0)", (uuid.uuid4().hex,))
        return str(self._connection.execute("SELECT outbox FROM ingested").fetchone()[0])

    def _fence(self) -> None:
        """Force everything committed so far to disk; replicas themselves commit without waiting for it."""
        with self._naming_faults():
            self._connection.execute("PRAGMA synchronous = FULL")
            self._connection.execute("UPDATE ingested SET fences = fences + 1")
            self._connection.execute("PRAGMA synchronous = NORMAL")

    def _read(self, use_case: str, after: int, up_to: int, rows: int, size: int) -> list[Captured]:
        query = (
            "SELECT seq, use_case, kind, request_id, received_at, payload, rows FROM captured "
            "WHERE use_case = ? AND seq > ? AND seq <= ? ORDER BY seq LIMIT ?"
        )
        batch: list[Captured] = []
        with self._naming_faults():
            cursor = self._connection.execute(query, (use_case, after, up_to, rows))
            for row in cursor:
                batch.append(Captured(*row))
                size -= len(batch[-1].payload)
                rows -= batch[-1].rows
                if size <= 0 or rows <= 0:
                    break
            cursor.close()
        return batch

    @contextmanager
    def _naming_faults(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.OperationalError as error:
            raise ServiceAway("outbox does not answer", where=str(self.path), got=str(error)) from error
        except sqlite3.DatabaseError as error:
            raise DataError("outbox is damaged", where=str(self.path), got=str(error)) from error


def count_waiting(folder: Path, use_case: str) -> int:
    """Captured rows of a use case that wait in the outboxes of a folder.

    Raises
    ------
    PerennialError
        An outbox is damaged or locked.
    """
    waiting = 0
    for path in sorted(folder.glob("*.sqlite")):
        with Outbox(path) as outbox:
            waiting += outbox.count(use_case)
    return waiting
