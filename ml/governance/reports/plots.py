"""Plots of a report as vector graphics: readable in grey, with units and rows; the same plot gives the same bytes."""

from __future__ import annotations

import io
import re
import warnings
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import numpy as np

from ml.governance.reports.wording import number
from ml.records.report import Bars, Line, Lines, Shapes

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Plot = Lines | Bars | Shapes

#: Sides are told apart by dash, mark and shade, none of which needs colour.
_LINES = (
    ("black", "-", "o"),
    ("#555555", "--", "s"),
    ("#888888", ":", "^"),
    ("black", "-.", "D"),
    ("#555555", ":", "v"),
)
_FILLS = (("#444444", ""), ("#dddddd", "///"), ("#ffffff", ""), ("#bbbbbb", "\\\\\\"), ("#ffffff", "xx"))

_STYLE: dict[Any, Any] = {
    "svg.hashsalt": "perennial",
    "svg.fonttype": "none",  # text stays text: small files, and a page can be searched
    "text.parse_math": False,  # a dollar in a name is a dollar
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans"],
    "font.size": 8,
    "hatch.linewidth": 0.6,
}
_PLAIN = {"Date": None, "Creator": None, "Format": None, "Type": None}
_WIDTH, _HEIGHT, _BAR = 6.2, 2.6, 0.26
_NAME = 40  # characters of a name in a plot


def draw(plot: Plot) -> str:
    """The plot as an SVG element; one without a single value says so."""
    import matplotlib as mpl
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure

    content = io.BytesIO()
    with mpl.rc_context(_STYLE), warnings.catch_warnings():
        # of glyphs that our font lacks and the reader's has, of layouts that are tight, of values that are huge
        warnings.simplefilter("ignore")
        figure = Figure(figsize=(_WIDTH, _height(plot)), layout="constrained")
        FigureCanvasSVG(figure)
        axes = figure.subplots()
        axes.set_title(_short(plot.title, 2 * _NAME), loc="left", fontsize=9, fontweight="bold")
        if not _draw_on(axes, plot):
            axes.text(0.5, 0.5, "undefined: there is no value to draw", ha="center", transform=axes.transAxes)
            axes.set_axis_off()
        figure.savefig(content, format="svg", metadata=_PLAIN)
    return _element(content.getvalue().decode(), plot.title)


def _element(written: str, title: str) -> str:
    """The ``svg`` element of a file, as wide as there is room for, named for who cannot see it."""
    from markupsafe import escape

    found = written[written.index("<svg ") :]
    found = re.sub(r' width="[\d.]+pt" height="[\d.]+pt"', "", found, count=1)
    return found.replace("<svg ", f'<svg role="img" aria-label="{escape(title)}" ', 1).strip()


def _height(plot: Plot) -> float:
    if isinstance(plot, Bars):
        return 0.9 + _BAR * max(len(plot.names), 2) * (0.4 + 0.6 * max(len(plot.sides), 1))
    return _HEIGHT


def _draw_on(axes: Axes, plot: Plot) -> bool:
    """Whether there was something to draw."""
    if isinstance(plot, Lines):
        return _draw_lines(axes, plot)
    return _draw_bars(axes, plot) if isinstance(plot, Bars) else _draw_shapes(axes, plot)


def _draw_lines(axes: Axes, plot: Lines) -> bool:
    if not any(y is not None for line in plot.lines for y in line.y):
        return False
    if plot.diagonal:
        axes.axline((0, 0), slope=1, color="#bbbbbb", linewidth=0.8, linestyle=(0, (1, 2)))
    for place, line in enumerate(plot.lines):
        _draw_line(axes, line, place)
    for name, x in plot.marks.items():
        axes.axvline(x, color="#999999", linewidth=0.7)
        axes.annotate(
            _short(name), (x, 1), xycoords=("data", "axes fraction"), fontsize=6, rotation=90, va="top", ha="right"
        )
    axes.set_xlabel(_short(plot.x_label, 2 * _NAME))
    axes.set_ylabel(_short(plot.y_label))
    if plot.over_time:
        _mark_days(axes)
    _finish(axes, sides=len(plot.lines))
    return True


def _draw_line(axes: Axes, line: Line, place: int) -> None:
    ink, dash, mark = _LINES[place % len(_LINES)]
    x, y = np.array(line.x), _floats(line.y)
    label = f"{_short(line.name)}, n {sum(line.n):,}" if line.n else _short(line.name)
    axes.plot(x, y, color=ink, linestyle=dash, marker=mark, markersize=3, linewidth=1.1, label=label)
    if line.low and line.high:
        low, high = _floats(line.low), _floats(line.high)
        known = np.isfinite(low) & np.isfinite(high)
        axes.vlines(x[known], low[known], high[known], color=ink, linewidth=0.6)


def _mark_days(axes: Axes) -> None:
    low, high = axes.get_xlim()
    at = np.linspace(low, high, 6)
    axes.set_xticks(at, [f"{datetime.fromtimestamp(float(x), UTC):%Y-%m-%d}" for x in at])
    axes.set_xlim(low, high)


def _draw_bars(axes: Axes, plot: Bars) -> bool:
    if not any(value is not None for side in plot.sides for value in side.values):
        return False
    places, thick = np.arange(len(plot.names)), 0.8 / len(plot.sides)
    for side_place, side in enumerate(plot.sides):
        fill, hatch = _FILLS[side_place % len(_FILLS)] if len(plot.sides) > 1 else ("#cccccc", "")
        at, values = places + (side_place + 0.5) * thick - 0.4, _floats(side.values)
        label = f"{_short(side.name)}, n {side.n:,}"
        axes.barh(
            at, np.nan_to_num(values), thick * 0.9, color=fill, hatch=hatch, edgecolor="black", lw=0.5, label=label
        )
        if side.low and side.high:
            axes.hlines(at, _floats(side.low), _floats(side.high), color="black", linewidth=1)
        for y, value, high in zip(at, values, _floats(side.high) if side.high else values, strict=True):
            told = number(value) if np.isfinite(value) else "not shown"
            right = np.nanmax([value, high, 0.0])
            axes.annotate(told, (right, y), (3, 0), textcoords="offset points", va="center", fontsize=6)
    axes.set_yticks(places, [_short(name) for name in plot.names])
    axes.invert_yaxis()
    axes.margins(x=0.12)
    axes.axvline(0, color="black", linewidth=0.6)
    axes.set_xlabel(_short(plot.unit, 2 * _NAME))
    _finish(axes, sides=max(len(plot.sides), 2), across=True)
    return True


def _draw_shapes(axes: Axes, plot: Shapes) -> bool:
    if len(plot.edges) < 2 or not any(any(side.shares) for side in plot.sides):
        return False
    widths = np.diff(plot.edges)
    for place, side in enumerate(plot.sides):
        ink, dash, _ = _LINES[place % len(_LINES)]
        heights = np.array(side.shares) / widths
        label = f"{_short(side.name)}, n {side.n:,}"
        if place == 0:
            axes.stairs(heights, plot.edges, fill=True, color="#dddddd")
        axes.stairs(heights, plot.edges, color=ink, linestyle=dash, linewidth=1.2, label=label)
    axes.set_xlabel(_short(plot.unit, 2 * _NAME))
    axes.set_ylabel(f"share of rows per {_short(plot.unit)}")
    _finish(axes, sides=max(len(plot.sides), 2))
    return True


def _finish(axes: Axes, *, sides: int, across: bool = False) -> None:
    axes.grid(axis="x" if across else "y", color="#e5e5e5", linewidth=0.5)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    if sides > 1:
        axes.figure.legend(loc="outside lower center", ncols=2, fontsize=7, frameon=False)


def _floats(values: tuple[float | None, ...]) -> Any:
    return np.array([np.nan if value is None else value for value in values], dtype=np.float64)


def _short(text: str, limit: int = _NAME) -> str:
    """One line of at most ``limit`` characters; the whole text is in the data beside the page."""
    line = " ".join(text.split())
    return line if len(line) <= limit else line[: limit - 1] + "…"
