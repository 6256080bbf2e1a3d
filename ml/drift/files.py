"""Profiles of files: Parquet, CSV or a Delta table, read in batches, in bounded memory."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.csv as pacsv
import pyarrow.parquet as pq

from ml.drift.columns import Kinds, Times, as_numbers, as_texts, read_times
from ml.drift.file_schema import check_countable, check_same_columns, expand_path, first_line, kinds_like, read_schema
from ml.drift.projection import JOINT, append_errors, part_of, with_joint_kind
from ml.errors import DataError
from ml.records.profile import Projection

#: Rows that bins are taken from.
SAMPLE_ROWS = 100_000
#: Rows of a column that are decoded at once: enough for the compiled loop, and little memory.
SLICE_ROWS = 65_536
BUFFER_BYTES = 1 << 20
_PIECES = 8  # a sample is taken from so many places of a file

Advance = Callable[[int], None]
SlicesOf = Callable[[Sequence[str]], Iterator[pa.RecordBatch]]


@dataclass(frozen=True)
class RowGroup:
    """Some rows of a file, of which any column can be had by itself, from several threads at once.

    Attributes
    ----------
    times
        Event times, UTC; None without a time column.
    slices_of
        The named columns in slices of rows, in order.
    """

    rows: int
    times: Times | None
    slices_of: SlicesOf

    def column(self, name: str) -> pa.ChunkedArray:
        """The named column whole."""
        return pa.chunked_array([part.column(name) for part in self.slices_of([name])])


@dataclass(frozen=True)
class DataFiles:
    """Files that hold one table together, in this order.

    Attributes
    ----------
    rows
        None where only reading tells (CSV).
    time_column
        None where rows have no time.
    projection
        Adds the column of reconstruction errors, for which some columns of a row group are read together.
    parts
        Of a reference: the same without each fifth of its rows, used for that fifth; empty for live files.
    """

    paths: tuple[Path, ...]
    schema: pa.Schema
    rows: int | None
    kinds: Kinds
    time_column: str | None
    projection: Projection | None = None
    parts: tuple[Projection, ...] = ()

    @property
    def stored(self) -> Kinds:
        """Kinds of the columns that the files hold themselves."""
        return {name: kind for name, kind in self.kinds.items() if self.projection is None or name != JOINT}

    @property
    def left_out(self) -> dict[str, str]:
        """Stored type of each column that is neither counted nor the event time."""
        return {
            field.name: str(field.type)
            for field in self.schema
            if field.name not in self.kinds and field.name != self.time_column
        }

    def projected(self, projection: Projection | None) -> DataFiles:
        """The files with the column of reconstruction errors; as they are without directions or one of their columns.

        Raises
        ------
        DataError
            A column of the files is named like the new one.
        """
        if projection is None or not set(projection.columns) <= self.kinds.keys() or not projection.columns:
            return self
        if JOINT in self.kinds:
            raise DataError("column has the name of a derived one", got=JOINT, allowed="any other name")
        return replace(self, kinds=with_joint_kind(self.kinds, projection), projection=projection)

    def groups(self) -> Iterator[RowGroup]:
        """Row groups of Parquet files, batches of CSV files; a column of one is held at a time.

        Raises
        ------
        DataError
            A file cannot be read, or has other columns or types than the first.
        """
        first = 0
        for path in self.paths:
            try:
                found = self._csv_groups(path) if path.suffix == ".csv" else self._parquet_groups(path)
                for group in found:
                    if not group.rows:
                        continue
                    yield group if self.projection is None else _projected(group, self, first)
                    first += group.rows
            except (OSError, pa.ArrowException, KeyError) as error:
                raise DataError("data file cannot be read", where=str(path), got=first_line(error)) from error

    def _parquet_groups(self, path: Path) -> Iterator[RowGroup]:
        with pq.ParquetFile(path) as file:
            for number in range(file.num_row_groups):
                rows = file.metadata.row_group(number).num_rows

                def slices_of(
                    names: Sequence[str], number: int = number, known: pq.FileMetaData = file.metadata
                ) -> Iterator[pa.RecordBatch]:
                    words = [name for name in names if self.kinds.get(name) == "category"]
                    # A file object serves one thread; its buffer keeps a column chunk from being read at once.
                    with pq.ParquetFile(path, metadata=known, read_dictionary=words, buffer_size=BUFFER_BYTES) as own:
                        yield from own.iter_batches(SLICE_ROWS, row_groups=[number], columns=names, use_threads=False)

                yield RowGroup(rows, column_times(slices_of, self.time_column, path), slices_of)

    def _csv_groups(self, path: Path) -> Iterator[RowGroup]:
        wanted = [*self.stored, *([self.time_column] if self.time_column else [])]
        for batch in _read_csv(path, wanted):

            def slices_of(names: Sequence[str], batch: pa.RecordBatch = batch) -> Iterator[pa.RecordBatch]:
                yield batch.select(names)

            yield RowGroup(batch.num_rows, column_times(slices_of, self.time_column, path), slices_of)

    def sample(self) -> pa.Table:
        """About :data:`SAMPLE_ROWS` rows from all over the files."""
        names = [*self.stored]
        tables = [_sample_of(path, names, max(SAMPLE_ROWS // len(self.paths), 1)) for path in self.paths]
        if any(part.schema != tables[0].schema for part in tables):
            tables = [_plain(part, self.kinds) for part in tables]
        table = pa.concat_tables(tables)
        return table if self.projection is None else append_errors(table, [self.projection], np.zeros(len(table), int))


def open_files(
    paths: Sequence[Path], *, kinds: Kinds | None = None, time_column: str | None = None, like: Kinds | None = None
) -> DataFiles:
    """Files as one table; kinds and time column are inferred where they are not given.

    Parameters
    ----------
    paths
        Parquet files, CSV files, folders of either, or one Delta table's folder.
    time_column
        None takes the only column of times, if there is exactly one.
    like
        Kinds of a reference that the files will be compared with: of columns without any value, and of those that
        must be countable.

    Raises
    ------
    DataError
        There is no such file, it cannot be read, it lacks a column, or the files do not hold one table.
    """
    files = tuple(file for path in paths for file in expand_path(path))
    schema = read_schema(files[0])
    times = [field.name for field in schema if pa.types.is_temporal(field.type)]
    if time_column is None and kinds is None and len(times) == 1:
        time_column = times[0]
    found = kinds_like(schema, time_column, like or {}, where=files[0]) if kinds is None else kinds
    lacking = [name for name in [*found, *([time_column] if time_column else [])] if name not in schema.names]
    if lacking:
        raise DataError(
            "data file lacks a column", where=str(files[0]), got=", ".join(schema.names), allowed=", ".join(lacking)
        )
    if not found:
        raise DataError("no column can be profiled", where=str(files[0]), got=_told(schema))
    if kinds is not None:
        check_countable(schema, kinds, where=files[0])
    only = frozenset() if kinds is None else frozenset({*kinds, *([time_column] if time_column else [])})
    check_same_columns(files[0], schema, files[1:], only=only)
    rows = None if any(f.suffix == ".csv" for f in files) else sum(pq.read_metadata(f).num_rows for f in files)
    return DataFiles(files, schema, rows, found, time_column)


def column_times(slices_of: SlicesOf, time_column: str | None, path: Path) -> Times | None:
    """Event times of a row group; None without a time column.

    Raises
    ------
    DataError
        A time is missing or unreadable.
    """
    if time_column is None:
        return None
    parts = [part.column(0) for part in slices_of([time_column])]
    return read_times(pa.chunked_array(parts), f"{path}: {time_column}") if parts else np.empty(0, "datetime64[us]")


def _told(schema: pa.Schema) -> str:
    return ", ".join(f"{field.name} ({field.type})" for field in schema)


def _projected(group: RowGroup, files: DataFiles, first: int) -> RowGroup:
    """The row group with the column of reconstruction errors; its first row has this number in the files."""
    projection = files.projection
    if projection is None:
        return group
    rows = first + np.arange(group.rows)
    part = part_of(rows, files.rows or 0) if files.parts else np.zeros(group.rows, dtype=np.int64)

    def slices_of(names: Sequence[str]) -> Iterator[pa.RecordBatch]:
        if JOINT not in names:
            yield from group.slices_of(names)
            return
        done = 0
        for slice_ in group.slices_of(sorted({*projection.columns, *names} - {JOINT})):
            yield append_errors(slice_, files.parts or (projection,), part[done : done + slice_.num_rows]).select(names)
            done += slice_.num_rows

    return replace(group, slices_of=slices_of)


def _read_csv(path: Path, columns: list[str]) -> Iterator[pa.RecordBatch]:
    options = pacsv.ConvertOptions(include_columns=columns)
    with pacsv.open_csv(path, convert_options=options, read_options=pacsv.ReadOptions(block_size=1 << 23)) as reader:
        yield from reader


def _sample_of(path: Path, columns: list[str], wanted: int) -> pa.Table:
    try:
        return _thinned(path, columns, wanted) if path.suffix == ".csv" else _spaced(path, columns, wanted)
    except (OSError, pa.ArrowException, KeyError) as error:
        raise DataError("data file cannot be read", where=str(path), got=first_line(error)) from error


def _spaced(path: Path, columns: list[str], wanted: int) -> pa.Table:
    """First rows of row groups from all over a Parquet file, one column after the other to save memory."""
    with pq.ParquetFile(path, buffer_size=BUFFER_BYTES) as file:
        groups = np.unique(np.linspace(0, file.num_row_groups - 1, min(_PIECES, file.num_row_groups)).astype(int))
        size = max(wanted // max(len(groups), 1), 1)
        found: dict[str, list[pa.Array]] = {name: [] for name in columns}
        for group in groups.tolist():
            for name in columns:
                batch = next(
                    file.iter_batches(batch_size=size, row_groups=[group], columns=[name], use_threads=False), None
                )
                found[name] += [] if batch is None else [batch.column(0)]
        schema = file.schema_arrow
    return pa.table({name: pa.chunked_array(parts, schema.field(name).type) for name, parts in found.items()})


def _plain(table: pa.Table, kinds: Kinds) -> pa.Table:
    """The table with each column as numbers or texts, since files of one table may store them in several ways."""
    found = {
        name: pa.array(as_numbers(table[name], name)) if kinds[name] == "number" else as_texts(table[name])
        for name in table.schema.names
    }
    return pa.table(found)


def _thinned(path: Path, columns: list[str], wanted: int) -> pa.Table:
    """Every k-th row of a CSV file, where k doubles whenever there are too many."""
    kept: list[pa.RecordBatch] = []
    stride = 1
    for batch in _read_csv(path, columns):
        kept.append(batch.take(pa.array(range(0, batch.num_rows, stride))))
        while sum(part.num_rows for part in kept) > 2 * wanted:
            kept = [part.take(pa.array(range(0, part.num_rows, 2))) for part in kept]
            stride *= 2
    return pa.Table.from_batches(kept) if kept else pa.table({name: pa.nulls(0) for name in columns})
