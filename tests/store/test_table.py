"""One Delta table: conflicts are noticed, windows skip files, small files do not pile up."""

from __future__ import annotations

import json
import multiprocessing
import threading
from collections import Counter
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from deltalake import CommitProperties, DeltaTable, Transaction, write_deltalake
from deltalake.exceptions import CommitFailedError, DeltaError
from deltalake.table import TableOptimizer

from ml.errors import DataError
from ml.records.measure import Window
from ml.store import table as table_module
from ml.store.table import OPEN_PARTITIONS, SMALL_FILES, LakeTable

SCHEMA = pa.schema([("seq", pa.int64()), ("month", pa.string())])


def rows(*positions: int, month: str = "2013-03") -> pa.Table:
    """Rows at these positions."""
    return pa.table({"seq": list(positions), "month": [month] * len(positions)}, schema=SCHEMA)


def positions(table: LakeTable) -> list[int]:
    """Positions of all stored rows."""
    return sorted(table.read(["seq"])["seq"].to_pylist())


@pytest.fixture
def table(tmp_path: Path) -> LakeTable:
    """A table that does not exist yet."""
    return LakeTable(tmp_path / "rows", SCHEMA, partition="month")


def test_delta_refuses_a_second_commit_of_one_application_on_the_same_snapshot(table):
    """What exactly-once rests on, shown on the installed library itself: the later commit does not happen."""
    table.append_once(rows(1), app_id="x")
    first, second = DeltaTable(table.path), DeltaTable(table.path)
    properties = CommitProperties(app_transactions=[Transaction("x", 2)])
    write_deltalake(first, rows(2), mode="append", commit_properties=properties)

    with pytest.raises(CommitFailedError, match="Concurrent transaction"):
        write_deltalake(second, rows(2), mode="append", commit_properties=properties)
    assert positions(table) == [1, 2]


def test_applications_do_not_disturb_each_other(table):
    """Two outboxes commit on the same snapshot; both commits happen."""
    table.append_once(rows(1), app_id="x")
    first, second = DeltaTable(table.path), DeltaTable(table.path)
    for snapshot, app in ((first, "x"), (second, "y")):
        transaction = CommitProperties(app_transactions=[Transaction(app, 2)])
        write_deltalake(snapshot, rows(2), mode="append", commit_properties=transaction)

    assert positions(table) == [1, 2, 2]


def test_an_append_that_was_overtaken_looks_again_and_adds_only_what_is_new(table, monkeypatch):
    """Another ingester commits rows 1 and 2 between our look and our commit; ours adds row 3 alone."""
    original = table_module.write_deltalake

    def overtaken(snapshot, *args, **kwargs):
        monkeypatch.setattr(table_module, "write_deltalake", original)
        LakeTable(table.path, SCHEMA, partition="month").append_once(rows(1, 2), app_id="x")
        return original(snapshot, *args, **kwargs)

    monkeypatch.setattr(table_module, "write_deltalake", overtaken)

    assert table.append_once(rows(1, 2, 3), app_id="x") == 1
    assert positions(table) == [1, 2, 3]


USES = {
    "append": lambda table: table.append_once(rows(5), app_id="x"),
    "read": lambda table: table.read(["seq"]),
    "delete": lambda table: table.delete("seq = 1"),
    "compact": lambda table: table.compact(),
}


@pytest.mark.parametrize("use", USES)
@pytest.mark.parametrize("missed", [f"{3:020}.json", f"{2:020}.checkpoint.parquet"])
def test_a_log_that_was_listed_while_others_wrote_to_it_is_read_again(table, use, missed):
    """A file that a listing misses, for 50 ms: a commit in the middle, or the checkpoint that the log names."""
    for position in (1, 2):
        table.append_once(rows(position), app_id="x")
    DeltaTable(table.path).create_checkpoint()
    for position in (3, 4):
        table.append_once(rows(position), app_id="x")
    file = table.path / "_delta_log" / missed
    hidden = file.rename(table.path / missed)
    back = threading.Timer(0.05, lambda: hidden.rename(file))
    back.start()

    USES[use](table)

    back.join()
    assert positions(table) == {"append": [1, 2, 3, 4, 5], "delete": [2, 3, 4]}.get(use, [1, 2, 3, 4])


def test_what_was_committed_before_the_log_seemed_broken_is_not_written_again(table, monkeypatch):
    """The library reads the log once more after its commit, and that reading may fail."""
    table.append_once(rows(1), app_id="x")
    original = table_module.write_deltalake

    def broken(snapshot, *args, **kwargs):
        monkeypatch.setattr(table_module, "write_deltalake", original)
        original(snapshot, *args, **kwargs)
        raise DeltaError("Expected contiguous commit files, but found gap")

    monkeypatch.setattr(table_module, "write_deltalake", broken)

    table.append_once(rows(1, 2), app_id="x")

    assert positions(table) == [1, 2]


def test_the_position_survives_checkpoints_and_the_deletion_of_old_log_files(table):
    """Delta forgets old commits after a checkpoint, and must not forget how far an outbox was taken."""
    table.append_once(rows(1), app_id="x")
    stored = DeltaTable(table.path)
    stored.alter.set_table_properties({"delta.logRetentionDuration": "interval 0 seconds"})
    for i in range(2, 6):
        table.append_once(rows(i), app_id="y")
    stored = DeltaTable(table.path)
    stored.create_checkpoint()
    stored.cleanup_metadata()

    assert not (table.path / "_delta_log" / f"{1:020}.json").exists()
    assert table.append_once(rows(1), app_id="x") == 0


def test_a_window_is_read_without_opening_files_of_other_months(lake, replica, outboxes, tmp_path):
    """The files of April are destroyed; March is read all the same, April is not."""
    march, april = datetime(2013, 3, 1, tzinfo=UTC), datetime(2013, 4, 10, tzinfo=UTC)
    replica.answer("march", hours=1)
    replica.answer("april", hours=24 * 45)
    lake.ingest(outboxes)
    (damaged,) = (tmp_path / "lake" / "ferry" / "requests").glob("event_month=2013-04/*.parquet")
    damaged.write_bytes(b"destroyed")

    assert lake.answered(Window(start=march, end=march + timedelta(days=7)))["id"].tolist() == ["march"]
    with pytest.raises(DataError, match="requests"):
        lake.answered(Window(start=april, end=april + timedelta(days=7)))


def test_small_files_do_not_pile_up_and_no_row_or_position_changes(lake, replica, outboxes):
    """Forty ingests leave a handful of files per month; a compacted table still knows how far it has taken."""
    for i in range(40):
        replica.answer(f"{i:02}", hours=i * 24)
        lake.ingest(outboxes)

    files = Counter(Path(uri).parent.name for uri in lake._requests.open().file_uris())
    assert set(files) == {"event_month=2013-03", "event_month=2013-04"}
    assert max(files.values()) <= SMALL_FILES
    assert sorted(lake._requests.read(["id"])["id"].to_pylist()) == [f"{i:02}" for i in range(40)]
    assert lake.ingest(outboxes).requests == 0


def test_years_end_as_a_file_a_month_and_few_commits_are_replayed(table):
    """Four appends a month for three years: the cost of opening the table must not grow with its history."""
    months = [f"{year}-{month:02}" for year in (2011, 2012, 2013) for month in range(1, 13)]
    for i, month in enumerate(months):
        for part in range(4):
            table.append_once(rows(4 * i + part + 1, month=month), app_id="x")
            table.compact()

    files = Counter(Path(uri).parent.name.removeprefix("month=") for uri in table.open().file_uris())
    assert {files[month] for month in months[:-OPEN_PARTITIONS]} == {1}
    assert max(files.values()) <= SMALL_FILES
    assert positions(table) == list(range(1, 4 * len(months) + 1))
    log = table.path / "_delta_log"
    newest = json.loads((log / "_last_checkpoint").read_text())["version"]
    assert table.open().version() - newest <= 4 * (OPEN_PARTITIONS + 1)


def test_a_row_that_comes_years_late_is_merged_into_its_month(table):
    """And nothing else is rewritten."""
    for i, month in enumerate(["2011-01", "2012-01", "2013-01", "2013-02"]):
        table.append_once(rows(i + 1, month=month), app_id="x")
    before = set(table.open().file_uris())
    table.append_once(rows(9, month="2011-01"), app_id="x")

    assert table.compact() == 2
    files = table.open().file_uris()
    assert len(files) == 4
    assert len(before & set(files)) == 3
    assert positions(table) == [1, 2, 3, 4, 9]


def test_a_large_file_is_not_written_again_with_every_few_small_ones(table, monkeypatch):
    """Else the time of an ingest grows with what the month holds already."""
    monkeypatch.setattr(table_module, "SMALL_FILE_BYTES", 20_000)
    many = np.unique(np.random.default_rng(1).integers(1, 10**15, 10_000)).tolist()
    table.append_once(rows(*many), app_id="x")
    (large,) = table.open().file_uris()
    for i in range(SMALL_FILES):
        table.append_once(rows(10**15 + i), app_id="x")

    assert table.compact() == SMALL_FILES
    assert large in table.open().file_uris()
    assert len(table.open().file_uris()) == 2
    assert positions(table) == [*many, *(10**15 + i for i in range(SMALL_FILES))]


@pytest.mark.slow
def test_compactions_at_once_double_no_row(table):
    """delta-rs lets two of them both succeed on the same files; ours stand in line."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["ml.store.lake"])
    for attempt in range(8):
        for i in range(SMALL_FILES):
            table.append_once(rows(attempt * SMALL_FILES + i + 1), app_id="x")
        three = [context.Process(target=table.compact) for _ in range(3)]
        for process in three:
            process.start()
        for process in three:
            process.join(60)

        assert [process.exitcode for process in three] == [0, 0, 0]
        assert positions(table) == list(range(1, (attempt + 1) * SMALL_FILES + 1))
    assert len(table.open().file_uris()) < SMALL_FILES


def test_a_locked_table_is_not_compacted_and_nobody_waits(table):
    """While another process compacts, ours does nothing; afterwards it does."""
    for i in range(SMALL_FILES):
        table.append_once(rows(i + 1), app_id="x")

    with table_module._alone(table.path) as alone:
        assert alone
        assert table.compact() == 0
    assert table.compact() == SMALL_FILES


def test_what_was_merged_is_on_disk_before_anything_relies_on_it(table, monkeypatch):
    """Its rows have left the outbox long ago; what the system call was asked for is counted."""
    for i in range(SMALL_FILES):
        table.append_once(rows(i + 1), app_id="x")
    flushed = []
    monkeypatch.setattr(table_module, "flush_commit", lambda path, version: flushed.append(version))
    before = table.open().version()

    assert table.compact() == SMALL_FILES
    assert flushed == [before + 1]


def test_a_merge_that_was_committed_before_the_log_seemed_broken_doubles_no_row(table, monkeypatch):
    """It is looked again: nothing is left to merge, and what was merged is forced to disk all the same."""
    for position in range(1, SMALL_FILES + 1):
        table.append_once(rows(position), app_id="x")
    before, flushed, original = DeltaTable(table.path).version(), [], TableOptimizer.compact

    def broken(self, **options):
        monkeypatch.setattr(TableOptimizer, "compact", original)
        original(self, **options)
        raise DeltaError("Expected contiguous commit files, but found gap")

    monkeypatch.setattr(TableOptimizer, "compact", broken)
    monkeypatch.setattr(table_module, "flush_commit", lambda _, version: flushed.append(version))

    table.compact()

    assert positions(table) == list(range(1, SMALL_FILES + 1))
    assert flushed == [before + 1]
    assert table.extent().files == 1


def test_an_absent_table_has_no_rows(table):
    """Before the first ingest there is nothing, and reading says so with the right columns."""
    assert table.read(["seq", "month"]).schema == SCHEMA
    assert table.compact() == 0


def test_a_damaged_log_is_one_clear_error(table):
    """The message names the table and holds no native stack trace."""
    log = table.path / "_delta_log"
    log.mkdir(parents=True)
    (log / f"{0:020}.json").write_text("garbage{")

    with pytest.raises(DataError, match="lake table cannot be used") as raised:
        table.read(["seq"])
    assert "\n" not in str(raised.value)
    assert str(table.path) in str(raised.value)
