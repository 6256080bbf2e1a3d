"""Between Arrow tables and the frames that the other rooms work on."""

from __future__ import annotations

import json
from datetime import datetime

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from ml.errors import DataError
from ml.store.layout import QUARANTINE, TIME


def expand_probabilities(column: pa.ChunkedArray, classes: int) -> pd.DataFrame:
    """Columns ``p_0 ..`` of a list column; a list of another length (the classes changed) gives missing values."""
    lists = column.combine_chunks()
    fits = pc.fill_null(pc.equal(pc.list_value_length(lists), classes), False)
    values = np.full((len(lists), classes), np.nan)
    if classes and len(lists):
        flat = lists.filter(fits).flatten().to_numpy(zero_copy_only=False)
        values[fits.to_numpy(zero_copy_only=False)] = flat.reshape(-1, classes)
    return pd.DataFrame(values, columns=[f"p_{i}" for i in range(classes)])


def as_features(frame: pd.DataFrame) -> pd.DataFrame:
    """Numbers as float64 with NaN for missing, texts as objects with None for missing."""
    return pd.DataFrame(
        {
            name: column.astype(np.float64)
            if pd.api.types.is_numeric_dtype(column.dtype)
            else column.astype(object).where(column.notna(), None)
            for name, column in frame.items()
        },
        index=frame.index,
    )


def training_table(frame: pd.DataFrame) -> pa.Table:
    """Arrow table of a frame: times to the microsecond in UTC, categoricals as text, empty columns as text.

    Raises
    ------
    DataError
        The frame is empty or holds a column that cannot be stored.
    """
    if frame.empty:
        raise DataError("training data has no rows", allowed="at least one row")
    try:
        table = pa.Table.from_pandas(frame, preserve_index=False)
    except (pa.ArrowException, TypeError) as error:
        raise DataError("training data cannot be stored", got=str(error)) from error
    schema = pa.schema([(field.name, _stored_type(field.type)) for field in table.schema])
    return table.replace_schema_metadata(None).cast(schema)


def training_frame(table: pa.Table) -> pd.DataFrame:
    """Frame of stored training data, ordered by event time and id where it has them."""
    frame: pd.DataFrame = table.to_pandas()
    order = [name for name in ("event_time", "id") if name in frame.columns]
    frame = frame.sort_values(order, ignore_index=True) if order else frame
    texts = [name for name in frame.columns if isinstance(frame[name].dtype, pd.StringDtype)]
    return frame.assign(**{name: frame[name].astype(object).where(frame[name].notna(), None) for name in texts})


def quarantine_rows(frame: pd.DataFrame, key: str, now: datetime) -> pa.Table:
    """Rows of the quarantine table: the reason, the rest of each row as JSON, and when they were put aside.

    Raises
    ------
    DataError
        The frame has no column ``reason``.
    """
    if "reason" not in frame.columns:
        raise DataError("quarantined rows need a reason", where=key, got=", ".join(map(str, frame.columns)))
    rest = frame.drop(columns="reason")
    records = rest.astype(object).where(rest.notna(), None).to_dict("records")
    n = len(frame)
    columns = {
        "key": [key] * n,
        "reason": [str(reason) for reason in frame["reason"]],
        "content": [json.dumps(record, default=str) for record in records],
        "received_at": [now] * n,
        "seq": list(range(1, n + 1)),
    }
    arrays = [pa.array(columns.get(field.name, [None] * n), field.type) for field in QUARANTINE]
    return pa.table(arrays, schema=QUARANTINE)


def _stored_type(kind: pa.DataType) -> pa.DataType:
    if pa.types.is_timestamp(kind):
        return TIME
    if pa.types.is_dictionary(kind):
        return _stored_type(kind.value_type)
    if pa.types.is_null(kind) or pa.types.is_large_string(kind):
        return pa.string()
    return kind
