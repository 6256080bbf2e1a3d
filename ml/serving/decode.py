"""Bodies of scoring requests, decoded and validated into the graph's inputs.

Two ways lead to the same batch. A clean body is decoded and validated in one pass by a decoder that is made from the
use case; a body that this decoder refuses for any reason is read again, slowly, to name every bad row and feature.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, Any, Literal

import msgspec
import numpy as np
from msgspec.structs import astuple
from numpy.typing import NDArray

from ml.records.base import as_utc
from ml.records.codes import Code
from ml.serving.body import MAX_ID, NOT_READABLE, check_count, read_json
from ml.serving.identity import new_ids
from ml.serving.limits import Limits, make_limits
from ml.serving.problem import RequestRefused, RowRefusal
from ml.serving.rows import Note, allowed_categories, bounds, may_be_missing, read_noted_row, short
from ml.use_case import Feature, UseCase

#: Characters of what was refused that are recorded.
RAW_CHARACTERS = 2_000


@dataclass(frozen=True)
class Layout:
    """What is worked out once per use case to read its bodies.

    Attributes
    ----------
    clean
        Decoder that takes clean bodies only; None when the features' names do not allow one.
    listed, named
        Types of a clean row in file order, a tuple, and of one by name, a structure; None as above.
    numbers, categories
        Positions in file order of the features that enter the graph as numbers and as text.
    number_names, category_names
        Their names.
    recorded
        Makes what is encoded as an object by name of a row's numbers and categories.
    limits
        Columns of clean rows.
    answers, labels, place
        What a model answers with: names of its columns, of its classes, and the column of each class.
    """

    use_case: UseCase
    clean: msgspec.json.Decoder[Any] | None
    listed: Any
    named: Any
    numbers: tuple[int, ...]
    categories: tuple[int, ...]
    number_names: tuple[str, ...]
    category_names: tuple[str, ...]
    recorded: Callable[..., Any]
    limits: Limits
    answers: tuple[str, ...]
    labels: frozenset[str]
    place: Mapping[str, int]


class Batch(msgspec.Struct, frozen=True, eq=False):
    """Rows of one request.

    Attributes
    ----------
    ids
        One per row; made here where the client gave none.
    event_times
        ISO 8601 in UTC, or None, per row.
    good
        Numbers of the rows that can be scored, ascending.
    numbers
        Shape ``(n_good, n_numbers)``; NaN is missing, booleans are 0 and 1.
    categories
        Shape ``(n_good, n_categories)`` of str; ``""`` is missing.
    refusals
        What is wrong with each row that is not good, by row number.
    raw
        What came, cut, for each row that is not good.
    notes
        What policies made of values of good rows, by row number.
    """

    ids: Sequence[str]
    event_times: Sequence[str | None]
    good: Sequence[int]
    numbers: NDArray[np.float64]
    categories: NDArray[np.object_]
    all_or_nothing: bool
    refusals: dict[int, tuple[RowRefusal, ...]] = msgspec.field(default_factory=dict)
    raw: dict[int, str] = msgspec.field(default_factory=dict)
    notes: dict[int, tuple[Note, ...]] = msgspec.field(default_factory=dict)

    def graph_inputs(self) -> dict[str, NDArray[Any]]:
        """The good rows as the graph takes them; an input without columns is absent."""
        return graph_inputs(self.numbers, self.categories)


def graph_inputs(numbers: NDArray[np.float64], categories: NDArray[np.object_]) -> dict[str, NDArray[Any]]:
    """Rows as the graph takes them; an input without columns is absent."""
    inputs: dict[str, NDArray[Any]] = {}
    if numbers.shape[1]:
        inputs["numbers"] = numbers.astype(np.float32)
    if categories.shape[1]:
        inputs["categories"] = categories
    return inputs


class Body(msgspec.Struct, forbid_unknown_fields=True):
    """A batch whose rows are not looked at yet: our own JSON, and what other protocols are turned into."""

    data: list[Any] | None = None
    rows: list[Any] | None = None
    ids: list[str] | None = None
    event_times: list[str | None] | None = None
    all_or_nothing: bool = False


def compile_layout(use_case: UseCase) -> Layout:
    """Layout of a use case."""
    order = {name: position for position, name in enumerate(use_case.features)}
    listed, named = _compile_rows(use_case) or (None, None)
    return Layout(
        use_case,
        clean=_compile_clean(listed, named),
        listed=listed,
        named=named,
        numbers=tuple(order[name] for name in use_case.numbers),
        categories=tuple(order[name] for name in use_case.categories),
        number_names=use_case.numbers,
        category_names=use_case.categories,
        recorded=_compile_record((*use_case.numbers, *use_case.categories)),
        limits=make_limits(use_case),
        answers=use_case.answers,
        labels=frozenset({""} if use_case.regression else use_case.answers),
        place={name: i for i, name in enumerate(use_case.answers)},
    )


def decode_batch(body: bytes, layout: Layout) -> Batch:
    """Rows of a request's body, each validated.

    Raises
    ------
    RequestRefused
        The body as a whole is not understood: 400, 413, 422.
    """
    clean = decode_clean(body, layout)
    return decode_carefully(body, layout) if clean is None else clean


def decode_clean(body: bytes, layout: Layout) -> Batch | None:
    """Batch of a body without any fault in its rows, None when the body has one.

    Raises
    ------
    RequestRefused
        As :func:`decode_carefully` would raise it.
    """
    if layout.clean is None:
        return None
    try:
        content = layout.clean.decode(body)
    except NOT_READABLE:
        return None
    rows = _rows_of(content)
    numbers, categories = _tables(rows if content.rows is None else list(map(astuple, rows)), layout)
    return finish_batch(content, numbers, categories)


def finish_batch(content: Any, numbers: NDArray[np.float64], categories: NDArray[np.object_]) -> Batch | None:
    """Batch of clean rows, None when the event time of one is none.

    Parameters
    ----------
    content
        Whose ids and event times they have, a :class:`Body`.

    Raises
    ------
    RequestRefused
        Ids or event times are not one per row (422).
    """
    n = len(numbers)
    ids, (event_times, wrong) = _ids_of(content, n), _event_times_of(content, n)
    return None if wrong else Batch(ids, event_times, range(n), numbers, categories, content.all_or_nothing)


def decode_carefully(body: bytes, layout: Layout) -> Batch:
    """Batch of any body, row by row; what is wrong with a row is kept beside it.

    Raises
    ------
    RequestRefused
        The body as a whole is not understood: 400, 413, 422.
    """
    return read_carefully(read_json(body, Body), layout)


def read_carefully(content: Body, layout: Layout) -> Batch:
    """Batch of rows of any content, row by row; what is wrong with a row is kept beside it.

    Raises
    ------
    RequestRefused
        The batch as a whole is not understood: 413, 422.
    """
    rows = _rows_of(content)
    ids = _ids_of(content, len(rows))
    event_times, wrong = _event_times_of(content, len(rows))
    refusals: dict[int, tuple[RowRefusal, ...]] = {}
    values: dict[int, Sequence[Any]] = {}
    notes: dict[int, tuple[Note, ...]] = {}
    for number, row in enumerate(rows):
        found, noted = _read_row(row, layout)
        late = (wrong[number],) if number in wrong else ()
        if isinstance(found, tuple) or late:
            refusals[number] = (found if isinstance(found, tuple) else ()) + late
        else:
            values[number] = found
            if noted:
                notes[number] = noted
    numbers, categories = _tables(list(values.values()), layout)
    raw = {number: _cut(rows[number]) for number in refusals}
    return Batch(ids, event_times, list(values), numbers, categories, content.all_or_nothing, refusals, raw, notes)


def _read_row(row: Any, layout: Layout) -> tuple[Sequence[Any] | tuple[RowRefusal, ...], tuple[Note, ...]]:
    """The same as :func:`ml.serving.rows.read_noted_row`, at once where there is nothing to be said of the row."""
    kind = layout.named if isinstance(row, dict) else layout.listed
    if kind is None:
        return read_noted_row(row, layout.use_case)
    try:
        found = msgspec.convert(row, kind)
    except NOT_READABLE:
        return read_noted_row(row, layout.use_case)
    return list(found if kind is layout.listed else astuple(found)), ()


def _compile_rows(use_case: UseCase) -> tuple[Any, Any] | None:
    # Names of fields must be Python's, names of features need not: they are given as the names on the wire.
    fields = [(f"f{i}", _type_of(feature, use_case)) for i, feature in enumerate(use_case.features.values())]
    names = {f"f{i}": name for i, name in enumerate(use_case.features)}
    strict: dict[str, Any] = {"forbid_unknown_fields": True, "frozen": True, "gc": False}
    try:
        named = msgspec.defstruct("ObjectRow", fields, rename=names, **strict)
        return tuple[tuple(kind for _, kind in fields)], named  # type: ignore[misc]
    except ValueError:  # a quote or a control character in a feature's name
        return None


def _compile_record(names: tuple[str, ...]) -> Callable[..., Any]:
    fields = [f"f{i}" for i in range(len(names))]
    try:
        return msgspec.defstruct(
            "RecordedRow", fields, rename=dict(zip(fields, names, strict=True)), frozen=True, gc=False
        )
    except ValueError:  # as above
        return lambda *row: dict(zip(names, row, strict=True))


def _compile_clean(listed: Any, named: Any) -> msgspec.json.Decoder[Any] | None:
    if listed is None:
        return None
    rows: list[tuple[str, Any, Any]] = [("data", list[listed] | None, None), ("rows", list[named] | None, None)]
    return msgspec.json.Decoder(msgspec.defstruct("CleanBody", rows, bases=(Body,), forbid_unknown_fields=True))


def _type_of(feature: Feature, use_case: UseCase) -> Any:
    """Type whose values are exactly those that :func:`ml.serving.rows.read_value` takes, or fewer."""
    kind: Any
    allowed = tuple(text for text in allowed_categories(feature, use_case) if text)
    if feature.type == "boolean":
        kind = bool | Annotated[float, msgspec.Meta(ge=0, le=1, multiple_of=1)]
    elif feature.type == "number":
        lowest, highest = bounds(feature, use_case)
        kind = Annotated[float, msgspec.Meta(ge=lowest, le=highest)]
    else:
        kind = Literal[allowed] if allowed else Annotated[str, msgspec.Meta(min_length=1)]
    return kind | None if may_be_missing(feature, use_case) else kind


def _tables(rows: Sequence[Sequence[Any]], layout: Layout) -> tuple[NDArray[np.float64], NDArray[np.object_]]:
    """Numbers and categories of rows in file order."""
    n, width = len(rows), len(layout.numbers)
    texts = np.empty((n, len(layout.categories)), dtype=object)
    if not layout.categories:
        cells = itertools.chain.from_iterable(rows)
    else:
        cells = itertools.chain.from_iterable([row[i] for i in layout.numbers] for row in rows)
        for column, i in enumerate(layout.categories):
            texts[:, column] = [row[i] or "" for row in rows]
    return np.fromiter(cells, np.float64, n * width).reshape(n, width), texts


def _rows_of(content: Any) -> list[Any]:
    if (content.data is None) == (content.rows is None):
        raise RequestRefused(Code.MALFORMED, "body must have either data or rows")
    name = "rows" if content.data is None else "data"
    rows: list[Any] = getattr(content, name)
    check_count(name, len(rows))
    return rows


def _ids_of(content: Any, n: int) -> list[str]:
    ids: list[str] | None = content.ids
    if ids is None:
        return new_ids(n)
    if len(ids) != n:
        raise RequestRefused(Code.MALFORMED, f"ids has {len(ids)} entries, the batch {n} rows", status=422)
    if len(set(ids)) != n:
        raise RequestRefused(Code.MALFORMED, "ids must differ from each other", status=422)
    lengths = list(map(len, ids))
    if min(lengths) > 0 and max(lengths) <= MAX_ID:
        return ids
    for number, length in enumerate(lengths):
        if not 0 < length <= MAX_ID:
            detail = f"ids.{number} must have 1 to {MAX_ID} characters, got {length}"
            raise RequestRefused(Code.MALFORMED, detail, status=422)
    return ids


def _event_times_of(content: Any, n: int) -> tuple[list[str | None], dict[int, RowRefusal]]:
    """Event times in UTC, and what is wrong with each that is no time, by row number."""
    given: list[str | None] | None = content.event_times
    if given is None:
        return [None] * n, {}
    if len(given) != n:
        detail = f"event_times has {len(given)} entries, the batch {n} rows"
        raise RequestRefused(Code.MALFORMED, detail, status=422)
    found: list[str | None] = [None] * n
    wrong: dict[int, RowRefusal] = {}
    for number, text in enumerate(given):
        try:
            found[number] = None if text is None else as_utc(datetime.fromisoformat(text)).isoformat()
        except (ValueError, OverflowError):
            wrong[number] = RowRefusal(Code.VALUE_NOT_FOUND, f"event time must be ISO 8601, got {short(text)}")
    return found, wrong


def _cut(row: Any) -> str:
    try:
        return json.dumps(row, ensure_ascii=False)[:RAW_CHARACTERS]
    except RecursionError:  # what could just be read may be nested too deeply to be written
        return f"nested too deeply: {short(row)}"
