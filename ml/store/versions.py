"""The training table: one Delta version per assembled data set, kept for ever, each written once per key."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.dataset as ds
from deltalake import CommitProperties, DeltaTable, Transaction, write_deltalake
from deltalake.exceptions import DeltaError, TableNotFoundError

from ml.errors import DataError
from ml.store.frames import training_frame, training_table
from ml.store.table import flush_commit, load, naming_faults, until_committed

#: A model must stay reproducible from the version it was trained on, so the log never forgets one.
_FOR_EVER = {
    "delta.logRetentionDuration": "interval 36500 days",
    "delta.deletedFileRetentionDuration": "interval 36500 days",
}


class TrainingTable:
    """The versions of a use case's training data.

    Parameters
    ----------
    path
        Folder of the Delta table.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    def write(self, frame: pd.DataFrame, *, key: str) -> int:
        """Write a frame as the next version; the same key again returns the version that it has written.

        Raises
        ------
        DataError
            The frame cannot be stored.
        ConflictError
            Every attempt was overtaken by another writer.
        """
        rows = training_table(frame)
        return until_committed(self.path, lambda: self._write(rows, key))

    def _write(self, rows: pa.Table, key: str) -> int:
        table = self._open_or_create(rows.schema)
        known = table.transaction_version(key)
        if known is not None:
            os.sync()  # an earlier run's commit, perhaps just before a crash: not known to be on disk
            return known
        version = table.version() + 1
        _overwrite(table, rows, key, version)
        flush_commit(self.path, version)
        return version

    def count(self) -> int:
        """Versions that were written."""
        if not DeltaTable.is_deltatable(str(self.path)):
            return 0
        with naming_faults(self.path):
            return load(self.path).version()

    def read(self, version: int) -> pd.DataFrame:
        """Frame of a version.

        Raises
        ------
        DataError
            There is no such version.
        """
        with naming_faults(self.path):
            return training_frame(self._open(version).to_pyarrow_table())

    def part_of(self, version: int, row_id: str) -> str | None:
        """Column ``part`` of a row of a version; None when the row is not in it.

        Raises
        ------
        DataError
            There is no such version.
        """
        with naming_faults(self.path):
            rows = self._open(version).to_pyarrow_dataset()
            found = rows.to_table(columns=["part"], filter=ds.field("id") == row_id)["part"].to_pylist()
        return str(found[0]) if found else None

    def _open(self, version: int) -> DeltaTable:
        try:
            return DeltaTable(self.path, version=version)
        except (TableNotFoundError, DeltaError) as error:
            raise DataError("no such version of the training data", where=str(self.path), got=str(version)) from error

    def _open_or_create(self, schema: pa.Schema) -> DeltaTable:
        if not DeltaTable.is_deltatable(str(self.path)):
            # Another process may make it in the same moment; if it was something else, opening says what.
            with suppress(DeltaError):
                DeltaTable.create(self.path, schema=schema, configuration=_FOR_EVER)
        return load(self.path)


def _overwrite(table: DeltaTable, rows: pa.Table, key: str, version: int) -> None:
    """Commit as exactly this version, or not at all: the key's transaction can then name its version."""
    write_deltalake(
        table,
        rows,
        mode="overwrite",
        schema_mode="overwrite",
        commit_properties=CommitProperties(
            custom_metadata={"key": key}, max_commit_retries=0, app_transactions=[Transaction(key, version)]
        ),
    )
