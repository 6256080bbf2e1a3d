"""Columns of data files before any row is read: which files, which columns, and whether they hold one table."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pyarrow as pa
import pyarrow.csv as pacsv
import pyarrow.parquet as pq

from ml.drift.columns import Kind, Kinds, infer_kinds
from ml.errors import DataError


def expand_path(path: Path) -> list[Path]:
    """Files of a path: itself, those of a folder in the order of their names, or those of a Delta table.

    Raises
    ------
    DataError
        There is none, or the folder cannot be read.
    """
    try:
        found = _files_of(path)
    except OSError as error:
        raise DataError("data file cannot be read", where=str(path), got=error.strerror or str(error)) from error
    if not found:
        raise DataError("folder holds no data", where=str(path), allowed="Parquet or CSV files")
    return found


def read_schema(path: Path) -> pa.Schema:
    """Columns of a file; of a CSV file the types are those of its first rows.

    Raises
    ------
    DataError
        The file cannot be read, or uses a column name twice.
    """
    try:
        schema = _stored_schema(path)
    except (OSError, pa.ArrowException) as error:
        raise DataError("data file cannot be read", where=str(path), got=first_line(error)) from error
    twice = [name for name, n in Counter(schema.names).items() if n > 1]
    if twice:
        raise DataError(
            "column name is used more than once", where=str(path), got=", ".join(twice), allowed="each name once"
        )
    return schema


def check_same_columns(first: Path, schema: pa.Schema, others: tuple[Path, ...], *, only: frozenset[str]) -> None:
    """Raise where a later file has other columns than the first, or counts one as another kind.

    Parameters
    ----------
    only
        Columns that matter; empty for all.

    Raises
    ------
    DataError
        The files do not hold one table.
    """
    wanted = _classes(schema, only)
    for path in others:
        found = _classes(read_schema(path), only)
        told = [f"lacks {name}" for name in wanted if name not in found]
        told += [f"{name} is new" for name in found if name not in wanted]
        told += [
            f"{name} is a {found[name]}, not a {kind}"
            for name, kind in wanted.items()
            if name in found and "column without values" not in {found[name], kind} and found[name] != kind
        ]
        if told:
            raise DataError("files hold other columns", where=str(path), got="; ".join(told), allowed=f"as in {first}")


def kinds_like(schema: pa.Schema, time_column: str | None, like: Kinds, *, where: Path) -> dict[str, Kind]:
    """Kinds by stored type; a column without any value is what it is in ``like``, or else a number.

    Raises
    ------
    DataError
        A column that ``like`` counts is stored as what cannot be counted: a time, a list, bytes.
    """
    found = infer_kinds(schema, leave_out=frozenset({time_column} if time_column else ()))
    for field in schema:
        if pa.types.is_null(field.type) and field.name != time_column:
            found[field.name] = like.get(field.name, "number")
        elif field.name in like and field.name not in found and field.name != time_column:
            raise DataError(
                "column cannot be counted",
                where=f"{where}: {field.name}",
                got=str(field.type),
                allowed=f"a {like[field.name]}, as in the reference",
            )
    return {name: found[name] for name in schema.names if name in found}


def check_countable(schema: pa.Schema, kinds: Kinds, *, where: Path) -> None:
    """Raise where a column that is wanted as a number holds words.

    Raises
    ------
    DataError
        A column is of another kind.
    """
    for name, kind in infer_kinds(schema).items():
        field = schema.field(name)
        if kinds.get(name) == "number" and kind == "category" and not pa.types.is_boolean(field.type):
            raise DataError("column is not numeric", where=f"{where}: {name}", got=str(field.type), allowed="numbers")


def first_line(error: Exception) -> str:
    """First line of an error's text, printable and short."""
    text = next(iter(str(error).splitlines()), "")
    return "".join(letter if letter.isprintable() else "?" for letter in text[:200])


def _files_of(path: Path) -> list[Path]:
    if not path.exists():
        raise DataError("data file is absent", where=str(path), allowed="Parquet, CSV, a folder of them, a Delta table")
    if not path.is_dir():
        return [path]
    if (path / "_delta_log").is_dir():
        from deltalake import DeltaTable

        return sorted(Path(uri.removeprefix("file://")) for uri in DeltaTable(path).file_uris())
    return sorted(file for file in path.iterdir() if file.suffix in {".parquet", ".csv"})


def _stored_schema(path: Path) -> pa.Schema:
    if path.suffix != ".csv":
        return pq.read_schema(path)
    with pacsv.open_csv(path) as reader:
        return reader.schema


def _classes(schema: pa.Schema, only: frozenset[str]) -> dict[str, str]:
    """What each column is, as far as files of one table must agree."""
    kinds = infer_kinds(schema)
    return {
        field.name: "column without values"
        if pa.types.is_null(field.type)
        else kinds.get(field.name, "time" if pa.types.is_temporal(field.type) else str(field.type))
        for field in schema
        if not only or field.name in only
    }
