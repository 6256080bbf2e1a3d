"""Captured payloads become typed rows, or a reason why they do not."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import msgspec

from ml.records.base import as_utc
from ml.records.codes import Code
from ml.records.outbox import Captured
from ml.records.row_record import RowRecord, encode_row, read_rows
from ml.use_case import UseCase

Row = dict[str, Any]

#: Characters of a payload that the quarantine keeps.
KEPT_CHARACTERS = 10_000


class _Override(msgspec.Struct):
    by: str
    reason: str = ""


class _Label(msgspec.Struct):
    id: str
    label: str | None = msgspec.field(name="class", default=None)
    value: float | None = None
    known_at: str | None = None
    source: str | None = None
    override: _Override | None = None


#: What an answer has and a refusal may lack.
_ANSWER = ("model_version", "predicted", "probabilities", "features")

_LABEL = msgspec.json.Decoder(_Label)


@dataclass(frozen=True)
class Decoded:
    """Rows of one batch of an outbox, by the table that they belong to, each in order of ``seq``."""

    requests: list[Row] = field(default_factory=list)
    labels: list[Row] = field(default_factory=list)
    quarantine: list[Row] = field(default_factory=list)


def decode(batch: list[Captured], use_case: UseCase, outbox: str) -> Decoded:
    """Typed rows of a batch; what cannot be decoded is quarantined with a reason, none is dropped.

    Parameters
    ----------
    outbox
        Identity of the outbox, written into every row.
    """
    decoded = Decoded()
    for captured in batch:
        origin = {"request_id": captured.request_id, "outbox": outbox, "seq": captured.seq}
        try:
            origin["received_at"] = datetime.fromtimestamp(captured.received_at, UTC)
            if captured.kind == "label":
                decoded.labels.append(_label(captured, use_case) | origin)
                continue
            if captured.kind != "request":
                raise ValueError(f"kind must be request or label, got {captured.kind!r}")
            found = read_rows(captured.payload, captured.rows)
        except _WRONG as error:
            decoded.quarantine.append(_quarantined(captured.kind, captured.payload, error) | origin)
            continue
        for seq, row in enumerate(found, captured.first):
            _take(row, captured, use_case, origin | {"seq": seq}, decoded)
    return decoded


#: What is raised about a payload that is none.
_WRONG = (msgspec.DecodeError, ValueError, OverflowError, OSError, RecursionError)


def _take(row: RowRecord, captured: Captured, use_case: UseCase, origin: Row, decoded: Decoded) -> None:
    try:
        decoded.requests.append(_request(row, captured.received_at, use_case) | origin)
    except _WRONG as error:
        payload = captured.payload if captured.rows == 1 else encode_row(row)
        decoded.quarantine.append(_quarantined(captured.kind, payload, error) | origin)


def month_of(moment: datetime) -> str:
    """Month of a moment, the partition that it is stored in; texts sort as the months do.

    Examples
    --------
    >>> month_of(datetime(2013, 3, 8))
    '2013-03'
    """
    return f"{moment.year:04}-{moment.month:02}"


def _request(found: RowRecord, received_at: float, use_case: UseCase) -> Row:
    event_time = _moment(found.event_time, received_at, "event_time")
    given = found.features or {}
    values, wrong = _features(given, use_case)
    if found.code == Code.OK:
        needed = [name for name in _ANSWER if name != "predicted" or not use_case.regression]
        wrong += [f"{name} must not be null in an answer" for name in needed if getattr(found, name) is None]
        if wrong:
            raise ValueError("; ".join(wrong))
    return values | {
        "id": found.id,
        "event_time": event_time,
        "event_month": month_of(event_time),
        "model_version": None if found.model_version is None else _within(found.model_version, 63, "model_version"),
        "code": _within(found.code, 31, "code"),
        "degraded_code": _within(found.degraded_code, 31, "degraded_code") if found.degraded_code else None,
        "detail": found.detail,
        "predicted": found.predicted,
        "probabilities": found.probabilities,
        # A refused row keeps what could not be typed, so that nothing of it is lost.
        "raw": found.raw or (json.dumps(given) if wrong else None),
        "asked_rows": None if found.asked is None else _within(found.asked, 31, "asked"),
        "asked_place": None if found.place is None else _within(found.place, 31, "place"),
    }


def _label(captured: Captured, use_case: UseCase) -> Row:
    found = _LABEL.decode(captured.payload)
    label = _truth(found, use_case)
    known_at = _moment(found.known_at, captured.received_at, "known_at")
    return {
        "id": found.id,
        "label": label,
        "known_at": known_at,
        "known_month": month_of(known_at),
        "source": found.source,
        "override_by": None if found.override is None else found.override.by,
        "override_reason": None if found.override is None else found.override.reason,
    }


def _truth(found: _Label, use_case: UseCase) -> str:
    """Name of a class, or a number as a text that reads back as the same float."""
    if use_case.regression:
        if found.value is None or not math.isfinite(found.value):
            raise ValueError(f"value must be a finite number, got {found.value!r}")
        return repr(found.value)
    if found.label is None or found.label not in use_case.target.class_names:
        raise ValueError(f"class must be one of {list(use_case.target.class_names)}, got {found.label!r}")
    return found.label


def _moment(text: str | None, received_at: float, name: str) -> datetime:
    """Moment of an ISO 8601 text, UTC; when it was received where there is none."""
    if text is None:
        return datetime.fromtimestamp(received_at, UTC)
    try:
        return as_utc(datetime.fromisoformat(text))
    except (ValueError, OverflowError) as error:
        raise ValueError(f"{name} must be an ISO 8601 time, got {text!r}") from error


def _features(given: Mapping[str, Any], use_case: UseCase) -> tuple[Row, list[str]]:
    """Value per declared feature, and one line for each that has another type; those are missing."""
    values: Row = {}
    wrong = []
    for name, feature in use_case.features.items():
        value = given.get(name)
        fits = value is None or (isinstance(value, str) if feature.type == "category" else _is_number(value))
        if not fits:
            wrong.append(f"features.{name} must be a {feature.type}, got {value!r}")
        values[name] = (value if feature.type == "category" or value is None else float(value)) if fits else None
    return values, wrong


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and abs(value) <= 1.7e308 and math.isfinite(value)


def _within(number: int, bits: int, name: str) -> int:
    if not -(2**bits) <= number < 2**bits:
        raise ValueError(f"{name} must fit into {bits + 1} bits, got {number}")
    return number


def _quarantined(kind: str, payload: bytes, error: Exception) -> Row:
    content = payload.decode("utf-8", "backslashreplace")[:KEPT_CHARACTERS]
    return {"reason": f"{kind}: {error}", "content": content, "received_at": None}
