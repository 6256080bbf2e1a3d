"""A page is safe whatever it says, stands alone, and is the same every time."""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime
from html.parser import HTMLParser

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from ml.governance.reports.page import as_json, draw_page
from ml.governance.reports.wording import tell
from ml.records.measure import Estimate
from ml.records.report import (
    Absent,
    Bars,
    BarSide,
    Facts,
    Line,
    Lines,
    Report,
    ReportFinding,
    Section,
    Shapes,
    Side,
    Table,
    Words,
    showable,
)

NASTY = '</text></svg><script>alert(1)</script>\u2028<img src=x onerror=f()> $\\frac{1}{2}$ & "quoted" \'\x00\ud800 数'


class Reader(HTMLParser):
    """Elements, attributes and text of a page."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str]] = []
        self.text = ""

    def handle_starttag(self, tag, attrs):
        """Note an element."""
        self.tags.append(tag)
        self.attributes += [(name, value or "") for name, value in attrs]

    def handle_data(self, data):
        """Note text."""
        self.text += data


def read(page: str) -> Reader:
    """The page as a browser would take it apart."""
    reader = Reader()
    reader.feed(page)
    return reader


def report_of(text: str, value: float = 1.5) -> Report:
    """A report that says a text wherever one can be said, and a number wherever one can be."""
    lines = Lines(
        title=text,
        x_label=text,
        y_label=text,
        diagonal=True,
        lines=(Line(name=text, x=(0, 1), y=(value, 2), low=(0, 0), high=(3, 3), n=(5, 6)),),
        marks={text: 0.5},
        note=text,
    )
    bars = Bars(title=text, unit=text, names=(text,), sides=(BarSide(name=text, values=(value,), n=3),), note=text)
    shapes = Shapes(title=text, unit=text, edges=(0, 1), sides=(Side(name=text, shares=(1,), n=9),), note=text)
    blocks = (
        Words(text=text),
        Facts(title=text, rows=((text, text), (text, value))),
        Table(title=text, columns=(text, text), rows=((text, value), (Absent(reason=f".{text}"), text)), note=text),
        Table(columns=(), rows=()),
        Facts(rows=()),
        lines,
        bars,
        shapes,
    )
    return Report(
        report="data",
        use_case="demo",
        title=text,
        as_of=datetime(2013, 3, 1, tzinfo=UTC),
        findings=(ReportFinding(weight="attention", text=text, section=text),),
        sections=(Section(title=text, blocks=blocks),),
    )


TAGS = frozenset(read(draw_page(report_of("plain"))).tags)


@settings(max_examples=5, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@example(text=NASTY, value=float("nan"))
@example(text="", value=float("inf"))
@example(text="{{ 7 * 7 }} {% raw %} <!-- ", value=-0.0)
@given(text=st.text(max_size=40), value=st.floats())
def test_whatever_is_said_is_text(text, value):
    """No text makes an element, an attribute or a script; no number that is none is written as one."""
    page = draw_page(report_of(text, value))
    found = read(page)

    assert set(found.tags) <= TAGS
    assert "script" not in found.tags
    assert not any(name.startswith("on") for name, _ in found.attributes)
    assert "".join(showable(text).split()) in "".join(found.text.split())
    assert not re.search(r"\b(nan|inf)\b", re.sub(r"(?s)<title>.*?</title>", "", page.replace(text, "")))
    page.encode("utf-8")


@settings(max_examples=3, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@example(text=NASTY, value=float("nan"))
@given(text=st.text(max_size=40), value=st.floats())
def test_the_same_report_gives_the_same_bytes(text, value):
    """Also after it has been written as JSON and read again, which loses nothing."""
    report = report_of(text, value)
    again = Report.model_validate_json(as_json(report))

    assert again == report
    assert (draw_page(again), as_json(again)) == (draw_page(report), as_json(report))


def test_a_page_stands_alone():
    """It asks for nothing from anywhere, and forbids a browser to do so."""
    page = draw_page(report_of("plain"))
    found = read(page)
    addresses = [value for name, value in found.attributes if name in {"href", "src", "xlink:href"}]

    assert set(found.tags).isdisjoint({"script", "link", "iframe", "img", "object"})
    assert [one for one in addresses if not one.startswith("#")] == ["data.json"]
    assert not re.search(r"url\((?!#)|@import", page)
    assert "default-src 'none'" in page


def test_findings_are_told_first_and_lead_to_their_section():
    """What needs somebody stands above the first heading."""
    page = draw_page(report_of("the sea"))

    assert page.index("<b>Attention:</b>the sea") < page.index('<h2 id="s1">')
    assert '<a href="#s1">the sea</a>' in page


def test_an_empty_table_says_so():
    """No rows are not nothing."""
    page = draw_page(report_of("plain"))

    assert page.count(">none</td>") == 2


@pytest.mark.parametrize(
    ("cell", "told"),
    [
        (Absent(reason="no labels"), "no labels"),
        (Estimate(value=None, n=3, detail="too few rows"), "undefined: too few rows, n 3"),
        (Estimate(value=0.25, n=1000, low=0.2, high=0.3), "0.25 [0.2, 0.3], n 1,000"),
        (1234567, "1,234,567"),
        (0, "0"),
        (0.000123456, "0.0001235"),
        ("<b>", "<b>"),
    ],
)
def test_a_cell_is_told_with_all_that_belongs_to_it(cell, told):
    """Interval and rows, or the reason why there is none."""
    assert tell(cell) == told


def test_no_number_is_absent_and_a_truth_value_is_a_word():
    """NaN and infinity are no cells."""
    table = Table(columns=("a", "b", "c"), rows=((float("nan"), float("-inf"), True),))

    assert table.rows == ((Absent(reason="no number"), Absent(reason="no number"), "yes"),)
    assert "NaN" not in json.dumps(table.model_dump(mode="json"))


def test_a_table_whose_rows_do_not_fit_is_refused():
    """Nothing is shifted in silence."""
    with pytest.raises(ValueError, match="every row needs 2 cells"):
        Table(columns=("a", "b"), rows=((1,),))
    with pytest.raises(ValueError, match="y needs 2 values, got 1"):
        Line(name="a", x=(1, 2), y=(1,))
    with pytest.raises(ValueError, match="shares needs 1 values, got 2"):
        Shapes(title="a", unit="b", edges=(0, 1), sides=(Side(name="a", shares=(1, 2), n=1),))
