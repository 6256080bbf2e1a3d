"""The outbox, as the replica writes it: what was answered is on disk before the reply leaves.

All requests that arrive in one tick of the event loop share one commit: a commit costs as much for fifty rows as for
one. Write-ahead logging with ``synchronous=NORMAL`` survives a killed process; after a power cut the last moments may
be missing.
"""

from __future__ import annotations

import asyncio
import sqlite3
import time
from pathlib import Path
from typing import Any, Literal

import msgspec

from ml.errors import StackError
from ml.records.outbox import SCHEMA

#: Rows of unknown use cases that are kept; nobody ingests them.
UNROUTED_KEPT = 10_000

_INSERT = "INSERT INTO captured (use_case, kind, request_id, received_at, payload) VALUES (?, ?, ?, ?, ?)"
_PRUNE = (
    "DELETE FROM captured WHERE use_case = '' AND seq <="
    " (SELECT seq FROM captured WHERE use_case = '' ORDER BY seq DESC LIMIT 1 OFFSET ?)"
)

_Row = tuple[str, str, str, float, bytes]


class CaptureError(Exception):
    """What was to be recorded is not on disk; the reply must not leave as an answer."""


class Outbox:
    """Durable log of one replica, written from one event loop.

    Parameters
    ----------
    path
        SQLite file; it and its folder are made when absent.

    Raises
    ------
    StackError
        The file cannot be written.
    """

    def __init__(self, path: Path) -> None:
        self._pending: list[_Row] = []
        self._waiting: list[asyncio.Future[None]] = []
        self._unrouted = 0
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._db = sqlite3.connect(path, isolation_level=None, timeout=2.0)
            self._db.execute("PRAGMA journal_mode = WAL")
            self._db.execute("PRAGMA synchronous = NORMAL")
            self._db.execute(SCHEMA)
            self._write([])
        except (OSError, sqlite3.Error) as error:
            raise StackError("outbox cannot be written", where=str(path), got=str(error)) from error

    @property
    def backlog(self) -> int:
        """Rows that the lake has not confirmed yet."""
        return int(self._db.execute("SELECT count(*) FROM captured").fetchone()[0])

    async def append(
        self, use_case: str, kind: Literal["request", "label"], request_id: str, payloads: list[dict[str, Any]]
    ) -> None:
        """Return when the rows are on disk.

        Parameters
        ----------
        use_case
            Empty for a request that named none of ours.
        payloads
            One JSON object per row (:class:`ml.records.outbox.Captured`).

        Raises
        ------
        CaptureError
            They are not on disk.
        """
        loop = asyncio.get_running_loop()
        now = time.time()
        self._pending += [(use_case, kind, request_id, now, msgspec.json.encode(payload)) for payload in payloads]
        if not self._waiting:
            loop.call_soon(self._flush)
        written: asyncio.Future[None] = loop.create_future()
        self._waiting.append(written)
        await written

    def close(self) -> None:
        """Write what is pending and close the file."""
        if self._waiting:
            self._flush()
        self._db.close()

    def _flush(self) -> None:
        rows, waiting = self._pending, self._waiting
        self._pending, self._waiting = [], []
        try:
            self._write(rows)
        except sqlite3.Error as error:
            for future in waiting:
                if not future.done():
                    future.set_exception(CaptureError(str(error)))
            return
        for future in waiting:
            if not future.done():
                future.set_result(None)

    def _write(self, rows: list[_Row]) -> None:
        self._db.execute("BEGIN IMMEDIATE")
        try:
            self._db.executemany(_INSERT, rows)
            self._unrouted += sum(row[0] == "" for row in rows)
            if self._unrouted > UNROUTED_KEPT // 10:
                self._db.execute(_PRUNE, (UNROUTED_KEPT,))
                self._unrouted = 0
            self._db.execute("COMMIT")
        except sqlite3.Error:
            if self._db.in_transaction:
                self._db.execute("ROLLBACK")
            raise
