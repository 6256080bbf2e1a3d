"""What an outbox keeps of the rows of a score request: one row as JSON, several as columns that hold the same.

One row is written by hand-readable JSON, a batch as MessagePack with the graph's own arrays in it: a record per row
costs more than the answer. :func:`read_rows` tells both as rows, and nobody behind it knows in which form they came.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

_DOUBLE, _SINGLE = np.dtype("<f8"), np.dtype("<f4")


class RowRecord(msgspec.Struct, gc=False):
    """One row that was answered or refused.

    Attributes
    ----------
    event_time
        ISO 8601.
    predicted, probability, probabilities
        Class, its probability, and those of all classes in the order of their names. Of a regression the first two are
        None and ``probabilities`` holds the one number.
    features
        Value by name as it was sent; None when the row could not be understood.
    raw
        Beginning of such a row.
    asked, place
        Rows that the graph was asked in one go, and the how manieth of them this one was, from 0.
    degraded_code
        When the last good version answered, the code of the failure of the one that was to.
    """

    id: str
    event_time: str | None
    model_version: int | None
    code: int
    detail: str | None = None
    predicted: str | None = msgspec.field(name="class", default=None)
    probability: float | None = None
    probabilities: list[float] | None = None
    features: dict[str, Any] | None = None
    raw: str | None = None
    asked: int | None = None
    place: int | None = None
    degraded_code: int | msgspec.UnsetType | None = msgspec.UNSET


class Refused(msgspec.Struct, omit_defaults=True):
    """One row of a batch that was refused; the attributes are those of :class:`RowRecord`."""

    code: int
    detail: str
    raw: str | None = None


class BatchRecord(msgspec.Struct, omit_defaults=True):
    """All rows of one request; what only some rows have is by row number.

    Attributes
    ----------
    names
        Of the features: numbers first, then categories.
    numbers
        Of each row in ``good``, one row after the other, as :func:`to_bytes` writes them; NaN is missing.
    categories
        In the same order; ``""`` is missing.
    good
        Rows that could be understood, ascending; None for all.
    answered
        Rows that were answered, ascending; None for all.
    classes
        Names in the order of the probabilities; none of a regression.
    predicted
        Class per answered row; none of a regression.
    probabilities
        Of each answered row, in the same form.
    asked, first
        Rows that the graph was asked in one go, and the place of the first one in ``good`` among them; 0 when it was
        not asked.
    refused, details
        What is said of refused rows and of answered ones.
    sent
        Values that a policy made another of, as they were sent, by the name of their feature.
    """

    ids: Sequence[str]
    model_version: int
    names: Sequence[str] = ()
    numbers: bytes = b""
    categories: Sequence[str] = ()
    event_times: Sequence[str | None] | None = None
    good: Sequence[int] | None = None
    answered: Sequence[int] | None = None
    classes: Sequence[str] = ()
    predicted: Sequence[str] = ()
    probabilities: bytes = b""
    asked: int = 0
    first: int = 0
    degraded_code: int | None = None
    refused: dict[int, Refused] = msgspec.field(default_factory=dict)
    details: dict[int, str] = msgspec.field(default_factory=dict)
    sent: dict[int, dict[str, Any]] = msgspec.field(default_factory=dict)

    def rows(self) -> Iterator[RowRecord]:
        """Each row as it would have been recorded alone.

        Raises
        ------
        ValueError
            The columns do not fit together.
        """
        n = len(self.ids)
        features = dict(self._features(range(n) if self.good is None else self.good))
        answers = dict(self._answers(range(n) if self.answered is None else self.answered))
        places = dict(zip(features, range(self.first, self.first + len(features)), strict=True)) if self.asked else {}
        times = [None] * n if self.event_times is None else self.event_times
        for row, (row_id, event_time) in enumerate(zip(self.ids, times, strict=True)):
            record = RowRecord(row_id, event_time, self.model_version, 0, features=features.get(row))
            if row in places:
                record.asked, record.place = self.asked, places[row]
            if row in self.refused:
                refused = self.refused[row]
                record.code, record.detail, record.raw = refused.code, refused.detail, refused.raw
            elif row in answers:
                record.detail = self.details.get(row)
                record.predicted, record.probability, record.probabilities = answers[row]
                record.degraded_code = msgspec.UNSET if self.degraded_code is None else self.degraded_code
            else:
                raise ValueError(f"row {row} is neither answered nor refused")
            yield record

    def _features(self, good: Sequence[int]) -> Iterator[tuple[int, dict[str, Any]]]:
        n = len(good)
        width = len(self.categories) // n if n else 0
        table = _table(self.numbers, n, len(self.names) - width)
        for i, (row, numbers) in enumerate(zip(good, table.tolist(), strict=True)):
            known = (None if number != number else number for number in numbers)  # noqa: PLR0124 - true of NaN only
            texts = (text or None for text in self.categories[i * width : (i + 1) * width])
            found = dict(zip(self.names, (*known, *texts), strict=True))
            yield row, found | self.sent[row] if row in self.sent else found

    def _answers(self, answered: Sequence[int]) -> Iterator[tuple[int, tuple[str | None, float | None, list[float]]]]:
        table = _table(self.probabilities, len(answered), len(self.classes) or 1).tolist()
        if not self.classes:
            yield from ((row, (None, None, told)) for row, told in zip(answered, table, strict=True))
            return
        place = {name: i for i, name in enumerate(self.classes)}
        for row, label, told in zip(answered, self.predicted, table, strict=True):
            if label not in place:
                raise ValueError(f"class must be one of {', '.join(place)}, got {label}")
            yield row, (label, told[place[label]], told)


def _table(content: bytes, n: int, width: int) -> NDArray[np.float64]:
    kind = _SINGLE if len(content) == n * width * _SINGLE.itemsize else _DOUBLE
    if len(content) != n * width * kind.itemsize:
        raise ValueError(f"{n} rows of {width} numbers cannot have {len(content)} bytes")
    return np.frombuffer(content, kind).astype(np.float64).reshape(n, width)


def to_bytes(table: NDArray[np.float64]) -> bytes:
    """Numbers as a batch's record keeps them: little-endian, in single precision where that loses nothing."""
    # Most tables are decided by their first row.
    exact = _is_single(table[:1]) and _is_single(table)
    return table.astype(_SINGLE if exact else _DOUBLE, copy=False).tobytes()


def _is_single(table: NDArray[np.float64]) -> bool:
    with np.errstate(over="ignore"):
        single = table.astype(_SINGLE)
    return bool(((single == table) | np.isnan(table)).all())


class _RefusedRow(msgspec.Struct):
    code: int
    model_version: int | None = None
    detail: str | None = None


class _RefusedRows(msgspec.Struct):
    model_version: int
    refused: dict[int, Refused] = msgspec.field(default_factory=dict)


encode_row = msgspec.json.Encoder().encode
encode_batch = msgspec.msgpack.Encoder().encode
_decode_row = msgspec.json.Decoder(RowRecord).decode
_decode_batch = msgspec.msgpack.Decoder(BatchRecord).decode
_decode_refused_row = msgspec.json.Decoder(_RefusedRow).decode
_decode_refused_rows = msgspec.msgpack.Decoder(_RefusedRows).decode


def read_rows(payload: bytes, rows: int) -> list[RowRecord]:
    """Rows of a record.

    Parameters
    ----------
    payload, rows
        Of :class:`ml.records.outbox.Captured`.

    Raises
    ------
    ValueError
        It is no such record; msgspec's own errors are of this kind.
    """
    if rows == 1:
        return [_decode_row(payload)]
    found = _decode_batch(payload)
    if len(found.ids) != rows:
        raise ValueError(f"record must have {rows} rows, got {len(found.ids)}")
    return list(found.rows())


def read_refusals(payload: bytes, rows: int) -> list[tuple[int, int | None, str]]:
    """Code, version and detail of each refused row of a record; the others are not looked at."""
    if rows == 1:
        row = _decode_refused_row(payload)
        return [(row.code, row.model_version, row.detail or "")] if row.code else []
    found = _decode_refused_rows(payload)
    return [(refused.code, found.model_version, refused.detail) for _, refused in sorted(found.refused.items())]
