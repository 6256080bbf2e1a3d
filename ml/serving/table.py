"""Columns and records of other protocols, turned into batches.

Two columns are no features and may come along: ``id`` and ``event_time``. Data frames and tensors know no null: there
not-a-number is the sign for a missing value, as pandas and NumPy write it. They are answered whole or not at all, since
there is no place for errors.

Clean tables are taken column by column; of others the rows are read as those of our own JSON.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from ml.records.codes import Code
from ml.serving.body import check_count
from ml.serving.decode import Batch, Body, Layout, finish_batch, read_carefully
from ml.serving.limits import Column
from ml.serving.problem import RequestRefused
from ml.use_case import UseCase

ID, EVENT_TIME = "id", "event_time"
_ASIDES = (ID, EVENT_TIME)


def read_table(columns: Sequence[str], rows: Sequence[Any], layout: Layout) -> Batch:
    """Batch of rows that share their columns' names.

    Raises
    ------
    RequestRefused
        A column comes twice, or a row has another width (400), or the batch is not understood (413, 422).
    """
    if len(set(columns)) != len(columns):
        raise RequestRefused(Code.MALFORMED, f"columns must differ, got {_some(columns)}")
    check_count("data", len(rows))
    for number, row in enumerate(rows):
        if not isinstance(row, list) or len(row) != len(columns):
            raise RequestRefused(Code.MALFORMED, f"row {number} must be a list of {len(columns)} values, as columns is")
    return _read(dict(zip(columns, zip(*rows, strict=True), strict=True)), len(rows), layout)


def read_records(records: Sequence[Any], layout: Layout) -> Batch:
    """Batch of records, each a mapping by name or a list in file order.

    Raises
    ------
    RequestRefused
        Some records have an id, or an event time, and others none (400), or the batch is not understood (413, 422).
    """
    check_count("data", len(records))
    asides: dict[str, Column] = {}
    for name in _ASIDES:
        given = [record[name] for record in records if isinstance(record, dict) and name in record]
        if given and len(given) != len(records):
            raise RequestRefused(Code.MALFORMED, f"{name} must be in all records or in none")
        if given:
            asides[name] = given
    return _finish(_columns_of(records, layout), asides, lambda: _ask_records(records), layout)


def read_columns(columns: Mapping[str, Any], layout: Layout) -> Batch:
    """Batch of values by column.

    A column is a feature's name with ``n`` values, or with ``n`` lists of one; or the name of an input of the graph,
    ``numbers`` or ``categories``, with ``n`` lists of as many values as there are such features. A single column of
    another name with ``n`` lists as wide as a row has the features in file order. Arrays do as well as lists.

    Raises
    ------
    RequestRefused
        Columns of different lengths, or of another form (400), or the batch is not understood (413, 422).
    """
    taken: dict[str, Column] = {}
    for name, values in columns.items():
        if not isinstance(values, list | np.ndarray):
            raise RequestRefused(Code.MALFORMED, f"column {name[:100]} must be a list")
        for column, cells in _spread(name, values, layout.use_case, alone=len(set(columns) - set(_ASIDES)) == 1):
            if column in taken:
                raise RequestRefused(Code.MALFORMED, f"column {column[:100]} comes twice")
            taken[column] = cells
    lengths = {len(cells) for cells in taken.values()}
    if len(lengths) != 1:
        raise RequestRefused(Code.MALFORMED, f"columns must have the same length, got {sorted(lengths)[:5]}")
    (n,) = lengths
    check_count("data", n)
    return _read(taken, n, layout)


def _spread(name: str, values: Column, use_case: UseCase, *, alone: bool) -> list[tuple[str, Column]]:
    """Columns of one that may hold several."""
    if isinstance(values, np.ndarray):
        widths = {values.shape[1] if values.ndim == 2 else 0}
    else:
        widths = {len(value) if isinstance(value, list) else 0 for value in values}
    if widths == {1} and (name in use_case.features or name in _ASIDES):
        return [(name, _pick(values, 0))]
    if widths <= {0}:
        return [(name, values)]
    inside = {"numbers": use_case.numbers, "categories": use_case.categories}.get(name, ())
    if name in use_case.features or not inside:
        inside = tuple(use_case.features) if alone and name not in use_case.features else ()
    if widths != {len(inside)}:
        wanted = f"{len(inside)} values" if inside else "one value"
        raise RequestRefused(
            Code.MALFORMED, f"column {name[:100]} must have {wanted} per row, got {sorted(widths)[:5]}"
        )
    return [(column, _pick(values, i)) for i, column in enumerate(inside)]


def _pick(values: Column, i: int) -> Column:
    return values[:, i] if isinstance(values, np.ndarray) else [value[i] for value in values]


def _read(columns: Mapping[str, Column], n: int, layout: Layout) -> Batch:
    asides = {name: columns[name] for name in _ASIDES if name in columns}
    features = {name: values for name, values in columns.items() if name not in asides}

    def body() -> Body:
        rows = [[_or_missing(value) for value in row] for row in zip(*map(_listed, features.values()), strict=True)]
        if list(features) == list(layout.use_case.features):
            return Body(data=rows)
        return Body(rows=[dict(zip(features, row, strict=True)) for row in rows] or [{} for _ in range(n)])

    return _finish(features, asides, body, layout)


def _finish(
    features: Mapping[str, Column] | None, asides: Mapping[str, Column], body: Callable[[], Body], layout: Layout
) -> Batch:
    """Batch of columns, or of the body's rows when they are not clean or None."""
    heading = Body(all_or_nothing=True)
    if ID in asides:
        heading.ids = [_text(_or_missing(value), ID) for value in _listed(asides[ID])]
    if EVENT_TIME in asides:
        times = map(_or_missing, _listed(asides[EVENT_TIME]))
        heading.event_times = [None if value is None else _text(value, EVENT_TIME) for value in times]
    if features is not None and features.keys() == layout.use_case.features.keys():
        n, limits = len(next(iter(features.values()))), layout.limits
        numbers = limits.take_numbers([features[name] for name in layout.number_names], n)
        texts = None if numbers is None else limits.take_texts([features[name] for name in layout.category_names], n)
        clean = None if numbers is None or texts is None else finish_batch(heading, numbers, texts)
        if clean is not None:
            return clean
    content = body()
    content.ids, content.event_times, content.all_or_nothing = heading.ids, heading.event_times, True
    return read_carefully(content, layout)


def _columns_of(records: Sequence[Any], layout: Layout) -> dict[str, Column] | None:
    """Features of records that have the same ones; None where they have not."""
    first = records[0]
    if isinstance(first, dict):
        names = [name for name in first if name not in _ASIDES]
        if all(isinstance(record, dict) and record.keys() == first.keys() for record in records):
            return {name: [record[name] for record in records] for name in names}
        return None
    names = list(layout.use_case.features)
    if all(isinstance(record, list) and len(record) == len(names) for record in records):
        return dict(zip(names, zip(*records, strict=True), strict=True))
    return None


def _ask_records(records: Sequence[Any]) -> Body:
    rows: list[Any] = []
    for record in records:
        if isinstance(record, dict):
            rows.append({name: _or_missing(value) for name, value in record.items() if name not in _ASIDES})
        else:
            rows.append([_or_missing(value) for value in record] if isinstance(record, list) else record)
    in_order = all(isinstance(row, list) for row in rows)
    return Body(data=rows) if in_order else Body(rows=rows)


def _listed(values: Column) -> Sequence[Any]:
    listed: Sequence[Any] = values.tolist() if isinstance(values, np.ndarray) else values
    return listed


def _text(value: Any, name: str) -> str:
    if isinstance(value, str):
        return value
    if isinstance(value, int) and not isinstance(value, bool) and abs(value) < 2**63:
        return str(value)
    raise RequestRefused(Code.MALFORMED, f"{name} must be a text or a whole number, got {type(value).__name__}")


def _or_missing(value: Any) -> Any:
    return None if isinstance(value, float) and value != value else value  # noqa: PLR0124 - true of NaN only


def _some(names: Sequence[str]) -> str:
    return ", ".join(str(name)[:50] for name in names[:20])
