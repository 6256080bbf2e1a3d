"""Columns of a table, as numbers or as texts, whatever they are stored as."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from ml.errors import DataError
from ml.use_case import UseCase

Kind = Literal["number", "category"]
Kinds = Mapping[str, Kind]
Times = NDArray[np.datetime64]


def kinds_of(use_case: UseCase) -> dict[str, Kind]:
    """How the features of a use case are counted; booleans are the numbers 0 and 1."""
    return {name: "category" if feature.type == "category" else "number" for name, feature in use_case.features.items()}


def infer_kinds(schema: pa.Schema, *, leave_out: frozenset[str] = frozenset()) -> dict[str, Kind]:
    """Kinds by stored type: numbers are numbers; texts, booleans and dictionaries are categories; times are left out.

    Examples
    --------
    >>> infer_kinds(pa.schema([("x", pa.float32()), ("place", pa.string()), ("at", pa.timestamp("s"))]))
    {'x': 'number', 'place': 'category'}
    """
    found: dict[str, Kind] = {}
    for field in schema:
        if field.name in leave_out:
            continue
        if pa.types.is_floating(field.type) or pa.types.is_integer(field.type) or pa.types.is_decimal(field.type):
            found[field.name] = "number"
        elif (
            pa.types.is_string(field.type)
            or pa.types.is_large_string(field.type)
            or pa.types.is_string_view(field.type)
            or pa.types.is_boolean(field.type)
            or pa.types.is_dictionary(field.type)
        ):
            found[field.name] = "category"
    return found


def column_of(table: pd.DataFrame | pa.Table | pa.RecordBatch, name: str) -> Any:
    """Column of a table.

    Raises
    ------
    DataError
        There is none of that name.
    """
    names = list(table.columns) if isinstance(table, pd.DataFrame) else table.schema.names
    if name not in names:
        raise DataError("column is absent", where=name, got=", ".join(map(str, names)))
    return table[name] if isinstance(table, pd.DataFrame) else table.column(name)


def as_numbers(column: Any, name: str) -> NDArray[np.float64]:
    """Values as float64; what is missing is NaN.

    Raises
    ------
    DataError
        They are not numbers.
    """
    try:
        if isinstance(column, pa.Array | pa.ChunkedArray):
            whole = column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column
            return np.asarray(whole.cast(pa.float64(), safe=False).to_numpy(zero_copy_only=False))
        return np.asarray(column.to_numpy(dtype=np.float64, na_value=np.nan))
    except (TypeError, ValueError, pa.ArrowException) as error:
        kind = getattr(column, "dtype", getattr(column, "type", "unknown"))
        raise DataError("column is not numeric", where=name, got=str(kind), allowed="numbers") from error


def as_texts(column: Any) -> pa.Array:
    """Values as text; what is missing or empty is null."""
    if isinstance(column, pd.Series):
        try:
            column = pa.array(column, from_pandas=True)
        except pa.ArrowException:  # values of several types
            column = pa.array([None if pd.isna(value) else str(value) for value in column], type=pa.string())
    if isinstance(column, pa.ChunkedArray):
        column = column.combine_chunks()
    texts = pc.cast(column, pa.string())
    return pc.if_else(pc.equal(texts, ""), pa.scalar(None, pa.string()), texts)


def times_of(column: Any) -> Times:
    """Event times as UTC without a zone; a naive one is taken as UTC."""
    index = pd.DatetimeIndex(column)
    return (
        index.tz_localize(None).to_numpy() if index.tz is None else index.tz_convert("UTC").tz_localize(None).to_numpy()
    )


def frame_times(table: pd.DataFrame | pa.Table | pa.RecordBatch) -> Times | None:
    """Event times of rows with ``event_time``; None without that column."""
    names = table.columns if isinstance(table, pd.DataFrame) else table.schema.names
    return times_of(table["event_time"]) if "event_time" in names else None


def read_times(column: pa.ChunkedArray, where: str) -> Times:
    """Event times of a stored column, UTC.

    Numbers are refused, since they do not say their unit, as are times of day and durations, which have no day.

    Raises
    ------
    DataError
        They are no times, or one is missing.
    """
    if not _holds_moments(column.type):
        raise DataError("time is unreadable", where=where, got=str(column.type), allowed="times, dates, ISO 8601 texts")
    try:
        found = column.to_pandas()
        # Whether 01.02. is a day in January or in February, only ISO 8601 says.
        form = None if pa.types.is_timestamp(column.type) or pa.types.is_date(column.type) else "ISO8601"
        times = times_of(pd.to_datetime(found, utc=True, format=form))
    except (ValueError, TypeError) as error:
        told = str(error).splitlines()[0]
        raise DataError("time is unreadable", where=where, got=told, allowed="ISO 8601") from error
    if np.isnat(times).any():
        raise DataError("time is missing", where=where, got=f"{int(np.isnat(times).sum())} rows")
    return times


def _holds_moments(kind: pa.DataType) -> bool:
    if pa.types.is_dictionary(kind):
        return _holds_moments(kind.value_type)
    texts = pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind)
    return texts or pa.types.is_timestamp(kind) or pa.types.is_date(kind) or pa.types.is_null(kind)
