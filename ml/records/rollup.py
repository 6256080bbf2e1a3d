"""Rollups: what was counted or measured in ten seconds, one row per series."""

from __future__ import annotations

from pydantic import Field

from ml.records.base import Record, UtcTime

#: Length of a rollup.
ROLLUP_SECONDS = 10.0


class Rollup(Record):
    """One series in one interval; intervals in which nothing was counted have no rollup.

    Attributes
    ----------
    time
        Begin of the interval.
    seconds
        Its length.
    source
        Who measured: a replica, ``probe``, ``lake``.
    label
        What tells series of one name apart: the HTTP status of ``requests``, the code of ``rows``.
    n
        Things counted, or measurements of a gauge.
    total
        Sum of what was measured; of a plain counter the same as ``n``.
    high
        Largest measurement; None where each thing counts one.
    bounds, buckets
        Of a histogram: upper bounds, ascending, and how many fell under each but not under the one before; one
        bucket more than bounds.
    """

    time: UtcTime
    seconds: float = ROLLUP_SECONDS
    source: str
    use_case: str | None = None
    name: str
    label: str = ""
    n: int = Field(ge=0)
    total: float
    high: float | None = None
    bounds: tuple[float, ...] = ()
    buckets: tuple[int, ...] = ()
