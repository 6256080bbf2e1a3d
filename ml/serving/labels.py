"""Late truth: bodies of label requests, taken whole or not at all."""

from __future__ import annotations

import math
from datetime import datetime
from typing import Any

import msgspec

from ml.records.base import as_utc
from ml.records.codes import CODES, Code
from ml.serving.body import MAX_ID, check_count, read_json
from ml.serving.problem import RequestRefused
from ml.serving.rows import short
from ml.use_case import UseCase

#: Characters of who has overridden an answer, and of why.
MAX_BY, MAX_REASON = 100, 1000


class _Override(msgspec.Struct, forbid_unknown_fields=True):
    by: str
    reason: str = ""


class _Label(msgspec.Struct, forbid_unknown_fields=True):
    id: str
    label: str = msgspec.field(name="class")
    known_at: str | None = None
    source: str = "client"
    override: _Override | None = None


class _Number(msgspec.Struct, forbid_unknown_fields=True):
    id: str
    value: float
    known_at: str | None = None
    source: str = "client"
    override: _Override | None = None


class _Body(msgspec.Struct, forbid_unknown_fields=True):
    labels: list[Any]


class _Wrong(Exception):  # noqa: N818 - a finding, gathered with the others
    def __init__(self, code: Code, detail: str) -> None:
        super().__init__(detail)
        self.code = code


def decode_labels(body: bytes, use_case: UseCase) -> list[bytes]:
    """Records of the labels of a request's body, all valid, as the outbox keeps them.

    Raises
    ------
    RequestRefused
        The body is not understood (400, 413), or some of its labels are not valid (422): none is taken then, and every
        bad one is named.
    """
    labels = read_json(body, _Body).labels
    check_count("labels", len(labels))
    taken: list[bytes] = []
    wrong: dict[int, _Wrong] = {}
    for number, label in enumerate(labels):
        try:
            taken.append(_read_label(label, use_case))
        except _Wrong as error:
            wrong[number] = error
    if wrong:
        raise _refuse(wrong, len(labels))
    return taken


def _refuse(wrong: dict[int, _Wrong], n: int) -> RequestRefused:
    errors = [
        {"label": number, "code": int(error.code), "title": CODES[error.code][0], "detail": str(error)}
        for number, error in wrong.items()
    ]
    number, first = next(iter(wrong.items()))
    detail = f"{len(wrong)} of {n} labels refused, none is taken; labels.{number}: {first}"
    return RequestRefused(first.code, detail, status=422, errors=errors)


def _read_label(given: Any, use_case: UseCase) -> bytes:
    label: _Label | _Number
    try:
        label = msgspec.convert(given, _Number) if use_case.regression else msgspec.convert(given, _Label)
    except msgspec.ValidationError as error:
        raise _Wrong(Code.MALFORMED, str(error)[:300]) from error
    if not 0 < len(label.id) <= MAX_ID:
        raise _Wrong(Code.MALFORMED, f"id must have 1 to {MAX_ID} characters, got {len(label.id)}")
    record = {"id": label.id, "known_at": _moment(label.known_at), "source": label.source[:100]}
    return msgspec.json.encode(record | _override(label.override) | _truth(label, use_case))


def _override(override: _Override | None) -> dict[str, dict[str, str]]:
    """Whose decision took the place of the answer; nothing of a label that is the truth."""
    if override is None:
        return {}
    if not 0 < len(override.by.strip()) <= MAX_BY:
        raise _Wrong(Code.MALFORMED, f"override.by must have 1 to {MAX_BY} characters, got {short(override.by)}")
    if len(override.reason) > MAX_REASON:
        raise _Wrong(Code.MALFORMED, f"override.reason has {MAX_REASON} characters at most, got {len(override.reason)}")
    return {"override": {"by": override.by.strip(), "reason": override.reason}}


def _truth(label: _Label | _Number, use_case: UseCase) -> dict[str, str | float]:
    if isinstance(label, _Number):
        lowest, highest = use_case.target.range or (-math.inf, math.inf)
        if not (math.isfinite(label.value) and lowest <= label.value <= highest):
            allowed = f"a finite number within {lowest:g} .. {highest:g}"
            raise _Wrong(Code.VALUE_OUT_OF_BOUNDS, f"value must be {allowed}; got {short(label.value)}")
        return {"value": label.value}
    if label.label not in use_case.target.class_names:
        allowed = ", ".join(use_case.target.class_names)
        raise _Wrong(Code.UNKNOWN_CATEGORY, f"class must be one of {allowed}; got {short(label.label)}")
    return {"class": label.label}


def _moment(text: str | None) -> str | None:
    try:
        return None if text is None else as_utc(datetime.fromisoformat(text)).isoformat()
    except (ValueError, OverflowError) as error:
        raise _Wrong(Code.MALFORMED, f"known_at must be ISO 8601, got {short(text)}") from error
