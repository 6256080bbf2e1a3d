"""Bodies of requests, decoded and validated against the use case: every row is understood, or refused with a reason."""

from __future__ import annotations

import json
import math
import re
import uuid
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from ml.records.base import as_utc
from ml.records.codes import Code
from ml.serving.problem import RequestRefused, RowRefusal
from ml.use_case import Feature, UseCase

MAX_ROWS = 10_000
#: Longer ids would only fill the lake.
MAX_ID = 200


class _ScoreBody(msgspec.Struct, forbid_unknown_fields=True):
    data: list[list[Any]] | None = None
    rows: list[dict[str, Any]] | None = None
    ids: list[str] | None = None
    event_times: list[str | None] | None = None
    all_or_nothing: bool = False


class _Label(msgspec.Struct, forbid_unknown_fields=True):
    id: str
    label: str = msgspec.field(name="class")
    known_at: str | None = None
    source: str = "client"


class _LabelBody(msgspec.Struct, forbid_unknown_fields=True):
    labels: list[_Label]


_SCORE = msgspec.json.Decoder(_ScoreBody)
_LABELS = msgspec.json.Decoder(_LabelBody)
_NOT_JSON = re.compile(rb"NaN|Infinity")


@dataclass(frozen=True)
class Batch:
    """Rows of one request.

    Attributes
    ----------
    ids
        One per row; made here where the client gave none.
    event_times
        ISO 8601 in UTC, or None, per row.
    values
        Per row the values in the order of the use case's features, None for missing; None where refused.
    raw
        Per row as it came, for the record of a refusal.
    refusals
        By row number.
    """

    ids: list[str]
    event_times: list[str | None]
    values: list[list[Any] | None]
    raw: list[Any]
    refusals: dict[int, RowRefusal]
    all_or_nothing: bool

    @property
    def good(self) -> list[int]:
        """Numbers of the rows that are not refused."""
        return [row for row in range(len(self.ids)) if row not in self.refusals]


def decode_batch(body: bytes, use_case: UseCase) -> Batch:
    """Rows of a request's body, each validated.

    Raises
    ------
    RequestRefused
        The body as a whole is not understood: 400, 413, 422.
    """
    content = _decode(body, _SCORE, _ScoreBody)
    raw: list[Any] = _rows_of(content)
    ids = _ids_of(content, len(raw))
    refusals: dict[int, RowRefusal] = {}
    values: list[list[Any] | None] = []
    for number, row in enumerate(raw):
        found = read_row(row, use_case)
        if isinstance(found, RowRefusal):
            refusals[number] = found
            values.append(None)
        else:
            values.append(found)
    event_times = _event_times_of(content, len(raw), refusals)
    return Batch(ids, event_times, values, raw, refusals, content.all_or_nothing)


def read_row(row: Any, use_case: UseCase) -> list[Any] | RowRefusal:
    """Values of one row in the order of the use case's features, or why there are none.

    Parameters
    ----------
    row
        A list in file order, or a mapping by name.
    """
    features = use_case.features
    if isinstance(row, dict):
        unknown = [name for name in row if name not in features]
        if unknown:
            allowed = ", ".join(features)
            return RowRefusal(Code.MALFORMED, f"no such feature; allowed: {allowed}", feature=str(unknown[0])[:100])
        given = [row.get(name) for name in features]
    elif len(row) == len(features):
        given = row
    else:
        return RowRefusal(
            Code.MALFORMED, f"row has {len(row)} values, {len(features)} are needed: {', '.join(features)}"
        )
    values: list[Any] = []
    for (name, feature), value in zip(features.items(), given, strict=True):
        found = read_value(value, name, feature, use_case)
        if isinstance(found, RowRefusal):
            return found
        values.append(found)
    return values


def read_value(value: Any, name: str, feature: Feature, use_case: UseCase) -> Any:
    """A value that the graph may see (None is missing), or a :class:`RowRefusal`."""
    if value is None or (isinstance(value, float) and math.isnan(value)):
        if feature.nullable and use_case.serving.missing == "impute":
            return None
        return RowRefusal(Code.VALUE_NOT_FOUND, "value is missing", feature=name)
    if feature.type == "category":
        return _read_category(value, name, feature, use_case)
    if feature.type == "boolean":
        if value in (0, 1) and not isinstance(value, str):
            return float(value)
        return RowRefusal(Code.VALUE_NOT_FOUND, f"must be true, false, 0 or 1, got {_short(value)}", feature=name)
    return _read_number(value, name, feature, use_case)


def _read_number(value: Any, name: str, feature: Feature, use_case: UseCase) -> float | RowRefusal:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return RowRefusal(Code.VALUE_NOT_FOUND, f"must be a number, got {_short(value)}", feature=name)
    try:
        number = float(value)
    except OverflowError:
        number = math.inf
    if not math.isfinite(number):
        return RowRefusal(Code.VALUE_NOT_FOUND, f"must be a finite number, got {_short(value)}", feature=name)
    bounds = feature.range
    if bounds and not bounds[0] <= number <= bounds[1] and use_case.serving.out_of_range == "refuse":
        detail = f"must be from {bounds[0]:g} to {bounds[1]:g}, got {number:g}"
        return RowRefusal(Code.VALUE_OUT_OF_BOUNDS, detail, feature=name)
    return number


def _read_category(value: Any, name: str, feature: Feature, use_case: UseCase) -> str | RowRefusal:
    if not isinstance(value, str):
        return RowRefusal(Code.VALUE_NOT_FOUND, f"must be text, got {_short(value)}", feature=name)
    if feature.values and value not in feature.values and use_case.serving.unknown_category == "refuse":
        detail = f"must be one of {', '.join(feature.values)}; got {_short(value)}"
        return RowRefusal(Code.UNKNOWN_CATEGORY, detail, feature=name)
    return value


def graph_inputs(batch: Batch, rows: list[int], use_case: UseCase) -> dict[str, NDArray[Any]]:
    """Inputs of the graph for some rows of a batch; an input without columns is absent."""
    order = {name: position for position, name in enumerate(use_case.features)}
    table = [batch.values[row] or [] for row in rows]
    inputs: dict[str, NDArray[Any]] = {}
    if use_case.numbers:
        picked = [order[name] for name in use_case.numbers]
        inputs["numbers"] = np.array(
            [[math.nan if values[i] is None else values[i] for i in picked] for values in table], dtype=np.float32
        )
    if use_case.categories:
        picked = [order[name] for name in use_case.categories]
        inputs["categories"] = np.array(
            [["" if values[i] is None else values[i] for i in picked] for values in table], dtype=object
        )
    return inputs


def decode_labels(body: bytes, use_case: UseCase) -> list[dict[str, Any]]:
    """Late truths of a request's body, all valid.

    Raises
    ------
    RequestRefused
        The body is not understood, or one of its labels is not valid: none is taken then.
    """
    labels = _decode(body, _LABELS, _LabelBody).labels
    if not labels:
        raise RequestRefused(Code.MALFORMED, "labels is empty; allowed: one or more", status=422)
    if len(labels) > MAX_ROWS:
        raise RequestRefused(Code.MALFORMED, f"{len(labels)} labels; allowed: {MAX_ROWS}", status=413)
    return [_read_label(number, label, use_case) for number, label in enumerate(labels)]


def _read_label(number: int, label: _Label, use_case: UseCase) -> dict[str, Any]:
    where = f"labels.{number}"
    if not 0 < len(label.id) <= MAX_ID:
        raise RequestRefused(Code.MALFORMED, f"{where}.id must have 1 to {MAX_ID} characters", status=422)
    if label.label not in use_case.target.class_names:
        allowed = ", ".join(use_case.target.class_names)
        detail = f"{where}.class must be one of {allowed}; got {_short(label.label)}"
        raise RequestRefused(Code.UNKNOWN_CATEGORY, detail, status=422)
    try:
        known_at = as_utc(datetime.fromisoformat(label.known_at)).isoformat() if label.known_at is not None else None
    except (ValueError, OverflowError) as error:
        detail = f"{where}.known_at must be ISO 8601, got {_short(label.known_at)}"
        raise RequestRefused(Code.MALFORMED, detail, status=422) from error
    return {"id": label.id, "class": label.label, "known_at": known_at, "source": label.source[:100]}


def _decode(body: bytes, decoder: msgspec.json.Decoder[Any], kind: type) -> Any:
    try:
        return decoder.decode(body)
    except msgspec.ValidationError as error:
        raise RequestRefused(Code.MALFORMED, str(error)) from error
    except (msgspec.DecodeError, RecursionError) as error:
        if _NOT_JSON.search(body) is None or b"\\ud" in body.lower():
            raise RequestRefused(Code.MALFORMED, f"body is not JSON: {error}") from error
    # Python's json writes NaN and Infinity, which JSON does not have: they are read, so that the row can be named.
    try:
        return msgspec.convert(json.loads(body), kind)
    except msgspec.ValidationError as error:
        raise RequestRefused(Code.MALFORMED, str(error)) from error
    except (ValueError, RecursionError) as error:
        raise RequestRefused(Code.MALFORMED, f"body is not JSON: {str(error)[:200]}") from error


def _rows_of(content: _ScoreBody) -> list[Any]:
    if (content.data is None) == (content.rows is None):
        raise RequestRefused(Code.MALFORMED, "body must have either data or rows")
    rows: list[Any] = content.data if content.data is not None else content.rows or []
    if not rows:
        raise RequestRefused(Code.MALFORMED, "the batch is empty; allowed: one row or more", status=422)
    if len(rows) > MAX_ROWS:
        raise RequestRefused(Code.MALFORMED, f"{len(rows)} rows; allowed: {MAX_ROWS}", status=413)
    return rows


def _ids_of(content: _ScoreBody, n: int) -> list[str]:
    if content.ids is None:
        return [str(uuid.uuid4()) for _ in range(n)]
    if len(content.ids) != n:
        raise RequestRefused(Code.MALFORMED, f"ids has {len(content.ids)} entries, the batch {n} rows")
    if len(set(content.ids)) != n:
        raise RequestRefused(Code.MALFORMED, "ids must differ from each other")
    if any(not 0 < len(row_id) <= MAX_ID for row_id in content.ids):
        raise RequestRefused(Code.MALFORMED, f"an id must have 1 to {MAX_ID} characters")
    return content.ids


def _event_times_of(content: _ScoreBody, n: int, refusals: dict[int, RowRefusal]) -> list[str | None]:
    if content.event_times is None:
        return [None] * n
    if len(content.event_times) != n:
        raise RequestRefused(Code.MALFORMED, f"event_times has {len(content.event_times)} entries, the batch {n} rows")
    found: list[str | None] = []
    for row, text in enumerate(content.event_times):
        try:
            found.append(None if text is None else as_utc(datetime.fromisoformat(text)).isoformat())
        except (ValueError, OverflowError):
            found.append(None)
            refusals[row] = RowRefusal(Code.MALFORMED, f"event time must be ISO 8601, got {_short(text)}")
    return found


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 80 else text[:77] + "..."
