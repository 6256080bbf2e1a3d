"""A report as data: sections of words, facts, tables and plots, from which the page for people is drawn."""

from __future__ import annotations

import math
import re
from typing import Annotated, Any, Literal, Self

from pydantic import BeforeValidator, Field, model_validator

from ml.records.base import Record, UtcTime
from ml.records.measure import Estimate

#: What no page can show: control characters, halves of characters, and separators that end a line for some readers.
_UNSHOWABLE = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff\ufffe\uffff]")
_LINE_ENDS = re.compile(r"[\u2028\u2029\x85]")


def showable(text: str) -> str:
    r"""Text that every page can hold: what cannot be shown is a replacement character.

    Examples
    --------
    >>> showable("a\x00b\u2028c") == "a\ufffdb c"
    True
    """
    return _UNSHOWABLE.sub("\ufffd", _LINE_ENDS.sub(" ", text))


Text = Annotated[str, BeforeValidator(lambda text: showable(text) if isinstance(text, str) else text)]


class Absent(Record):
    """A value that is not there, and why; never a zero."""

    reason: Text = Field(min_length=1)


def _defined(value: Any) -> Any:
    """A cell's value: a number that is none becomes absent, a truth value a word."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float) and not math.isfinite(value):
        return Absent(reason="no number")
    return value


def _gap(value: Any) -> Any:
    return None if isinstance(value, float) and not math.isfinite(value) else value


Cell = Annotated[Text | int | float | Estimate | Absent, BeforeValidator(_defined)]
#: A value of a plot; None, infinity and NaN are gaps.
Point = Annotated[float | None, BeforeValidator(_gap)]


class Words(Record):
    """A paragraph."""

    kind: Literal["words"] = "words"
    text: Text


class Facts(Record):
    """Names with what is known of each."""

    kind: Literal["facts"] = "facts"
    title: Text = ""
    rows: tuple[tuple[Text, Cell], ...]


class Table(Record):
    """A table; ``note`` says what its numbers are."""

    kind: Literal["table"] = "table"
    title: Text = ""
    columns: tuple[Text, ...]
    rows: tuple[tuple[Cell, ...], ...]
    note: Text = ""

    @model_validator(mode="after")
    def _rows_have_the_columns(self) -> Self:
        if any(len(row) != len(self.columns) for row in self.rows):
            raise ValueError(f"every row needs {len(self.columns)} cells")
        return self


class Line(Record):
    """Points of one line, with the interval and the rows of each where they are known."""

    name: Text
    x: tuple[float, ...]
    y: tuple[Point, ...]
    low: tuple[Point, ...] = ()
    high: tuple[Point, ...] = ()
    n: tuple[int, ...] = ()

    @model_validator(mode="after")
    def _lengths_agree(self) -> Self:
        _check_lengths(len(self.x), y=self.y)
        _check_lengths(len(self.x), optional=True, low=self.low, high=self.high, n=self.n)
        return self


class Lines(Record):
    """Lines over time (``x`` in seconds since 1970, UTC) or over a number.

    Attributes
    ----------
    diagonal
        Whether the line ``y = x`` is drawn: what would be right.
    marks
        Moments or numbers on the x axis that are marked by a line, by name.
    """

    kind: Literal["lines"] = "lines"
    title: Text
    x_label: Text
    y_label: Text
    over_time: bool = False
    diagonal: bool = False
    lines: tuple[Line, ...]
    marks: dict[Text, float] = Field(default_factory=dict)
    note: Text = ""


class BarSide(Record):
    """One side of paired bars."""

    name: Text
    values: tuple[Point, ...]
    low: tuple[Point, ...] = ()
    high: tuple[Point, ...] = ()
    n: int


class Bars(Record):
    """Bars by name, the sides beside each other; a value that is None is undefined or suppressed, ``note`` says which.

    Attributes
    ----------
    unit
        Of the values, such as ``share of rows``.
    """

    kind: Literal["bars"] = "bars"
    title: Text
    unit: Text
    names: tuple[Text, ...]
    sides: tuple[BarSide, ...]
    note: Text = ""

    @model_validator(mode="after")
    def _lengths_agree(self) -> Self:
        for side in self.sides:
            _check_lengths(len(self.names), values=side.values)
            _check_lengths(len(self.names), optional=True, low=side.low, high=side.high)
        return self


class Side(Record):
    """Share of a side's rows in each bin."""

    name: Text
    shares: tuple[float, ...]
    n: int


class Shapes(Record):
    """Distributions of a number over each other, on common edges."""

    kind: Literal["shapes"] = "shapes"
    title: Text
    unit: Text
    edges: tuple[float, ...]
    sides: tuple[Side, ...]
    note: Text = ""

    @model_validator(mode="after")
    def _lengths_agree(self) -> Self:
        for side in self.sides:
            _check_lengths(max(len(self.edges) - 1, 0), shares=side.shares)
        return self


Block = Annotated[Words | Facts | Table | Lines | Bars | Shapes, Field(discriminator="kind")]


class Section(Record):
    """Part of a report under one heading."""

    title: Text
    blocks: tuple[Block, ...]


class ReportFinding(Record):
    """A sentence that a reader should not have to look for.

    Attributes
    ----------
    weight
        ``attention`` where somebody should act or decide, ``note`` where it is good to know.
    section
        Title of the section that has the numbers; empty for none.
    """

    weight: Literal["attention", "note"]
    text: Text
    section: Text = ""


class Report(Record):
    """A whole report; the same stores and moments give the same one.

    Attributes
    ----------
    report
        Which report it is: ``data``, ``model``, ``project``, ``card`` …; a lower-case word that names its files.
    version
        Of the model, where it is about one.
    as_of
        Nothing that became known later is used.
    findings
        What is told first.
    """

    report: str = Field(pattern=r"^[a-z][a-z_]*$")
    use_case: str
    version: int | None = None
    title: Text
    as_of: UtcTime
    findings: tuple[ReportFinding, ...] = ()
    sections: tuple[Section, ...]

    @property
    def stem(self) -> str:
        """Name of its files without ending: ``data``, ``card-3``."""
        return self.report if self.version is None else f"{self.report}-{self.version}"

    def section(self, title: str) -> Section:
        """The section of a title.

        Raises
        ------
        KeyError
            There is none.
        """
        found = next((section for section in self.sections if section.title == title), None)
        if found is None:
            raise KeyError(title)
        return found


def _check_lengths(wanted: int, *, optional: bool = False, **values: tuple[object, ...]) -> None:
    for name, found in values.items():
        if len(found) != wanted and not (optional and not found):
            raise ValueError(f"{name} needs {wanted} values, got {len(found)}")
