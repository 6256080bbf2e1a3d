"""Retention: what is kept, since when, and for how long."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime

from ml.governance.reports.sources import Sources
from ml.governance.reports.wording import long, moment
from ml.records.report import Absent, Block, Cell, Table
from ml.use_case.retention_options import EVENTS_KEPT, ROLLUPS_KEPT

_FOREVER = "until somebody deletes it"


def describe_retention(sources: Sources) -> Iterator[Block]:
    """Each store with its oldest entry."""
    name = sources.use_case.name
    extents = sources.lake.extents()
    rows: list[tuple[Cell, ...]] = [
        (f"lake: {table}", extents[table].rows, Absent(reason="see the data audit"), _kept(sources, table))
        for table in sorted(extents)
    ]
    entries = sources.control.ledger_entries(use_case=name)
    rows += [
        ("ledger: entries of this use case", len(entries), _when(entries[-1].time if entries else None), "always"),
        ("versions in the registry", len(sources.registry.versions(name)), Absent(reason="see the cards"), _FOREVER),
        (
            "events and measurements",
            Absent(reason="not counted"),
            _when(sources.telemetry.begin()),
            f"events {long(EVENTS_KEPT.total_seconds())}, measurements {long(ROLLUPS_KEPT.total_seconds())}",
        ),
    ]
    yield Table(
        columns=("what", "rows", "oldest, UTC", "is kept"),
        rows=tuple(rows),
        note=("" if sources.use_case.retention.declared else "No retention of rows is declared. ")
        + "What a registered model was trained on cannot be deleted without losing its reproduction.",
    )


def _kept(sources: Sources, table: str) -> str:
    keep = sources.use_case.retention.declared.get(table)
    return _FOREVER if keep is None else f"{long(keep.total_seconds())} after receipt, and while it is needed"


def _when(when: datetime | None) -> Cell:
    return Absent(reason="none") if when is None else moment(when)
