"""One Delta table: appended to exactly once, read by window, kept in few files."""

from __future__ import annotations

import fcntl
import json
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, Any, NamedTuple, TypeVar
from urllib.parse import unquote

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds
from deltalake import CommitProperties, DeltaTable, Transaction, write_deltalake
from deltalake.exceptions import CommitFailedError, DeltaError, TableNotFoundError

from ml.errors import ConflictError, DataError, StackError

#: Files of one partition below this size are small; with this many of them it is compacted.
SMALL_FILE_BYTES = 32 * 2**20
SMALL_FILES = 8
#: Partitions older than so many of the newest are finished: they are compacted with two small files already, so that
#: years of months end as a file each. Labels that come late still write to the month before.
OPEN_PARTITIONS = 2

#: Losing a race means that another writer got on; so many losses in a row mean that something else is wrong.
_ATTEMPTS = 20

#: Who lists a folder while others write to it may miss a file (POSIX leaves that open): the log seems to have a gap, or
#: to lack the checkpoint that it names. It is read again after so many seconds.
_AGAIN_SECONDS = (0.01, 0.1, 0.5)

#: How long a deletion waits for a compaction to end.
PATIENCE_SECONDS = 30.0
_LOOK_SECONDS = 0.1

Result = TypeVar("Result")


class Extent(NamedTuple):
    """How large a table is at a version; version -1 and nothing in it before its first write."""

    version: int
    rows: int
    files: int


class LakeTable:
    """One Delta table of the lake.

    Parameters
    ----------
    path
        Folder of the table; made at the first write.
    schema
        Columns; columns that the stored table lacks are added to it.
    partition
        Text column by which files are kept apart, none for ``None``.
    """

    def __init__(self, path: Path, schema: pa.Schema, *, partition: str | None = None) -> None:
        self.path, self.schema, self.partition = path, schema, partition

    def append_once(self, rows: pa.Table, *, app_id: str) -> int:
        """Append the rows that lie beyond what this writer's identity has appended; returns how many there were.

        The rows and the position of the last one go into one commit (a Delta application transaction). A writer
        that was killed before the commit has appended nothing; two at once: the later one's commit is refused,
        and it looks again.

        Parameters
        ----------
        rows
            With a column ``seq``, ascending, positive; at least one row.
        app_id
            Identity of the sequence.

        Raises
        ------
        ConflictError
            Every attempt was overtaken.
        DataError
            The stored table has a column with another type.
        """
        return until_committed(self.path, lambda: self._append(rows, app_id))

    def _append(self, rows: pa.Table, app_id: str) -> int:
        table = self._open_or_create()
        fresh = rows.filter(pc.greater(rows["seq"], table.transaction_version(app_id) or 0))
        if fresh.num_rows == 0:
            os.sync()  # somebody else's commit, perhaps just before a crash: not known to be on disk
            return 0
        self._check_types(table)
        self._commit(table, fresh, Transaction(app_id, rows["seq"][-1].as_py()))
        flush_commit(self.path, table.version())
        return int(fresh.num_rows)

    def read(
        self, columns: list[str], where: ds.Expression | None = None, *, months: tuple[str, str] | None = None
    ) -> pa.Table:
        """Rows that fulfil a condition; columns that the stored table lacks are null, no table is no rows.

        Parameters
        ----------
        months
            First and last partition to look into, both included; files outside are not opened.
        """
        try:
            return self._read(columns, where, months)
        except DataError:  # a sweep may have taken a file away since the table was opened; once more, of its newest
            return self._read(columns, where, months)

    def _read(self, columns: list[str], where: ds.Expression | None, months: tuple[str, str] | None) -> pa.Table:
        schema = pa.schema([self.schema.field(name) for name in columns])
        table = self.open()
        if table is None:
            return schema.empty_table()
        with naming_faults(self.path):
            stored = table.to_pyarrow_dataset(
                file_pruning_predicate=f"{self.partition} >= '{months[0]}' AND {self.partition} <= '{months[1]}'"
                if months
                else None
            )
            present = [name for name in columns if name in stored.schema.names]
            found = stored.to_table(columns=present, filter=where)
        for name in columns:
            if name not in present:
                found = found.append_column(schema.field(name), pa.nulls(found.num_rows, schema.field(name).type))
        return found.select(columns).cast(schema)

    def find(self, where: ds.Expression) -> list[dict[str, Any]]:
        """Rows that fulfil a condition, with every stored column, also those that no use case file names any more."""
        table = self.open()
        if table is None:
            return []
        with naming_faults(self.path):
            found: list[dict[str, Any]] = table.to_pyarrow_dataset().to_table(filter=where).to_pylist()
        return found

    def open(self) -> DeltaTable | None:
        """The stored table at its newest version, None when nothing was written yet."""
        with naming_faults(self.path):
            try:
                return load(self.path)
            except TableNotFoundError:
                return None

    def extent(self) -> Extent:
        """Version, rows and files, by the table's log."""
        table = self.open()
        if table is None:
            return Extent(-1, 0, 0)
        with naming_faults(self.path):
            files = pa.table(table.get_add_actions(flatten=True))
            return Extent(table.version(), int(pc.sum(files["num_records"]).as_py() or 0), files.num_rows)

    def rows_at(self, version: int) -> int:
        """Rows that the table had at a version."""
        with naming_faults(self.path):
            files = pa.table(DeltaTable(self.path, version=version).get_add_actions(flatten=True))
            return int(pc.sum(files["num_records"]).as_py() or 0)

    def count(self, where: ds.Expression) -> int:
        """Rows that fulfil a condition."""
        table = self.open()
        if table is None:
            return 0
        with naming_faults(self.path):
            return int(table.to_pyarrow_dataset().count_rows(filter=where))

    def delete(self, condition: str) -> int:
        """Delete rows by a condition in SQL, as a new version; returns how many. Appends may go on beside it.

        Raises
        ------
        ConflictError
            The table is being compacted for longer than :data:`PATIENCE_SECONDS`, or every attempt was overtaken.
        """
        return self._change(lambda table: int(table.delete(condition)["num_deleted_rows"]))

    def newest_without(self, column: str) -> datetime | None:
        """When the newest file with rows that lack a value of a column was written; None where every row has one."""
        table = self.open()
        if table is None:
            return None
        with naming_faults(self.path):
            files = pa.table(table.get_add_actions(flatten=True)).to_pylist()
        found = [file["modification_time"] for file in files if file.get(f"null_count.{column}") != 0]
        return datetime.fromtimestamp(max(found) / 1000, UTC) if found else None

    def fill(self, column: str, value: str) -> int:
        """Give rows without a value of a column one, in SQL, as a new version; returns how many.

        Raises
        ------
        ConflictError
            As with :meth:`delete`.
        """
        told, empty = {column: value}, f"{column} IS NULL"
        return self._change(lambda table: int(table.update(updates=told, predicate=empty)["num_updated_rows"]))

    def _change(self, change: Callable[[DeltaTable], int]) -> int:
        """Rewrite rows while nobody compacts; what was overtaken by another commit is done again on top of it."""
        until = time.monotonic() + PATIENCE_SECONDS
        return until_committed(self.path, lambda: self._change_once(change, until))

    def _change_once(self, change: Callable[[DeltaTable], int], until: float) -> int:
        with _alone(self.path, until=until) as alone:
            if not alone:
                raise ConflictError("table is being compacted", where=str(self.path), got="another process")
            table = DeltaTable(self.path)
            changed = change(table)
            flush_commit(self.path, table.version())
            return changed

    def sweep(self) -> int:
        """Take files off the disk that the newest version does not need; returns how many.

        Only files that a commit has removed: one that an append is about to commit is left alone. Readers of an older
        version find that out and read the newest.
        """
        found = self.count_leftovers()
        if found:
            self._vacuum(dry_run=False)
        return found

    def count_leftovers(self) -> int:
        """Files that :meth:`sweep` would take away."""
        return sum((self.path / unquote(name)).exists() for name in self._vacuum(dry_run=True))

    def _vacuum(self, *, dry_run: bool) -> list[str]:
        table = self.open()
        if table is None:
            return []
        with naming_faults(self.path):
            return table.vacuum(retention_hours=0, dry_run=dry_run, enforce_retention_duration=False)

    def is_crowded(self) -> bool:
        """Whether :meth:`compact` would find something to merge."""
        return bool(self._crowded_partitions())

    def restore(self, version: int) -> None:
        """Go back to an earlier version, as a new one."""
        with naming_faults(self.path):
            table = load(self.path)
            table.restore(version)
            flush_commit(self.path, table.version())

    def compact(self) -> int:
        """Merge the small files of partitions that hold many; returns how many files went.

        Compaction changes no rows and keeps application transactions; appends may go on beside it. One compaction
        runs at a time: delta-rs (1.6) lets two that merge the same files both succeed, and doubles their rows. Killed
        anywhere, it leaves what was there or what it merged; what it did not clear away, a later one does.

        Versions of this table older than a week cannot be read after it. No model needs one: a model records a version
        of the training table (:class:`ml.store.versions.TrainingTable`), which is kept for ever.
        """
        removed = 0
        with naming_faults(self.path), _alone(self.path) as alone:
            for value in self._crowded_partitions() if alone else ():
                chosen = [(self.partition, "=", value)] if self.partition else None
                with suppress(CommitFailedError):  # a column was added beside it; the next ingest compacts
                    removed += self._merge(chosen)
            if removed:
                # Only what no version of the last week needs, so that readers of an older version finish.
                load(self.path).vacuum(dry_run=False, full=True)
                # Else every reader replays up to a hundred commits that name files which are gone.
                load(self.path).create_checkpoint()
        return removed

    def _merge(self, chosen: list[tuple[str, str, str | None]] | None) -> int:
        """Merge small files, on disk before anything relies on it: their rows are in no outbox any more."""
        before = load(self.path).version()
        # Two small ones always fit together; a file that is larger is not written again with every few small ones.
        size = 2 * SMALL_FILE_BYTES
        done = patiently(lambda: DeltaTable(self.path).optimize.compact(partition_filters=chosen, target_size=size))
        removed = int(done["numFilesRemoved"])
        for version in range(before + 1, load(self.path).version() + 1):
            flush_commit(self.path, version)
        return removed

    def _crowded_partitions(self) -> list[str | None]:
        table = self.open()
        if table is None:
            return []
        files = pa.table(table.get_add_actions(flatten=True))
        small = files.filter(pc.less(files["size_bytes"], SMALL_FILE_BYTES))
        if self.partition is None:
            return [None] if small.num_rows >= SMALL_FILES else []
        column = f"partition.{self.partition}"
        still_open = sorted(pc.unique(files[column]).to_pylist())[-OPEN_PARTITIONS:]
        counts = pc.value_counts(small[column]).to_pylist()
        limits = dict.fromkeys(still_open, SMALL_FILES)
        return [entry["values"] for entry in counts if entry["counts"] >= limits.get(entry["values"], 2)]

    def _open_or_create(self) -> DeltaTable:
        table = self.open()
        if table is None:
            # Another process may make it in the same moment; if it was something else, opening says what.
            with suppress(DeltaError):
                DeltaTable.create(
                    self.path, schema=self.schema, partition_by=[self.partition] if self.partition else None
                )
            table = load(self.path)
        return table

    def _check_types(self, table: DeltaTable) -> None:
        stored = {field.name: field.type for field in pa.schema(table.schema().to_arrow())}
        for field in self.schema:
            if stored.get(field.name, field.type) != field.type:
                raise DataError(
                    "column is stored with another type",
                    where=f"{self.path}: {field.name}",
                    got=f"{stored[field.name]} in the table, {field.type} by the use case file",
                    allowed="a feature whose meaning changed gets a new name",
                )

    def _commit(self, table: DeltaTable, rows: pa.Table, transaction: Transaction) -> None:
        write_deltalake(
            table,
            rows,
            mode="append",
            schema_mode="merge",
            commit_properties=CommitProperties(app_transactions=[transaction]),
        )


def patiently(step: Callable[[], Result]) -> Result:
    """Result of a step that reads a table's log, and may be done again; a log that seems to be broken is read again."""
    for pause in _AGAIN_SECONDS:
        try:
            return step()
        except (CommitFailedError, TableNotFoundError):
            raise
        except DeltaError:
            time.sleep(pause)
    return step()


def until_committed(path: Path, step: Callable[[], Result]) -> Result:
    """Result of a step that reads a table and commits; what another writer has overtaken is done again on top of that.

    Raises
    ------
    ConflictError
        Every attempt was overtaken.
    DataError
        As of :func:`naming_faults`.
    """
    for _ in range(_ATTEMPTS):
        with naming_faults(path):
            try:
                return patiently(step)
            except CommitFailedError:
                continue
    raise ConflictError("every commit was overtaken", where=str(path), got=f"{_ATTEMPTS} attempts")


def load(path: Path) -> DeltaTable:
    """The table at its newest version, while others write to it.

    Raises
    ------
    DeltaError
        Its log is broken.
    TableNotFoundError
        There is none.
    """
    return patiently(lambda: DeltaTable(path))


def count_small_files(path: Path) -> int:
    """Small files of a table's newest version: whoever reads it opens each, and a compaction would merge them."""
    with naming_faults(path):
        sizes = pa.table(load(path).get_add_actions(flatten=True))["size_bytes"]
        return int(pc.sum(pc.less(sizes, SMALL_FILE_BYTES)).as_py() or 0)


def flush_commit(path: Path, version: int) -> None:
    """Force the files of one commit to disk; the writer itself leaves that to the operating system."""
    log = path / "_delta_log" / f"{version:020}.json"
    actions = (json.loads(line) for line in log.read_bytes().splitlines())  # of a text, U+2028 would end a line
    files = [path / unquote(action["add"]["path"]) for action in actions if "add" in action]
    for target in {*files, *(file.parent for file in files), log, log.parent, path}:
        handle = os.open(target, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


@contextmanager
def _alone(path: Path, *, until: float = 0.0) -> Iterator[bool]:
    """Whether no other process compacts the table; the lock lies beside it and ends with its process.

    Parameters
    ----------
    until
        How long another one is waited for, by ``time.monotonic``.
    """
    if not path.exists():
        yield False
        return
    with path.with_suffix(".compacting").open("w") as lock:
        taken = _take(lock)
        while not taken and time.monotonic() < until:
            time.sleep(_LOOK_SECONDS)
            taken = _take(lock)
        yield taken


def _take(lock: IO[str]) -> bool:
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


@contextmanager
def naming_faults(path: Path) -> Iterator[None]:
    """Turn faults of the store below into errors that name the table.

    Raises
    ------
    StackError
        The folder cannot be read or written.
    DataError
        The table is damaged.
    """
    try:
        yield
    except CommitFailedError as error:
        raise ConflictError("commit was refused", where=str(path), got=str(error)) from error
    except FileNotFoundError as error:
        raise DataError("lake table lacks a file", where=str(path), got=str(error)) from error
    except OSError as error:
        raise StackError("lake table cannot be reached", where=str(path), got=str(error)) from error
    except (DeltaError, pa.ArrowException) as error:
        # The library appends a native stack trace to some messages.
        raise DataError("lake table cannot be used", where=str(path), got=str(error).partition("\n")[0]) from error
