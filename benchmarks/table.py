"""The tables of a run."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Literal

from rich.table import Table

from benchmarks.streams import UNCHANGED

Basis = Literal["defaults", "same false alarms"]


@dataclass(frozen=True)
class Comparison:
    """Ours beside one peer.

    Attributes
    ----------
    what
        What was measured, with its unit.
    value, peer_value
        Medians of ``n`` rounds.
    times
        How many times better ours is; above 1 is better than the peer.
    """

    what: str
    ours: str
    value: float
    peer: str
    peer_value: float
    times: float
    n: int


@dataclass(frozen=True)
class Rate:
    """How often a detector alarmed.

    Attributes
    ----------
    change
        What was done to the live windows; where that is nothing, every alarm is a false one.
    basis
        The detector's own threshold, or an oracle's that gives every detector the same false-alarm rate.
    alarms, n
        Windows that alarmed, of so many.
    low, high
        Exact binomial interval of the rate, 95 %.
    undecided
        Windows that the detector refused to judge; they count as no alarm.
    """

    stream: str
    change: str
    detector: str
    basis: Basis
    alarms: int
    n: int
    low: float
    high: float
    undecided: int


@dataclass(frozen=True)
class Delay:
    """Windows until the first alarm, of a mean that moves from 0 to 1 sigma.

    Attributes
    ----------
    median
        From 1; None when fewer than half of the runs alarmed within ``windows``.
    found, n
        Runs that alarmed at all, of so many.
    """

    stream: str
    detector: str
    basis: Basis
    median: float | None
    found: int
    n: int
    windows: int


@dataclass(frozen=True)
class Detection:
    """False alarms, power and delays of all detectors."""

    rates: tuple[Rate, ...]
    delays: tuple[Delay, ...]
    budget: float


def draw(found: Iterable[Comparison]) -> Table:
    """Table of comparisons."""
    table = Table("measured", "ours", "peer", "", "times better", "rounds", caption="medians of interleaved rounds")
    for row in found:
        table.add_row(row.what, f"{row.value:,.3g}", row.peer, f"{row.peer_value:,.3g}", f"{row.times:.1f}", str(row.n))
    return table


def draw_detection(found: Detection) -> Iterator[Table]:
    """Tables of streams by detectors: false alarms, power by defaults, power at the same false-alarm rate."""
    stationary = [rate for rate in found.rates if rate.change == UNCHANGED]
    changed = [rate for rate in found.rates if rate.change != UNCHANGED]
    budget = f"{found.budget:.0%}"
    same = "an oracle's thresholds, from the stream's own unchanged windows"
    yield _draw("false alarms by default", f"ours is asked for {budget}", _cells(stationary, "defaults"))
    cells = _cells(changed, "defaults") | _delay_cells(found.delays, "defaults")
    yield _draw("power by default", "gradual changes: median window of the first alarm, share of runs with any", cells)
    cells = _cells(changed, "same false alarms") | _delay_cells(found.delays, "same false alarms")
    yield _draw(f"power at {budget} false alarms", same, cells)


Row = tuple[str, str]
Cells = dict[tuple[Row, str], tuple[str, int]]


def _cells(rates: Iterable[Rate], basis: Basis) -> Cells:
    """Stream and change by detector: per cent of windows, the interval below it, what was not judged below that."""
    found = {}
    for rate in (rate for rate in rates if rate.basis == basis):
        share = f"{100 * rate.alarms / rate.n:.1f}\n{100 * rate.low:.0f} to {100 * rate.high:.0f}"
        undecided = f"\n{rate.undecided} undecided" if rate.undecided else ""
        found[(rate.stream, rate.change), rate.detector] = share + undecided, rate.n
    return found


def _delay_cells(delays: Iterable[Delay], basis: Basis) -> Cells:
    found = {}
    for delay in (delay for delay in delays if delay.basis == basis):
        change = f"mean of two to +1 sigma over {delay.windows} windows"
        first = "never" if delay.median is None else f"window {delay.median:g}"
        within = f"{first}\nin {100 * delay.found / delay.n:.0f} %"
        found[(delay.stream, change), delay.detector] = within, delay.n
    return found


def _draw(title: str, caption: str, cells: Cells) -> Table:
    """Rows and columns in the order of the cells, runs in the row's title; a detector that was left out has none."""
    rows = sorted(dict.fromkeys(row for row, _ in cells), key=lambda row: _first_place(row[0], cells))
    columns = list(dict.fromkeys(column for _, column in cells))
    caption = f"% of windows that alarmed, 95 % interval; {caption}"
    table = Table(title=title, caption=caption, show_lines=True)
    table.add_column(min_width=20)
    for column in columns:
        table.add_column(column, overflow="fold")
    for row in rows:
        told = [cells.get((row, column), ("-", 0)) for column in columns]
        runs = "/".join(str(n) for n in dict.fromkeys(n for _, n in told if n))
        changed = "" if row[1] == UNCHANGED else f": {row[1]}"
        table.add_row(f"{row[0]}{changed}, n {runs}", *(text for text, _ in told))
    return table


def _first_place(stream: str, cells: Cells) -> int:
    return next(i for i, ((name, _), _) in enumerate(cells) if name == stream)
