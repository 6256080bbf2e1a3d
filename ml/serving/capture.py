"""The outbox, as the replica writes it: what was answered is on disk before the reply leaves.

All requests that arrive in one tick of the event loop share one commit: a commit costs as much for fifty rows as for
one. Write-ahead logging with ``synchronous=NORMAL`` survives a killed process. A power cut takes at most what was
written since the last :meth:`Outbox.sync`; with durability ``power`` (``synchronous=FULL``) it takes nothing, since
every commit waits for the disk.
"""

from __future__ import annotations

import asyncio
import os
import sqlite3
import time
from collections.abc import Callable, Sequence
from contextlib import closing, suppress
from pathlib import Path
from typing import Literal

from ml.errors import StackError
from ml.records.outbox import COUNT_ROWS, INSERT, SCHEMA, upgrade

#: Rows of unknown use cases that are kept; nobody ingests them.
UNROUTED_KEPT = 10_000
_PRUNED_EVERY = 1_000

#: How long an ingester may keep the file to itself before requests are refused, and how often it is looked.
PATIENCE_SECONDS = 2.0
_RETRY_SECONDS = 0.002

#: Pages of 4 KiB in the log beyond which :meth:`Outbox.sync` has it begin anew, and beyond which a commit does so
#: itself, which makes everybody wait for the disk; and how long :meth:`Outbox.sync` tries to keep writers out for it.
_RESTART_PAGES, _CHECKPOINT_PAGES = 8_000, 64_000
_RESTART_SECONDS = 0.005

#: Pruning must not walk through the whole backlog.
_INDEX = "CREATE INDEX IF NOT EXISTS unrouted ON captured (seq) WHERE use_case = ''"
_PRUNE = (
    "DELETE FROM captured WHERE use_case = '' AND seq <="
    " (SELECT seq FROM captured WHERE use_case = '' ORDER BY seq DESC LIMIT 1 OFFSET ?)"
)

_Record = tuple[str, str, str, float, bytes, int]

Kind = Literal["request", "label"]
Durability = Literal["process", "power"]

_SYNCHRONOUS = {"process": "NORMAL", "power": "FULL"}


class CaptureError(Exception):
    """What was to be recorded is not on disk; the use case's policy says whether the reply leaves all the same."""


#: Told that what was put is on disk (None), or why it is not.
Done = Callable[[CaptureError | None], None]


class Outbox:
    """Durable log of one replica, written from one event loop.

    Parameters
    ----------
    path
        SQLite file; it and its folder are made when absent.
    durability
        What a row that is on disk survives: the death of the process, or a power cut as well.

    Raises
    ------
    StackError
        The file cannot be written.
    """

    def __init__(self, path: Path, durability: Durability = "process") -> None:
        self._path, self._durability = path, durability
        self._pending: list[_Record] = []
        self._waiting: list[Done] = []
        self._retrying = False
        self._busy_since: float | None = None
        self._unrouted = 0
        self.fault = ""
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._open()
        except (OSError, sqlite3.Error) as error:
            raise StackError("outbox cannot be written", where=str(path), got=str(error)) from error

    def count_rows(self) -> float:
        """Rows that the lake has not confirmed yet, NaN when they cannot be counted; slow when there are many."""
        try:
            with closing(sqlite3.connect(f"{self._path.resolve().as_uri()}?mode=ro", uri=True)) as reader:
                return float(reader.execute(COUNT_ROWS).fetchone()[0])
        except sqlite3.Error:
            return float("nan")

    @property
    def depth(self) -> int:
        """Requests whose rows wait to be written."""
        return len(self._waiting)

    async def append(self, use_case: str, kind: Kind, request_id: str, payloads: list[bytes]) -> None:
        """Return when records of one row each are on disk.

        Parameters
        ----------
        use_case
            Empty for a request that named none of ours.
        payloads
            As of :class:`ml.records.outbox.Captured`.

        Raises
        ------
        CaptureError
            They are not on disk.
        """
        written: asyncio.Future[None] = asyncio.get_running_loop().create_future()

        def settle(fault: CaptureError | None) -> None:
            if written.done():
                return
            if fault is None:
                written.set_result(None)
            else:
                written.set_exception(fault)

        self.put(use_case, kind, request_id, payloads, settle)
        await written

    def put(
        self, use_case: str, kind: Kind, request_id: str, payloads: Sequence[bytes], done: Done, *, rows: int = 1
    ) -> None:
        """Have records written at the end of this tick of the event loop, or by :meth:`flush`, and be told.

        Parameters
        ----------
        rows
            That each of them holds.
        """
        now = time.time()
        self._pending += [(use_case, kind, request_id, now, payload, rows) for payload in payloads]
        self._waiting.append(done)
        if len(self._waiting) == 1:
            asyncio.get_running_loop().call_soon(self.flush)

    def flush(self) -> None:
        """Write everything that waits in one transaction, or try again soon while somebody else is writing."""
        if self._waiting and not self._retrying:
            self._flush()

    def sync(self) -> None:
        """Return when everything that was written so far would survive a power cut; blocks, for a thread.

        The log is also carried over into the file, which no commit does by itself as long as this keeps up: it would
        make the requests that it meets wait for the disk. Under load something is always written meanwhile, so a log
        that is long is closed to writers for the few pages that are left: else it would never begin anew. What SQLite
        carried over before, it has not forced to disk (it does with the last page): it is here, or writers would wait.
        """
        try:
            handle = os.open(f"{self._path}-wal", os.O_RDONLY)
        except OSError:
            return  # nothing is left in the log
        try:
            os.fdatasync(handle)
        finally:
            os.close(handle)
        # A file that was moved away is closed meanwhile: a ValueError.
        with suppress(sqlite3.Error, ValueError), closing(self._connect_beside()) as beside:
            _, pages, _ = beside.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()
            if pages > _RESTART_PAGES:
                os.fdatasync(self._held)
                beside.execute("PRAGMA wal_checkpoint(RESTART)")

    def _connect_beside(self) -> sqlite3.Connection:
        # Never makes a file: one that was moved away is noticed by the next write.
        return sqlite3.connect(f"{self._path.resolve().as_uri()}?mode=rw", uri=True, timeout=_RESTART_SECONDS)

    def try_again(self) -> str:
        """What keeps rows from being recorded, empty when nothing does; after a fault a write is tried."""
        if self.fault and not self._waiting:
            try:
                self._write([], touch=True)
                self.fault = ""
            except (OSError, sqlite3.Error) as error:
                self.fault = "" if _is_busy(error) else f"{type(error).__name__}: {error}"
        return self.fault

    def close(self) -> None:
        """Close the file; nothing is pending once every request has its reply."""
        self._db.close()
        self._held.close()

    def _flush(self) -> None:
        fault: CaptureError | None = None
        self._retrying = False
        try:
            self._write(self._pending)
        except Exception as error:  # whatever it is, those who wait must hear of it
            if _is_busy(error) and self._may_wait():
                self._retrying = True
                asyncio.get_running_loop().call_later(_RETRY_SECONDS, self._flush)
                return
            fault = CaptureError(f"{type(error).__name__}: {error}")
        self.fault = "" if fault is None else str(fault)
        waiting = self._waiting
        self._pending, self._waiting, self._busy_since = [], [], None
        for done in waiting:
            done(fault)

    def _may_wait(self) -> bool:
        now = time.monotonic()
        self._busy_since = now if self._busy_since is None else self._busy_since
        return now - self._busy_since < PATIENCE_SECONDS

    def _open(self) -> None:
        # No waiting inside SQLite: the event loop has others to serve meanwhile.
        self._db = sqlite3.connect(self._path, isolation_level=None, timeout=PATIENCE_SECONDS)
        synchronous = f"PRAGMA synchronous = {_SYNCHRONOUS[self._durability]}"
        for statement in ("PRAGMA journal_mode = WAL", synchronous, SCHEMA, _INDEX):
            self._db.execute(statement)
        upgrade(self._db)
        self._db.execute("BEGIN IMMEDIATE")  # what cannot be written is noticed here
        self._db.execute("COMMIT")
        self._db.execute("PRAGMA busy_timeout = 0")
        self._db.execute(f"PRAGMA wal_autocheckpoint = {_CHECKPOINT_PAGES}")
        # For as long as the connection: to close any handle of a file gives up all locks that this process has on it.
        self._held = self._path.open("rb", buffering=0)
        self._file = self._inode()

    def _inode(self) -> tuple[int, int] | None:
        try:
            found = self._path.stat()
        except OSError:
            return None
        return found.st_dev, found.st_ino

    def _write(self, records: list[_Record], *, touch: bool = False) -> None:
        if self._file is None or self._inode() != self._file:
            # Written on, a file that was moved away would take its rows with it; the new one has a sequence of its own.
            self._file = None
            self.close()
            self._open()
        self._db.execute("BEGIN IMMEDIATE")
        try:
            self._db.executemany(INSERT, records)
            self._prune(records)
            if touch:  # else nothing is written where there are no records
                self._db.execute(f"PRAGMA user_version = {int(time.time())}")
            self._db.execute("COMMIT")
        except BaseException:
            if self._db.in_transaction:
                self._db.execute("ROLLBACK")
            raise

    def _prune(self, records: list[_Record]) -> None:
        self._unrouted += sum(record[0] == "" for record in records)
        if self._unrouted >= _PRUNED_EVERY:
            self._db.execute(_PRUNE, (UNROUTED_KEPT,))
            self._unrouted = 0


def _is_busy(error: Exception) -> bool:
    return isinstance(error, sqlite3.OperationalError) and error.sqlite_errorcode & 0xFF in {
        sqlite3.SQLITE_BUSY,
        sqlite3.SQLITE_LOCKED,
    }
