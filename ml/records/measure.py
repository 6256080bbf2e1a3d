"""Numbers that never travel alone: windows of event time, intervals, verdicts."""

from __future__ import annotations

from datetime import timedelta
from enum import StrEnum
from typing import Self

from pydantic import model_validator

from ml.records.base import Record, UtcTime


class Verdict(StrEnum):
    """Outcome of one rule: it holds, it does not, or the data cannot tell."""

    PASS = "pass"  # noqa: S105 - a verdict, not a password
    FAIL = "fail"
    UNDECIDABLE = "undecidable"


class Window(Record):
    """Half-open interval of event time, ``start <= t < end``, UTC."""

    start: UtcTime
    end: UtcTime

    @model_validator(mode="after")
    def _start_is_before_end(self) -> Self:
        if self.start >= self.end:
            raise ValueError(f"window must start before it ends, got {self.start} .. {self.end}")
        return self

    def pieces(self, length: timedelta) -> tuple[Window, ...]:
        """The window cut from its end backwards, oldest first; only the oldest piece may be shorter.

        Examples
        --------
        >>> week = Window(start=datetime(2013, 3, 1), end=datetime(2013, 3, 8))
        >>> len(week.pieces(timedelta(days=1)))
        7
        """
        found, end = [], self.end
        while end > self.start:
            found.append(Window(start=max(self.start, end - length), end=end))
            end -= length
        return tuple(reversed(found))


class Estimate(Record):
    """A number with its sample size and interval; ``value`` is None where it is undefined.

    Attributes
    ----------
    value
        The point estimate, or None when undefined (then ``detail`` says why).
    n
        Rows that it was computed from.
    low, high
        Two-sided interval at ``confidence``; None where not computed.
    """

    value: float | None
    n: int
    low: float | None = None
    high: float | None = None
    confidence: float = 0.9
    detail: str = ""
