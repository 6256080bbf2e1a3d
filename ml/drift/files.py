"""Profiles of files: Parquet, CSV or a Delta table, read in batches, in bounded memory."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.csv as pacsv
import pyarrow.parquet as pq

from ml.drift.columns import Kinds, Times, infer_kinds, times_of
from ml.drift.context import count_contexts, label_contexts
from ml.drift.profile import build_profile, count_columns, merge_profiles
from ml.drift.projection import JOINT, append_errors, part_of, with_joint_kind
from ml.drift.reference import ReferenceBuilder
from ml.errors import DataError
from ml.records.measure import Window
from ml.records.profile import Profile, Projection, ReferenceProfile

#: Rows that bins are taken from.
SAMPLE_ROWS = 100_000
_PIECES = 8  # a sample is taken from so many places of a file
_BLOCKS = 200  # a file is cut into about so many blocks when nothing else says how
_STEPS = tuple(
    timedelta(**{unit: n})
    for unit, n in (
        ("minutes", 1), ("minutes", 10), ("hours", 1), ("hours", 6), ("days", 1), ("days", 7), ("days", 28)
    )
)  # fmt: skip

Advance = Callable[[int], None]


@dataclass(frozen=True)
class RowGroup:
    """Some rows of a file, of which any column can be had by itself, from several threads at once.

    Attributes
    ----------
    times
        Event times, UTC; None without a time column.
    table_of
        Table with the named column.
    """

    rows: int
    times: Times | None
    table_of: Callable[[str], pa.Table | pa.RecordBatch]


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
                    yield group if self.projection is None else _projected(group, self, first)
                    first += group.rows
            except (OSError, pa.ArrowException, KeyError) as error:
                raise DataError("data file cannot be read", where=str(path), got=str(error)) from error

    def _parquet_groups(self, path: Path) -> Iterator[RowGroup]:
        with pq.ParquetFile(path) as file:
            for number in range(file.num_row_groups):
                rows = file.metadata.row_group(number).num_rows

                def table_of(name: str, number: int = number) -> pa.Table:
                    with pq.ParquetFile(path) as own:  # a file object serves one thread
                        return own.read_row_group(number, columns=[name], use_threads=False)

                yield RowGroup(rows, column_times(table_of, self.time_column), table_of)

    def _csv_groups(self, path: Path) -> Iterator[RowGroup]:
        wanted = [*self.stored, *([self.time_column] if self.time_column else [])]
        for batch in _read_csv(path, wanted):

            def table_of(name: str, batch: pa.RecordBatch = batch) -> pa.RecordBatch:
                return batch.select([name])

            yield RowGroup(batch.num_rows, column_times(table_of, self.time_column), table_of)

    def sample(self) -> pa.Table:
        """About :data:`SAMPLE_ROWS` rows from all over the files."""
        names = [*self.stored]
        if any(path.suffix == ".csv" for path in self.paths):
            table = pa.Table.from_batches(_thinned(b for path in self.paths for b in _read_csv(path, names)))
        else:
            wanted = max(SAMPLE_ROWS // len(self.paths), 1)
            table = pa.concat_tables([_spaced(path, names, wanted) for path in self.paths])
        return table if self.projection is None else append_errors(table, [self.projection], np.zeros(len(table), int))


def open_files(paths: Sequence[Path], *, kinds: Kinds | None = None, time_column: str | None = None) -> DataFiles:
    """Files as one table; kinds and time column are inferred where they are not given.

    Parameters
    ----------
    paths
        Parquet files, CSV files, folders of either, or one Delta table's folder.
    time_column
        None takes the only column of times, if there is exactly one.

    Raises
    ------
    DataError
        There is no such file, it cannot be read, or it lacks a column.
    """
    files = tuple(file for path in paths for file in _expand(path))
    try:
        schema = _schema(files[0])
        rows = None if any(f.suffix == ".csv" for f in files) else sum(pq.read_metadata(f).num_rows for f in files)
    except (OSError, pa.ArrowException) as error:
        raise DataError("data file cannot be read", where=str(files[0]), got=str(error)) from error
    times = [field.name for field in schema if pa.types.is_temporal(field.type)]
    if time_column is None and kinds is None and len(times) == 1:
        time_column = times[0]
    found = infer_kinds(schema, leave_out=frozenset({time_column} if time_column else ())) if kinds is None else kinds
    lacking = [name for name in [*found, *([time_column] if time_column else [])] if name not in schema.names]
    if lacking:
        raise DataError(
            "data file lacks a column", where=str(files[0]), got=", ".join(schema.names), allowed=", ".join(lacking)
        )
    if not found:
        raise DataError("no column can be profiled", where=str(files[0]), got=str(schema))
    return DataFiles(files, schema, rows, found, time_column)


def profile_files(
    files: DataFiles,
    *,
    edges: Profile | None = None,
    block: timedelta | None = None,
    window: timedelta | None = None,
    context: Sequence[str] = (),
    advance: Advance = lambda rows: None,
) -> ReferenceProfile:
    """Reference profile of files: bins from a sample, then one pass.

    Parameters
    ----------
    edges
        Profile whose bins are used; None takes them from the files.
    block
        Length of a block of event time; None chooses one that gives about 200 blocks.
    window
        Length of live windows to come; blocks that must be joined divide it.
    context
        What makes a row's context, :func:`ml.drift.context.label_contexts`.
    advance
        Told how many rows were read.

    Raises
    ------
    DataError
        The files cannot be read or hold no rows.
    """
    if edges is None:
        edges = build_profile(files.sample(), files.kinds)
    builder: ReferenceBuilder | None = None
    for group in files.groups():
        if builder is None:
            length = (block or _choose_block(files)) if group.times is not None else None
            run = max((files.rows or 0) // _BLOCKS, 1)
            builder = ReferenceBuilder(files.kinds, edges, block=length, run=run, context=context)
        builder.add_columns(group.table_of, rows=group.rows, times=group.times)
        advance(group.rows)
    if builder is None:
        raise DataError("data file has no rows", where=str(files.paths[0]), got="0 rows", allowed="at least one")
    return builder.build(window=window).model_copy(update={"projection": files.projection})


def profile_live(
    files: DataFiles, edges: Profile, *, context: Sequence[str] = (), advance: Advance = lambda rows: None
) -> Profile:
    """Profile of files on given bins, in one pass; its window is that of the time column, if there is one.

    Raises
    ------
    DataError
        The files cannot be read.
    """
    whole: Profile | None = None
    for group in files.groups():
        columns = count_columns(group.table_of, files.kinds, edges)
        found = Profile(
            window=_span(group.times),
            n=group.rows,
            columns={n: part for n, (part, _) in columns.items()},
            contexts=_contexts(group, files.kinds, edges, context),
        )
        whole = found if whole is None else merge_profiles(whole, found)
        advance(group.rows)
    if whole is None:
        empty = files.schema.empty_table().select(list(files.stored))
        empty = empty if files.projection is None else append_errors(empty, [files.projection], np.empty(0, int))
        return build_profile(empty, files.kinds, edges=edges)
    return whole


def _contexts(group: RowGroup, kinds: Kinds, edges: Profile, context: Sequence[str]) -> dict[str, int]:
    if not context:
        return {}
    labelled = label_contexts(
        context,
        rows=group.rows,
        kinds=kinds,
        column_of=lambda name: group.table_of(name).column(0),
        times=group.times,
    )
    return count_contexts(labelled, edges.contexts)


def column_times(table_of: Callable[[str], pa.Table | pa.RecordBatch], time_column: str | None) -> Times | None:
    """Event times of a row group; None without a time column.

    Raises
    ------
    DataError
        A time is missing or unreadable.
    """
    if time_column is None:
        return None
    column = table_of(time_column).column(0).to_pandas()
    try:
        times = times_of(pd.to_datetime(column, utc=True))
    except (ValueError, TypeError) as error:
        raise DataError("time is unreadable", where=time_column, got=str(error)) from error
    if np.isnat(times).any():
        raise DataError("time is missing", where=time_column, got=f"{int(np.isnat(times).sum())} rows")
    return times


def _projected(group: RowGroup, files: DataFiles, first: int) -> RowGroup:
    """The row group with the column of reconstruction errors; its first row has this number in the files."""
    projection = files.projection
    if projection is None:
        return group
    rows = first + np.arange(group.rows)
    part = part_of(rows, files.rows or 0) if files.parts else np.zeros(group.rows, dtype=np.int64)

    def table_of(name: str) -> pa.Table | pa.RecordBatch:
        if name != JOINT:
            return group.table_of(name)
        together = {one: group.table_of(one).column(0) for one in projection.columns}
        return append_errors(pa.table(together), files.parts or (projection,), part).select([JOINT])

    return replace(group, table_of=table_of)


def _span(times: Times | None) -> Window | None:
    if times is None or not len(times):
        return None
    first, last = pd.Timestamp(times.min(), tz="UTC"), pd.Timestamp(times.max(), tz="UTC")
    return Window(start=first.to_pydatetime(), end=(last.ceil("us") + timedelta(microseconds=1)).to_pydatetime())


def _choose_block(files: DataFiles) -> timedelta:
    """Step of the calendar that cuts the files into about 200 blocks."""
    spans = [
        (group.times.min(), group.times.max()) for group in files.groups() if group.times is not None and group.rows
    ]
    oldest, newest = min(first for first, _ in spans), max(last for _, last in spans)
    span = pd.Timedelta(newest - oldest).to_pytimedelta()
    return next((step for step in _STEPS if span / step <= _BLOCKS * 2), timedelta(days=28))


def _expand(path: Path) -> list[Path]:
    if not path.exists():
        raise DataError("data file is absent", where=str(path), allowed="Parquet, CSV, a folder of them, a Delta table")
    if not path.is_dir():
        return [path]
    if (path / "_delta_log").is_dir():
        from deltalake import DeltaTable

        found = sorted(Path(uri.removeprefix("file://")) for uri in DeltaTable(path).file_uris())
    else:
        found = sorted(file for file in path.iterdir() if file.suffix in {".parquet", ".csv"})
    if not found:
        raise DataError("folder holds no data", where=str(path), allowed="Parquet or CSV files")
    return found


def _schema(path: Path) -> pa.Schema:
    if path.suffix != ".csv":
        return pq.read_schema(path)
    with pacsv.open_csv(path) as reader:
        return reader.schema


def _read_csv(path: Path, columns: list[str]) -> Iterator[pa.RecordBatch]:
    options = pacsv.ConvertOptions(include_columns=columns)
    with pacsv.open_csv(path, convert_options=options, read_options=pacsv.ReadOptions(block_size=1 << 23)) as reader:
        yield from reader


def _spaced(path: Path, columns: list[str], wanted: int) -> pa.Table:
    """First rows of row groups from all over a Parquet file, one column after the other to save memory."""
    with pq.ParquetFile(path) as file:
        groups = np.unique(np.linspace(0, file.num_row_groups - 1, min(_PIECES, file.num_row_groups)).astype(int))
        size = max(wanted // len(groups), 1)
        found: dict[str, list[pa.Array]] = {name: [] for name in columns}
        for group in groups.tolist():
            for name in columns:
                batch = next(file.iter_batches(batch_size=size, row_groups=[group], columns=[name]), None)
                found[name] += [] if batch is None else [batch.column(0)]
        schema = file.schema_arrow
    return pa.table({name: pa.chunked_array(parts, schema.field(name).type) for name, parts in found.items()})


def _thinned(batches: Iterator[pa.RecordBatch]) -> list[pa.RecordBatch]:
    """Every k-th row, where k doubles whenever there are too many."""
    kept: list[pa.RecordBatch] = []
    stride = 1
    for batch in batches:
        kept.append(batch.take(pa.array(range(0, batch.num_rows, stride))))
        while sum(part.num_rows for part in kept) > 2 * SAMPLE_ROWS:
            kept = [part.take(pa.array(range(0, part.num_rows, 2))) for part in kept]
            stride *= 2
    return kept
