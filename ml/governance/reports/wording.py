"""How values are told to people: numbers with their interval and rows, absent ones with their reason."""

from __future__ import annotations

import math
from datetime import UTC, datetime

from ml.records.measure import Estimate
from ml.records.report import Absent, Cell

#: Of rows that are too few to be shown: a single person could be told from them.
SMALL = "suppressed: fewer than {limit} rows"


def tell(cell: Cell) -> str:
    """A cell as text.

    Examples
    --------
    >>> tell(Estimate(value=0.25, n=100, low=0.2, high=0.3))
    '0.25 [0.2, 0.3], n 100'
    >>> tell(Absent(reason="no labels"))
    'no labels'
    >>> tell(1234567), tell(0.123456)
    ('1,234,567', '0.1235')
    """
    if isinstance(cell, Absent):
        return cell.reason
    if isinstance(cell, Estimate):
        return _tell_estimate(cell)
    if isinstance(cell, str):
        return cell
    return f"{cell:,}" if isinstance(cell, int) else number(cell)


def number(value: float) -> str:
    """Four significant digits, without a trailing zero."""
    if not math.isfinite(value):
        return "undefined: no number"
    return f"{value:,.0f}" if abs(value) >= 10_000 else f"{value:.4g}"


def moment(when: datetime) -> str:
    """A moment to the minute, UTC."""
    return f"{when.astimezone(UTC):%Y-%m-%d %H:%M}"


def long(seconds: float) -> str:
    """A length of time in its largest unit.

    Examples
    --------
    >>> long(7200), long(90), long(20 * 86400)
    ('2.0 h', '1.5 min', '20.0 d')
    """
    for size, unit in ((86400.0, "d"), (3600.0, "h"), (60.0, "min")):
        if abs(seconds) >= size:
            return f"{seconds / size:.1f} {unit}"
    return f"{seconds:.1f} s"


def suppressed(limit: int) -> Absent:
    """A cell of too few rows."""
    return Absent(reason=SMALL.format(limit=limit))


def _tell_estimate(found: Estimate) -> str:
    if found.value is None:
        return f"undefined: {found.detail or 'no value'}, n {found.n:,}"
    interval = "" if found.low is None or found.high is None else f" [{number(found.low)}, {number(found.high)}]"
    return f"{number(found.value)}{interval}, n {found.n:,}"
