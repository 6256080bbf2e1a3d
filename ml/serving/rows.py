"""Rows that are not clean, read value by value: every bad feature of every bad row is named."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from ml.records.codes import Code
from ml.serving.problem import RowRefusal
from ml.use_case import Feature, UseCase

#: The graph computes in float32; larger numbers would be infinite there.
LARGEST = float(np.finfo(np.float32).max)

#: Bad features of one row that are named; a row of a thousand bad features says enough with the first ones.
NAMED = 20

_ABSENT = object()


@dataclass(frozen=True, slots=True)
class Note:
    """What the use case's policy made of a value that is not as declared.

    Attributes
    ----------
    value
        What the graph sees.
    sent
        What the client sent.
    """

    code: Code
    feature: str
    detail: str
    value: Any
    sent: Any

    def as_json(self) -> dict[str, Any]:
        """Members of the note beside an answer."""
        return {"code": int(self.code), "feature": self.feature, "detail": self.detail}

    def __str__(self) -> str:
        return f"{self.feature}: {self.detail}"


def read_row(row: Any, use_case: UseCase) -> list[Any] | tuple[RowRefusal, ...]:
    """Values of one row in the order of the use case's features (None is missing), or all that is wrong with it.

    Parameters
    ----------
    row
        A list in file order, or a mapping by name.
    """
    return read_noted_row(row, use_case)[0]


def read_noted_row(row: Any, use_case: UseCase) -> tuple[list[Any] | tuple[RowRefusal, ...], tuple[Note, ...]]:
    """The same, and what policies made of single values of a row that is taken."""
    given = _given(row, use_case)
    if isinstance(given, RowRefusal):
        return (given,), ()
    found = [
        read_value(value, name, feature, use_case)
        for (name, feature), value in zip(use_case.features.items(), given, strict=True)
    ]
    wrong = _unknown(row, use_case) + [value for value in found if isinstance(value, RowRefusal)]
    if wrong:
        return tuple(wrong[:NAMED]), ()
    notes = tuple(value for value in found if isinstance(value, Note))
    return [value.value if isinstance(value, Note) else value for value in found], notes


def read_value(value: Any, name: str, feature: Feature, use_case: UseCase) -> Any:
    """A value that the graph may see (None is missing, booleans are 0.0 and 1.0), a :class:`Note` or a refusal.

    Missing is null, or the empty text of a category, which is the graph's own sign for it. Not a number is not
    missing: whoever sends it has a fault in a calculation, not a gap in the data.
    """
    if value is _ABSENT:
        return RowRefusal(Code.VALUE_NOT_FOUND, f"field is absent; {_allowed(feature, use_case)}", name)
    if value is None or (value == "" and feature.type == "category"):
        if may_be_missing(feature, use_case):
            return None
        return RowRefusal(Code.VALUE_NOT_FOUND, f"value is missing; {_allowed(feature, use_case)}", name)
    if feature.type == "category":
        return _read_category(value, name, feature, use_case)
    if feature.type == "boolean":
        return _read_boolean(value, name, feature, use_case)
    return _read_number(value, name, feature, use_case)


def may_be_missing(feature: Feature, use_case: UseCase) -> bool:
    """Whether null is a value of the feature."""
    return feature.nullable and use_case.serving.missing == "impute"


def bounds(feature: Feature, use_case: UseCase) -> tuple[float, float]:
    """Lowest and highest number that is scored without a word; what float32 can hold where there is no limit."""
    if feature.range is None or use_case.serving.out_of_range == "accept":
        return -LARGEST, LARGEST
    return max(feature.range[0], -LARGEST), min(feature.range[1], LARGEST)


def allowed_categories(feature: Feature, use_case: UseCase) -> tuple[str, ...]:
    """Texts that are scored without a word; empty when every one is."""
    return feature.values or () if use_case.serving.unknown_category != "accept" else ()


def taken_bounds(feature: Feature, use_case: UseCase) -> tuple[float, float]:
    """Lowest and highest number that is not refused."""
    lenient = use_case.serving.out_of_range in {"clip", "flag"}
    return (-LARGEST, LARGEST) if lenient else bounds(feature, use_case)


def taken_categories(feature: Feature, use_case: UseCase) -> tuple[str, ...]:
    """Texts that are not refused; empty when none is."""
    imputed = use_case.serving.unknown_category == "impute" and may_be_missing(feature, use_case)
    lenient = imputed or use_case.serving.unknown_category == "flag"
    return () if lenient else allowed_categories(feature, use_case)


def _given(row: Any, use_case: UseCase) -> list[Any] | RowRefusal:
    features = use_case.features
    if isinstance(row, dict):
        return [row.get(name, _ABSENT) for name in features]
    if not isinstance(row, list):
        return RowRefusal(Code.MALFORMED, f"row must be a list or an object, got {short(row)}")
    if len(row) != len(features):
        detail = f"row has {len(row)} values, {len(features)} are needed: {', '.join(features)}"
        return RowRefusal(Code.VALUE_NOT_FOUND, detail)
    return row


def _unknown(row: Any, use_case: UseCase) -> list[RowRefusal]:
    if not isinstance(row, dict):
        return []
    detail = f"no such feature; allowed: {', '.join(use_case.features)}"
    return [RowRefusal(Code.MALFORMED, detail, name[:100]) for name in row if name not in use_case.features]


def _read_boolean(value: Any, name: str, feature: Feature, use_case: UseCase) -> float | RowRefusal:
    if isinstance(value, bool | int | float) and value in (0, 1):
        return float(value)
    return _wrong_type(value, name, feature, use_case)


def _read_number(value: Any, name: str, feature: Feature, use_case: UseCase) -> float | Note | RowRefusal:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return _wrong_type(value, name, feature, use_case)
    try:
        number = float(value)
    except OverflowError:
        number = LARGEST * 2 if value > 0 else -LARGEST * 2
    if not math.isfinite(number):
        return _wrong_type(value, name, feature, use_case)
    lowest, highest = bounds(feature, use_case)
    if not lowest <= number <= highest:
        return _settle_number(number, short(value), name, feature, use_case)
    return number


def _settle_number(number: float, told: str, name: str, feature: Feature, use_case: UseCase) -> Note | RowRefusal:
    lowest, highest = bounds(feature, use_case)
    fact = f"must be from {lowest:g} to {highest:g}, got {told}"
    policy = use_case.serving.out_of_range if feature.range is not None and abs(number) <= LARGEST else "refuse"
    if policy == "clip":
        nearest = lowest if number < lowest else highest
        return Note(Code.VALUE_OUT_OF_BOUNDS, name, f"clipped to {nearest:g}; {fact}", nearest, number)
    if policy == "flag":
        return Note(Code.VALUE_OUT_OF_BOUNDS, name, fact, number, number)
    return RowRefusal(Code.VALUE_OUT_OF_BOUNDS, fact, name)


def _read_category(value: Any, name: str, feature: Feature, use_case: UseCase) -> str | Note | RowRefusal:
    if not isinstance(value, str):
        return _wrong_type(value, name, feature, use_case)
    allowed = allowed_categories(feature, use_case)
    if allowed and value not in allowed:
        detail = f"must be one of {', '.join(allowed)}; got {short(value)}"
        if use_case.serving.unknown_category == "impute" and may_be_missing(feature, use_case):
            return Note(Code.UNKNOWN_CATEGORY, name, f"taken as missing; {detail}", None, value)
        if use_case.serving.unknown_category == "flag":
            return Note(Code.UNKNOWN_CATEGORY, name, detail, value, value)
        return RowRefusal(Code.UNKNOWN_CATEGORY, detail, name)
    return value


def _wrong_type(value: Any, name: str, feature: Feature, use_case: UseCase) -> RowRefusal:
    return RowRefusal(Code.VALUE_NOT_FOUND, f"{_allowed(feature, use_case)}, got {short(value)}", name)


_KINDS = {"number": "a finite number", "category": "a text", "boolean": "true, false, 0 or 1"}


def _allowed(feature: Feature, use_case: UseCase) -> str:
    return f"must be {_KINDS[feature.type]}{' or null' if may_be_missing(feature, use_case) else ''}"


def short(value: object) -> str:
    """What was found, for a message: at most 80 characters.

    Examples
    --------
    >>> short("12"), short(True), short([1, [2]])
    ("'12'", 'True', 'a list')
    """
    if isinstance(value, list | dict):
        return "a list" if isinstance(value, list) else "an object"
    text = repr(value[:81] if isinstance(value, str) else value)
    return text if len(text) <= 80 else f"{text[:77]}..."
