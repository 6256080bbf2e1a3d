"""Replicas and ingesters that say where in their work they are, so that a kill can be aimed and its place be told.

The work is the product's own; what is marked is when it enters and leaves the steps that change a store. Armed for a
step, a process sends itself SIGKILL at it, at once or a moment later in another thread: nothing of it runs on, no
handler, no ``finally``, no flush.
"""

from __future__ import annotations

import asyncio
import mmap
import os
import signal
import sqlite3
import struct
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

#: Steps of an ingester, in order; what lies between them is `between`.
INGESTER = (
    "fencing the outbox",
    "decoding",
    "in the Delta commit",
    "flushing the commit",
    "committed, not yet deleted",
    "deleting from the outbox",
    "compacting",
    "in the commit of telemetry",
    "deleting from the spool",
)
#: Steps of a replica.
REPLICA = ("outbox transaction begun", "writing rows", "in the outbox commit", "committed, reply not sent")
BETWEEN = "elsewhere"
PLACES = (BETWEEN, *INGESTER, *REPLICA)

_FORM = struct.Struct("=BBd")


class Mark:
    """Where a process is, and where it is to die, in a file that outlives it."""

    def __init__(self, path: Path) -> None:
        if not path.exists():
            path.write_bytes(bytes(_FORM.size))
        with path.open("r+b") as file:
            self._memory = mmap.mmap(file.fileno(), _FORM.size)
        self._due = threading.Event()
        self._delay = 0.0

    @property
    def place(self) -> str:
        """Where the process is, or was."""
        return PLACES[self._memory[0]]

    def arm(self, place: str, delay: float) -> None:
        """Have the process die so many seconds after it has entered a place."""
        self._memory[2 : 2 + 8] = struct.pack("=d", delay)
        self._memory[1] = PLACES.index(place)

    def clear(self) -> None:
        """Forget place and orders."""
        self._memory[:] = bytes(_FORM.size)

    def watch(self) -> None:
        """In the marked process: let a thread stand by that ends it a moment after a place was entered."""
        threading.Thread(target=self._wait, daemon=True).start()

    def enter(self, place: str) -> None:
        """Be at a place, and die there when it is the one."""
        number = PLACES.index(place)
        self._memory[0] = number
        if number and self._memory[1] == number:
            (self._delay,) = struct.unpack("=d", self._memory[2 : 2 + 8])
            if self._delay == 0.0:
                os.kill(os.getpid(), signal.SIGKILL)
            self._due.set()

    def _wait(self) -> None:
        self._due.wait()
        time.sleep(self._delay)
        os.kill(os.getpid(), signal.SIGKILL)

    def around(self, place: str, step: Callable[..., Any], after: str = BETWEEN) -> Callable[..., Any]:
        """A step that says when it is entered and left."""

        def run(*arguments: Any, **options: Any) -> Any:
            self.enter(place)
            try:
                return step(*arguments, **options)
            finally:
                self.enter(after)

        return run


def ingest(mark_path: Path, outboxes: Path, lake: Any, control_url: str, *, batch_rows: int, fault: str = "") -> None:
    """Main of a marked ingester: one ingest of the outboxes, then of the spools beside them."""
    from ml.store.collect import collect_spools
    from ml.store.telemetry import Telemetry

    mark = Mark(mark_path)
    mark.watch()
    _mark_ingester(mark)
    _break_ingester(fault)
    lake.ingest(outboxes, batch_rows=batch_rows)
    collect_spools(Telemetry(control_url), outboxes.with_name("telemetry"))


def _mark_ingester(mark: Mark) -> None:
    from ml.store import ingest as ingesting
    from ml.store import table
    from ml.store.outbox import Outbox
    from ml.store.spool import Spool
    from ml.store.telemetry import Telemetry

    owners: Iterable[tuple[Any, str, str, str]] = (
        (Outbox, "_fence", "fencing the outbox", BETWEEN),
        (ingesting, "decode", "decoding", BETWEEN),
        (table, "write_deltalake", "in the Delta commit", BETWEEN),
        (table, "flush_commit", "flushing the commit", "committed, not yet deleted"),
        (Outbox, "delete", "deleting from the outbox", BETWEEN),
        (table.LakeTable, "compact", "compacting", BETWEEN),
        (Telemetry, "_take", "in the commit of telemetry", BETWEEN),
        (Spool, "delete", "deleting from the spool", BETWEEN),
    )
    for owner, name, place, after in owners:
        setattr(owner, name, mark.around(place, getattr(owner, name), after))


def _break_ingester(fault: str) -> None:
    """Seed a fault, to show that the count of lost and doubled rows is not zero by itself."""
    from ml.store import table
    from ml.store.outbox import Outbox

    if fault == "forgets what it has appended":
        table.DeltaTable.transaction_version = lambda *_: 0
    elif fault == "deletes before it appends":
        read = Outbox.batches

        def too_early(self: Any, use_case: str, **options: Any) -> Iterator[Any]:
            for batch in read(self, use_case, **options):
                self.delete(use_case, up_to=batch[-1].seq)
                yield batch

        Outbox.batches = too_early  # type: ignore[method-assign]


class _MarkedConnection(sqlite3.Connection):
    """A connection to an outbox that says where its transaction is."""

    mark: Mark

    def execute(self, statement: str, *arguments: Any) -> sqlite3.Cursor:
        """Execute, between marks."""
        place, after = {
            "BEGIN": ("outbox transaction begun", "writing rows"),
            "COMMIT": ("in the outbox commit", "committed, reply not sent"),
        }.get(statement.split(" ", 1)[0], ("", ""))
        if not place:
            return super().execute(statement, *arguments)
        self.mark.enter(place)
        found = super().execute(statement, *arguments)
        self.mark.enter(after)
        return found


def main(arguments: list[str]) -> int:
    """Main of a marked replica: path of the mark, a fault or nothing, then the replica's own arguments."""
    from ml.serving import __main__ as serving
    from ml.serving.capture import Outbox

    mark = _MarkedConnection.mark = Mark(Path(arguments[0]))
    mark.watch()
    connect = sqlite3.connect

    def marked(path: Any, *positional: Any, **options: Any) -> sqlite3.Connection:
        ours = isinstance(path, Path) and path.parent.name == "outbox"
        return connect(path, *positional, **options, **({"factory": _MarkedConnection} if ours else {}))

    sqlite3.connect = marked
    if arguments[1] == "replies before it commits":
        put = Outbox.put

        def hasty(self: Any, *record: Any, rows: int = 1) -> None:
            record[-1](None)
            later = partial(put, self, *record[:-1], lambda _: None, rows=rows)
            asyncio.get_running_loop().call_later(0.02, later)

        Outbox.put = hasty  # type: ignore[method-assign]
    return serving.main(arguments[2:])


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
