"""What limits of the health walk are chosen from: what a check pays for many files, and how fast a backlog drains."""

from __future__ import annotations

import json
import shutil
import sqlite3
import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path

import numpy as np
import psutil
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from deltalake import DeltaTable
from deltalake.transaction import AddAction
from rich.table import Table

from benchmarks.years import draw_weather
from ml.records.measure import Window
from ml.records.outbox import INSERT, SCHEMA
from ml.settings import PROJECT
from ml.store.lake import Lake
from ml.store.outbox import count_waiting
from ml.use_case import UseCase, load

#: One month of the table holds so many rows, in so many files.
ROWS, FILES = 100_000, (8, 100, 500, 1_000, 2_000, 4_000)
BACKLOGS = (10_000, 100_000, 1_000_000)
ROUNDS = 3
SEED = 20130301
_MONTH = Window(start=datetime(2013, 3, 1, tzinfo=UTC), end=datetime(2013, 4, 1, tzinfo=UTC))


@dataclass(frozen=True)
class Files:
    """One table of the same rows in so many files.

    Attributes
    ----------
    read_seconds
        Of all rows of a month, as a check reads its window; median.
    merge_seconds
        To compact them.
    """

    files: int
    read_seconds: float
    merge_seconds: float


@dataclass(frozen=True)
class Backlog:
    """So many captured rows that wait in one outbox.

    Attributes
    ----------
    count_seconds
        To count them, as a replica does every ten seconds.
    drain_seconds
        Until the lake has them and the outbox is empty.
    """

    rows: int
    megabytes: float
    count_seconds: float
    drain_seconds: float


@dataclass(frozen=True)
class Limits:
    """Both, and the machine's load."""

    files: tuple[Files, ...]
    backlogs: tuple[Backlog, ...]
    load: float


def measure_limits(
    folder: Path,
    say: Callable[[str], None],
    *,
    rows: int = ROWS,
    files: tuple[int, ...] = FILES,
    backlogs: tuple[int, ...] = BACKLOGS,
) -> Limits:
    """The same month in more and more files; then more and more rows that wait."""
    use_case, folder = load(PROJECT / "use_cases" / "harbour_weather.yaml"), folder / "limits"
    whole = _fill(folder / "whole", use_case, rows)
    read = [_measure_files(folder / "split", use_case, whole, count, say) for count in files]
    drained = [_measure_backlog(folder / f"backlog-{count}", use_case, count, say) for count in backlogs]
    return Limits(tuple(read), tuple(drained), round(psutil.getloadavg()[0], 1))


def _fill(folder: Path, use_case: UseCase, rows: int) -> Lake:
    """A lake with a month of answers."""
    lake = Lake(folder / "lake", use_case)
    capture(folder / "outbox", use_case, rows)
    lake.ingest(folder / "outbox")
    return lake


def capture(folder: Path, use_case: UseCase, rows: int) -> Path:
    """An outbox in which so many answers of one month wait."""
    folder.mkdir(parents=True)
    path = folder / "replica-0.sqlite"
    with closing(sqlite3.connect(path, isolation_level=None)) as outbox:
        outbox.execute("PRAGMA journal_mode = WAL")
        outbox.execute(SCHEMA)
        outbox.execute("BEGIN")
        outbox.executemany(
            INSERT, ((use_case.name, "request", "r", time.time(), payload, 1) for payload in _payloads(use_case, rows))
        )
        outbox.execute("COMMIT")
    return path


def _payloads(use_case: UseCase, rows: int) -> Iterator[bytes]:
    """Answers as a replica records them; moments are spread over the month."""
    weeks = draw_weather(use_case, _MONTH.start, 6, np.random.default_rng(SEED))
    features = weeks[list(use_case.features)].to_dict("records")
    told = {"class": use_case.target.class_names[1], "probability": 0.9, "probabilities": [0.1, 0.9]}
    told |= {"model_version": 1, "code": 0, "detail": "", "raw": None}
    step = (_MONTH.end - _MONTH.start) / rows
    for number in range(rows):
        moment = (_MONTH.start + number * step).isoformat()
        row = {"id": f"row-{number}", "event_time": moment, "features": features[number % len(features)]}
        yield json.dumps(row | told).encode()


def _measure_files(folder: Path, use_case: UseCase, whole: Lake, count: int, say: Callable[[str], None]) -> Files:
    say(f"a month in {count:,} files")
    shutil.rmtree(folder, ignore_errors=True)
    lake = Lake(folder, use_case)
    table = lake.live_tables()["requests"]
    _split(table.path, whole.live_tables()["requests"].open(), count)
    seconds = []
    for _ in range(ROUNDS):
        began = time.perf_counter()
        answered = len(lake.answered(_MONTH))
        seconds.append(time.perf_counter() - began)
    extent = table.extent()
    if (answered, extent.files) != (extent.rows, count):
        raise RuntimeError(f"{answered} rows of {extent.rows} were read, from {extent.files} files")
    began = time.perf_counter()
    table.compact()
    return Files(count, statistics.median(seconds), time.perf_counter() - began)


def _split(path: Path, whole: DeltaTable | None, count: int) -> None:
    """The same rows as a table of so many files, each with an equal share of the month."""
    if whole is None:
        raise RuntimeError("there are no rows")
    rows = whole.to_pyarrow_dataset().to_table().sort_by("event_time")
    schema = whole.schema()
    table = DeltaTable.create(path, schema=schema, partition_by=["event_month"])
    month = rows["event_month"][0].as_py()
    (path / f"event_month={month}").mkdir(parents=True)
    bounds = np.linspace(0, rows.num_rows, count + 1).astype(int)
    actions = [
        _write(path, month, number, rows.slice(begin, end - begin).drop_columns("event_month"))
        for number, (begin, end) in enumerate(pairwise(bounds))
    ]
    table.create_write_transaction(actions, mode="append", schema=schema, partition_by=["event_month"])


def _write(path: Path, month: str, number: int, rows: pa.Table) -> AddAction:
    name = f"event_month={month}/part-{number:05}.parquet"
    pq.write_table(rows, path / name, compression="snappy")
    first, last = (f"{moment:%Y-%m-%dT%H:%M:%S.%fZ}" for moment in pc.min_max(rows["event_time"]).as_py().values())
    stats = {
        "numRecords": rows.num_rows,
        "minValues": {"event_time": first, "code": 0},
        "maxValues": {"event_time": last, "code": 0},
        "nullCount": {"event_time": 0, "code": 0},
    }
    size = (path / name).stat().st_size
    return AddAction(name, size, {"event_month": month}, int(time.time() * 1000), True, json.dumps(stats))


def _measure_backlog(folder: Path, use_case: UseCase, count: int, say: Callable[[str], None]) -> Backlog:
    say(f"{count:,} rows wait")
    path = capture(folder / "outbox", use_case, count)
    megabytes = path.stat().st_size / 2**20
    began = time.perf_counter()
    waiting = count_waiting(folder / "outbox", use_case.name)
    counted = time.perf_counter() - began
    began = time.perf_counter()
    report = Lake(folder / "lake", use_case).ingest(folder / "outbox")
    drained = time.perf_counter() - began
    if not waiting == report.requests == report.deleted == count:
        raise RuntimeError(f"{report} of {count} rows, {waiting} waited")
    shutil.rmtree(folder)
    return Backlog(count, megabytes, counted, drained)


def draw_limits(found: Limits) -> tuple[Table, Table]:
    """Tables for people."""
    files = Table("files of a month", "a check reads it in", "merged in", box=None)
    for one in found.files:
        files.add_row(f"{one.files:,}", f"{one.read_seconds:.2f} s", f"{one.merge_seconds:.1f} s")
    backlogs = Table("rows that wait", "outbox", "counted in", "drained in", "rows a second", "load", box=None)
    for row in found.backlogs:
        rate = row.rows / row.drain_seconds
        backlogs.add_row(
            f"{row.rows:,}", f"{row.megabytes:,.0f} MB", f"{1000 * row.count_seconds:.0f} ms",
            f"{row.drain_seconds:.1f} s", f"{rate:,.0f}", f"{found.load:g}",
        )  # fmt: skip
    return files, backlogs
