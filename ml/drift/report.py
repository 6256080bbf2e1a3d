"""A drift check for people: a table for terminals and logs, and one self-contained page."""

from __future__ import annotations

import math
from dataclasses import dataclass
from io import StringIO
from pathlib import Path

import numpy as np
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table
from rich.text import Text

from ml.drift.profile import same_bins
from ml.drift.wording import spoken
from ml.records.decision import DriftCheck
from ml.records.profile import CategoryProfile, ColumnProfile, NumberProfile, Profile

#: Rows of the page's table and columns that are drawn; a page of a thousand columns stays readable and small.
ROWS, CARDS = 60, 24
_WIDTH, _HEIGHT, _BAR = 300.0, 110.0, 16.0
_TEMPLATES = Environment(
    loader=FileSystemLoader(Path(__file__).parent / "templates"), autoescape=True, undefined=StrictUndefined
)

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class _Card:
    name: str
    drawing: Markup
    caption: str
    height: float


def check_table(check: DriftCheck, *, limit: int = 20) -> Table:
    """Table of a check, furthest first."""
    table = Table("column", "statistic", "value", "threshold", "score", "missing", "effect", "", box=None)
    for column in table.columns[:2]:
        column.no_wrap = True
    for name in ("value", "threshold", "score", "missing", "effect"):
        next(column for column in table.columns if column.header == name).justify = "right"
    for row in check.columns[:limit]:
        missing = f"{100 * row.missing_share_reference:.1f} → {100 * row.missing_share_live:.1f} %"
        cells = [format_number(value) for value in (row.value, row.threshold, row.score)]
        told = "drifted" if row.drifted else ""
        table.add_row(Text(spoken(row.name)), row.statistic, *cells, missing, format_number(row.effect), told)
    if len(check.columns) > limit:
        table.caption = f"{len(check.columns) - limit} rows with lower scores are left out"
    return table


def print_check(check: DriftCheck) -> str:
    """Verdict, reasons and table as plain text."""
    written = StringIO()
    text = Console(file=written, width=120, no_color=True)
    text.print(f"{check.verdict}: score {format_number(check.score)}, threshold {format_number(check.threshold)}")
    for reason in check.reasons:
        text.print(f"- {reason}", markup=False)
    text.print(check_table(check))
    return written.getvalue()


def draw_report(check: DriftCheck, reference: Profile, live: Profile) -> str:
    """One self-contained HTML page: verdict, numbers with n, distributions over each other, furthest columns first."""
    names = list(dict.fromkeys([column.name for column in check.columns] + list(reference.columns)))
    drawn = [name for name in names if name in live.columns and name in reference.columns]
    same = [name for name in drawn if same_bins(reference.columns[name], live.columns[name])]
    window = check.window
    span = f"{window.start:%Y-%m-%d %H:%M} to {window.end:%Y-%m-%d %H:%M} UTC" if window else "live against reference"
    title = f"{check.use_case}, {span}" if check.use_case else span
    page = _TEMPLATES.get_template("report.html")
    return page.render(
        title=title,
        check=check,
        cards=[_draw(name, reference.columns[name], live.columns[name]) for name in same[:CARDS]],
        limit=ROWS,
        number=format_number,
    )


def format_number(value: float | None) -> str:
    """Three significant digits; a dash for what is undefined, never a zero."""
    if value is None or not math.isfinite(value):
        return "-"
    return "0" if abs(value) < 1e-9 else f"{value:.3g}"


def _draw(name: str, reference: ColumnProfile, live: ColumnProfile) -> _Card:
    if isinstance(reference, NumberProfile) and isinstance(live, NumberProfile):
        return _Card(name, _draw_numbers(reference, live), _spread(reference, live), _HEIGHT + 14)
    if isinstance(reference, CategoryProfile) and isinstance(live, CategoryProfile):
        return _draw_categories(name, reference, live)
    raise TypeError(f"{name} has profiles of two kinds")  # pragma: no cover - only same bins are drawn


def _draw_numbers(reference: NumberProfile, live: NumberProfile) -> Markup:
    """Shares per reference bin: the reference as an area, the live rows as a line, on an axis of the values."""
    edges = _outer_edges(reference, live)
    if len(edges) < 2:
        return Markup('<text x="4" y="20">too few values to draw</text>')
    inner = slice(int(edges[0] == reference.edges[0]), len(reference.counts) - int(edges[-1] == reference.edges[-1]))
    first, second = _density(reference, edges, inner), _density(live, edges, inner)
    top = max(float(np.quantile(np.concatenate([first, second]), 0.98)), 1e-12)
    x = (edges - edges[0]) / (edges[-1] - edges[0]) * _WIDTH
    area = " ".join(
        f"{left:.1f},{_y(value, top):.1f} {right:.1f},{_y(value, top):.1f}"
        for left, right, value in zip(x[:-1], x[1:], first, strict=True)
    )
    line = " ".join(
        f"{left:.1f},{_y(value, top):.1f} {right:.1f},{_y(value, top):.1f}"
        for left, right, value in zip(x[:-1], x[1:], second, strict=True)
    )
    axis = (
        f'<text x="0" y="{_HEIGHT + 12}">{format_number(float(edges[0]))}</text>'
        f'<text x="{_WIDTH}" y="{_HEIGHT + 12}" text-anchor="end">{format_number(float(edges[-1]))}</text>'
    )
    # Every value in this drawing is a number of ours.
    polygon = f'<polygon class="r" points="0,{_HEIGHT} {area} {_WIDTH},{_HEIGHT}"/>'
    return Markup(f'{polygon}<polyline class="l" points="{line}"/>{axis}')  # noqa: S704


def _outer_edges(reference: NumberProfile, live: NumberProfile) -> Floats:
    """Edges of the bins, and beyond them as far as live values lie."""
    edges = list(reference.edges)
    if edges and live.minimum is not None and live.minimum < edges[0]:
        edges.insert(0, live.minimum)
    if edges and live.maximum is not None and live.maximum > edges[-1]:
        edges.append(live.maximum)
    return np.array(edges)


def _density(column: NumberProfile, edges: Floats, inner: slice) -> Floats:
    counts = np.array(column.counts[inner], dtype=np.float64)
    total = max(sum(column.counts), 1)
    with np.errstate(over="ignore", divide="ignore", invalid="ignore"):
        found = counts / total / np.diff(edges)
    return np.nan_to_num(found, posinf=0.0)


def _y(value: float, top: float) -> float:
    return _HEIGHT - min(value / top, 1.05) / 1.05 * _HEIGHT


def _spread(reference: NumberProfile, live: NumberProfile) -> str:
    told = []
    for word, column in (("reference", reference), ("live", live)):
        n = sum(column.counts)
        if n:
            spread = math.sqrt(column.m2 / n)
            told.append(
                f"{word}: mean {format_number(column.mean)}, sd {format_number(spread)}, n {n:,}, "
                f"{format_number(column.minimum)} to {format_number(column.maximum)}"
            )
        else:
            told.append(f"{word}: no values")
    return "; ".join(told)


def _draw_categories(name: str, reference: CategoryProfile, live: CategoryProfile) -> _Card:
    shares = {
        word: {
            value: count / max(sum(column.counts.values()) + column.other + column.missing, 1)
            for value, count in [*column.counts.items(), ("(other)", column.other), ("(missing)", column.missing)]
        }
        for word, column in (("reference", reference), ("live", live))
    }
    ranked = sorted(shares["reference"], key=lambda v: -abs(shares["live"][v] - shares["reference"][v]))[:8]
    top = max([*(shares["reference"][v] for v in ranked), *(shares["live"][v] for v in ranked), 1e-12])
    bars = Markup()
    for i, value in enumerate(ranked):
        y = i * _BAR * 1.6
        for offset, css, word in ((0.0, "r", "reference"), (0.5, "b", "live")):
            width = shares[word][value] / top * (_WIDTH - 110)
            bars += Markup('<rect class="{}" x="100" y="{:.1f}" width="{:.1f}" height="{:.1f}"/>').format(
                css, y + offset * _BAR, width, _BAR * 0.45
            )
        bars += Markup('<text x="96" y="{:.1f}" text-anchor="end">{}</text>').format(y + _BAR * 0.65, value[:16])
    total = sum(live.counts.values()) + live.other + live.missing
    return _Card(name, bars, f"{len(reference.counts)} named values, live n {total:,}", len(ranked) * _BAR * 1.6)
