"""Columns and records of other protocols, turned into the rows that ours asks about.

Two columns are no features and may come along: ``id`` and ``event_time``. Data frames and tensors know no null: there
not-a-number is the sign for a missing value, as pandas and NumPy write it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ml.records.codes import Code
from ml.serving.body import check_count
from ml.serving.decode import Body
from ml.serving.problem import RequestRefused
from ml.use_case import UseCase

ID, EVENT_TIME = "id", "event_time"


def ask_table(columns: Sequence[str], rows: Sequence[Any], use_case: UseCase) -> Body:
    """Body of rows that share their columns' names.

    Raises
    ------
    RequestRefused
        A column comes twice, or a row has another width (400).
    """
    if len(set(columns)) != len(columns):
        raise RequestRefused(Code.MALFORMED, f"columns must differ, got {_some(columns)}")
    check_count("data", len(rows))
    for number, row in enumerate(rows):
        if not isinstance(row, list) or len(row) != len(columns):
            raise RequestRefused(Code.MALFORMED, f"row {number} must be a list of {len(columns)} values, as columns is")
    kept = [i for i, name in enumerate(columns) if name not in {ID, EVENT_TIME}]
    names = [columns[i] for i in kept]
    values = [[_or_missing(row[i]) for i in kept] for row in rows]
    asides = {
        name: [_or_missing(row[columns.index(name)]) for row in rows] for name in (ID, EVENT_TIME) if name in columns
    }
    if names == list(use_case.features):
        return _body(Body(data=values), asides)
    return _body(Body(rows=[dict(zip(names, row, strict=True)) for row in values]), asides)


def ask_records(records: Sequence[Any]) -> Body:
    """Body of rows, each a mapping by name or a list in file order.

    Raises
    ------
    RequestRefused
        Some records have an id, or an event time, and others have none (400).
    """
    check_count("data", len(records))
    rows: list[Any] = []
    for record in records:
        if isinstance(record, dict):
            rows.append({name: _or_missing(value) for name, value in record.items() if name not in {ID, EVENT_TIME}})
        else:
            rows.append([_or_missing(value) for value in record] if isinstance(record, list) else record)
    asides: dict[str, list[Any]] = {}
    for name in (ID, EVENT_TIME):
        given = [record[name] for record in records if isinstance(record, dict) and name in record]
        if given and len(given) != len(records):
            raise RequestRefused(Code.MALFORMED, f"{name} must be in all records or in none")
        if given:
            asides[name] = [_or_missing(value) for value in given]
    in_order = all(isinstance(row, list) for row in rows)
    return _body(Body(data=rows) if in_order else Body(rows=rows), asides)


def ask_columns(columns: Mapping[str, Any], use_case: UseCase) -> Body:
    """Body of values by column.

    A column is a feature's name with ``n`` values, or with ``n`` lists of one; or the name of an input of the graph,
    ``numbers`` or ``categories``, with ``n`` lists of as many values as there are such features. A single column of
    another name with ``n`` lists as wide as a row has the features in file order.

    Raises
    ------
    RequestRefused
        Columns of different lengths, or of another form (400).
    """
    taken: dict[str, list[Any]] = {}
    for name, values in columns.items():
        if not isinstance(values, list):
            raise RequestRefused(Code.MALFORMED, f"column {name[:100]} must be a list")
        for column, cells in _spread(name, values, use_case, alone=len(set(columns) - {ID, EVENT_TIME}) == 1):
            if column in taken:
                raise RequestRefused(Code.MALFORMED, f"column {column[:100]} comes twice")
            taken[column] = cells
    lengths = {len(cells) for cells in taken.values()}
    if len(lengths) != 1:
        raise RequestRefused(Code.MALFORMED, f"columns must have the same length, got {sorted(lengths)[:5]}")
    return ask_table(list(taken), [list(row) for row in zip(*taken.values(), strict=True)], use_case)


def _spread(name: str, values: list[Any], use_case: UseCase, *, alone: bool) -> list[tuple[str, list[Any]]]:
    """Columns of one that may hold several."""
    widths = {len(value) if isinstance(value, list) else 0 for value in values}
    if widths == {1} and (name in use_case.features or name in {ID, EVENT_TIME}):
        return [(name, [value[0] for value in values])]
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
    return [(column, [value[i] for value in values]) for i, column in enumerate(inside)]


def _body(body: Body, asides: Mapping[str, list[Any]]) -> Body:
    """The same with ids and event times; answered whole or not at all, since there is no place for errors."""
    body.all_or_nothing = True
    if ID in asides:
        body.ids = [_text(value, ID) for value in asides[ID]]
    if EVENT_TIME in asides:
        body.event_times = [None if value is None else _text(value, EVENT_TIME) for value in asides[EVENT_TIME]]
    return body


def _text(value: Any, name: str) -> str:
    if isinstance(value, str) or (isinstance(value, int) and not isinstance(value, bool) and abs(value) < 2**63):
        return str(value)
    raise RequestRefused(Code.MALFORMED, f"{name} must be a text or a whole number, got {type(value).__name__}")


def _or_missing(value: Any) -> Any:
    return None if isinstance(value, float) and value != value else value  # noqa: PLR0124 - true of NaN only


def _some(names: Sequence[str]) -> str:
    return ", ".join(str(name)[:50] for name in names[:20])
