"""From a report to its page and its JSON: the same report gives the same bytes."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Sequence
from itertools import groupby
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from ml.governance.reports.plots import Plot, draw
from ml.governance.reports.wording import moment, tell
from ml.records.measure import Estimate
from ml.records.report import Absent, Bars, Block, Cell, Lines, Report, Shapes

_TEMPLATES = Environment(
    loader=FileSystemLoader(Path(__file__).parent / "templates"), autoescape=True, undefined=StrictUndefined
)
_PLOTS = (Lines, Bars, Shapes)


def draw_page(report: Report) -> str:
    """One self-contained, printable HTML page."""
    numbers = {section.title: place for place, section in reversed(list(enumerate(report.sections, start=1)))}
    template = _TEMPLATES.get_template("report.html")
    digest = hashlib.sha256(as_json(report)).hexdigest()
    page = template.render(
        report=report, numbers=numbers, digest=digest, draw=_draw, td=_td, runs=_runs, moment=moment, pieces=_pieces
    )
    return page + "\n"


def as_json(report: Report) -> bytes:
    """The report as JSON."""
    return report.model_dump_json(indent=1).encode() + b"\n"


def _draw(plot: Plot) -> Markup:
    return Markup(draw(plot))  # noqa: S704 - every text in a drawing is escaped where it is written


def _td(cell: Cell) -> Markup:
    undefined = isinstance(cell, Absent) or (isinstance(cell, Estimate) and cell.value is None)
    css = "u" if undefined else "" if isinstance(cell, str) else "e" if isinstance(cell, Estimate) else "n"
    told = tell(cell)
    return Markup('<td class="{}">{}</td>').format(css, told) if css else Markup("<td>{}</td>").format(told)


def _runs(blocks: Sequence[Block]) -> Iterator[list[Block]]:
    """Neighbouring plots stand beside each other."""
    for _, run in groupby(blocks, key=lambda block: isinstance(block, _PLOTS)):
        yield list(run)


def _pieces(text: str) -> list[str]:
    """Paragraphs of a text."""
    return [piece for piece in re.split(r"\n\s*\n", text) if piece.strip()]
