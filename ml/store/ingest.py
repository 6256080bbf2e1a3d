"""From the replicas' outboxes into the lake, each captured row exactly once, through any crash."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa

from ml.errors import PerennialError
from ml.store.decode import Decoded, Row, decode
from ml.store.outbox import BATCH_ROWS, Outbox
from ml.store.table import LakeTable
from ml.use_case import UseCase


@dataclass(frozen=True)
class IngestReport:
    """What one ingest took.

    Attributes
    ----------
    requests, labels, quarantined
        Rows appended by this ingest; another one at the same time counts its own.
    deleted
        Rows deleted from the outboxes, all of them confirmed by the lake.
    outboxes
        Files looked into.
    """

    requests: int = 0
    labels: int = 0
    quarantined: int = 0
    deleted: int = 0
    outboxes: int = 0

    def __add__(self, other: IngestReport) -> IngestReport:
        """Sum of both."""
        return IngestReport(
            self.requests + other.requests,
            self.labels + other.labels,
            self.quarantined + other.quarantined,
            self.deleted + other.deleted,
            self.outboxes + other.outboxes,
        )


def ingest_outboxes(
    folder: Path, use_case: UseCase, tables: Mapping[str, LakeTable], *, batch_rows: int = BATCH_ROWS
) -> IngestReport:
    """Take the captured rows of a use case out of every outbox of a folder.

    Parameters
    ----------
    tables
        ``requests``, ``labels`` and ``quarantine``.
    batch_rows
        Rows held in memory at once, at most.

    Raises
    ------
    PerennialError
        The first outbox that could not be taken whole; the others were taken before it was raised,
        and nothing of it is lost.
    """
    report, failures = IngestReport(), []
    for path in sorted(folder.glob("*.sqlite")):
        try:
            report += _ingest_outbox(path, use_case, tables, batch_rows)
        except PerennialError as error:
            failures.append(error)
    if failures:
        raise failures[0]
    return report


def _ingest_outbox(path: Path, use_case: UseCase, tables: Mapping[str, LakeTable], batch_rows: int) -> IngestReport:
    report = IngestReport(outboxes=1)
    with Outbox(path) as outbox:
        # Up to what is there now: traffic that goes on must not keep the ingest from ending.
        newest = outbox.newest(use_case.name)
        for batch in outbox.batches(use_case.name, up_to=newest, rows=batch_rows):
            report += _store(decode(batch, use_case, outbox.identity), tables, outbox.identity)
            # Only now do all tables hold the batch, by our commits or by an earlier ingest's.
            report += IngestReport(deleted=outbox.delete(use_case.name, up_to=batch[-1].seq))
    return report


def _store(decoded: Decoded, tables: Mapping[str, LakeTable], identity: str) -> IngestReport:
    """Append what each table lacks of a batch; the same batch again appends nothing."""
    taken = {
        name: tables[name].append_once(_arrow(rows, tables[name].schema), app_id=identity) if rows else 0
        for name, rows in (
            ("requests", decoded.requests),
            ("labels", decoded.labels),
            ("quarantine", decoded.quarantine),
        )
    }
    return IngestReport(requests=taken["requests"], labels=taken["labels"], quarantined=taken["quarantine"])


def _arrow(rows: list[Row], schema: pa.Schema) -> pa.Table:
    return pa.table([pa.array([row.get(field.name) for row in rows], field.type) for field in schema], schema=schema)
