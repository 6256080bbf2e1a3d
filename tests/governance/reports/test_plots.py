"""Plots: vector graphics that read in grey, with units and rows."""

from __future__ import annotations

import re
from datetime import UTC, datetime

import pytest

from ml.governance.reports.plots import draw
from ml.records.report import Bars, BarSide, Line, Lines, Shapes, Side

WEEKS = tuple(datetime(2013, 3, day, tzinfo=UTC).timestamp() for day in (1, 8, 15, 22))
LINES = Lines(
    title="Loss over time",
    x_label="end of the week, UTC",
    y_label="nats",
    over_time=True,
    lines=(
        Line(name="champion", x=WEEKS, y=(0.2, None, 0.3, 0.1), low=(0.1,) * 4, high=(0.4,) * 4, n=(10, 20, 30, 40)),
        Line(name="first", x=WEEKS, y=(0.3, 0.3, 0.3, 0.3)),
    ),
    marks={"version 2": WEEKS[2]},
)
BARS = Bars(
    title="Missing",
    unit="share of rows",
    names=("Humidity", "Wind"),
    sides=(
        BarSide(name="training", values=(0.25, 0.5), low=(0.2, 0.4), high=(0.3, 0.6), n=1000),
        BarSide(name="live", values=(None, 0.125), n=50),
    ),
)
SHAPES = Shapes(
    title="Humidity",
    unit="percent",
    edges=(0, 10, 30),
    sides=(Side(name="training", shares=(0.5, 0.5), n=1000), Side(name="live", shares=(0, 1), n=50)),
)
PLOTS = {"lines": LINES, "bars": BARS, "shapes": SHAPES}


@pytest.mark.parametrize("plot", PLOTS.values(), ids=PLOTS)
def test_a_plot_reads_in_grey(plot):
    """Every colour is a shade of grey, and sides differ by dash or hatch, too."""
    drawn = draw(plot)
    colours = set(re.findall(r"#[0-9a-f]{6}\b", drawn))

    assert colours
    assert {c for c in colours if not c[1:3] == c[3:5] == c[5:7]} == set()
    assert "stroke-dasharray" in drawn or "<pattern" in drawn


@pytest.mark.parametrize("plot", PLOTS.values(), ids=PLOTS)
def test_the_same_plot_gives_the_same_bytes(plot):
    """No clock, no random names."""
    assert draw(plot) == draw(plot.model_copy())


def test_lines_say_units_rows_days_and_marks():
    """As text, so that a page can be searched."""
    drawn = draw(LINES)

    for told in ("Loss over time", "nats", "end of the week, UTC", "champion, n 100", "first", "version 2", "2013-03-"):
        assert f">{told}" in drawn


def test_bars_say_values_rows_and_what_is_not_shown():
    """A side without a value has no bar but a word."""
    drawn = draw(BARS)

    for told in ("share of rows", "training, n 1,000", "live, n 50", "0.25", "0.125", "not shown"):
        assert f">{told}<" in drawn


def test_shapes_are_densities_so_that_wide_bins_do_not_look_full():
    """Half of the rows in a bin of 10 percent is 0.05 per percent, in one of 20 it is 0.025."""
    drawn = draw(SHAPES)

    assert ">share of rows per percent<" in drawn
    assert ">training, n 1,000<" in drawn
    assert ">0.05" in drawn


@pytest.mark.parametrize(
    "plot",
    [
        Lines(title="Loss", x_label="x", y_label="y", lines=()),
        Lines(title="Loss", x_label="x", y_label="y", lines=(Line(name="a", x=(1,), y=(float("nan"),)),)),
        Bars(title="Loss", unit="share", names=(), sides=()),
        Bars(title="Loss", unit="share", names=("a",), sides=(BarSide(name="live", values=(None,), n=0),)),
        Shapes(title="Loss", unit="m", edges=(), sides=()),
    ],
)
def test_a_plot_without_a_value_says_so(plot):
    """Nothing is drawn as if it were zero."""
    drawn = draw(plot)

    assert ">Loss<" in drawn
    assert "undefined: there is no value to draw" in drawn
