"""Retention and age in the data audit: how old each part is, what is declared to be kept, rows by month."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime

import pandas as pd

from ml.governance.reports.data_sides import Sides
from ml.governance.reports.sources import Sources
from ml.records.base import as_utc
from ml.records.report import Absent, Block, Cell, Line, Lines, Table, Words
from ml.use_case import UseCase
from ml.use_case.duration import format_duration


def describe_age(sources: Sources, sides: Sides) -> Iterator[Block]:
    """Age of each side, what the use case file says of keeping, rows by month."""
    yield Words(text=f"{_retention(sources.use_case)} {_KEPT}")
    rows: list[tuple[Cell, ...]] = []
    for side, frame in sides.frames.items():
        ages: list[Cell] = [Absent(reason="there are no rows")] * 2
        if len(frame):
            ages = [_days(sources.as_of, frame["event_time"].min()), _days(sources.as_of, frame["event_time"].max())]
        rows.append((side, *ages))
    note = "Age of event times as of the report."
    yield Table(columns=("data", "oldest row, days", "newest row, days"), rows=tuple(rows), note=note)
    yield _months(sources)


_KEPT = (
    "Training versions are kept until somebody deletes them: what a registered model was trained on cannot be deleted "
    "without losing its reproduction."
)


def _retention(use_case: UseCase) -> str:
    declared = use_case.retention.declared
    if not declared:
        return "No retention is declared: live rows and labels are kept until somebody deletes them."
    told = ", ".join(f"{name} {format_duration(keep)}" for name, keep in declared.items())
    return f"Kept so long after their receipt, and while they are needed: {told}; everything else without end."


def _days(now: datetime, then: pd.Timestamp) -> float:
    return round((as_utc(now) - then.to_pydatetime()).total_seconds() / 86400, 1)


def _months(sources: Sources) -> Lines:
    lines, limit = [], sources.small_cell
    for name, frame in (("answered", sources.answered), ("truth known", sources.labelled)):
        counts = frame["event_time"].dt.strftime("%Y-%m").value_counts().sort_index()
        x = tuple(pd.Timestamp(f"{label}-01", tz="UTC").timestamp() for label in counts.index)
        y = tuple(None if 0 < int(n) < limit else float(n) for n in counts)
        lines.append(Line(name=name, x=x, y=y))
    return Lines(
        title="Live rows by month",
        x_label="month of the event, UTC",
        y_label="rows",
        over_time=True,
        lines=tuple(lines),
        note=f"Months of fewer than {limit} rows are not shown.",
    )
