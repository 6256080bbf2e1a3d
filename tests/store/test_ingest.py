"""Ingestion: what was captured is in the lake once, and only then gone from the outbox."""

from __future__ import annotations

import json
import threading
import time
from collections import Counter
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pytest

from ml.errors import DataError, PerennialError
from ml.records.measure import Window
from ml.store.ingest import IngestReport
from ml.store.lake import Lake
from ml.store.layout import LABELS, requests_schema
from ml.use_case import UseCase

START = datetime(2013, 3, 1, tzinfo=UTC)
FEATURES = {"wind speed (km/h)": 1.0, "holiday": False, "pier": None}
ALL = Window(start=datetime(1970, 1, 1, tzinfo=UTC), end=datetime(2100, 1, 1, tzinfo=UTC))


def stored_ids(lake: Lake) -> list[str]:
    """Ids of every stored request, repeated ones included."""
    return sorted(lake._requests.read(["id"])["id"].to_pylist())


def test_every_kind_of_row_lands_in_its_table_and_leaves_the_outbox(lake, replica, outboxes):
    """Three answers, a refusal, two labels and one unreadable payload are counted by hand."""
    for i in range(3):
        replica.answer(f"row {i}", hours=i)
    replica.refuse("bad", 202)
    replica.label("row 0", "late")
    replica.label("row 1", "on time")
    replica.capture("request", b"{not json")

    report = lake.ingest(outboxes)

    assert report == IngestReport(requests=4, labels=2, quarantined=1, deleted=7, outboxes=1)
    assert replica.left() == 0
    assert stored_ids(lake) == ["bad", "row 0", "row 1", "row 2"]
    assert lake.quarantined()["content"].tolist() == ["{not json"]


def test_a_second_ingest_finds_nothing(lake, replica, outboxes):
    """What was taken once is not taken again."""
    replica.answer("a")
    lake.ingest(outboxes)

    assert lake.ingest(outboxes) == IngestReport(outboxes=1)
    assert stored_ids(lake) == ["a"]


def test_rows_that_stayed_in_the_outbox_after_their_commit_are_only_deleted(lake, replica, outboxes, monkeypatch):
    """A crash between the commit and the deletion leaves the rows in the outbox; the lake knows them."""
    replica.answer("a")
    replica.label("a", "late")
    with monkeypatch.context() as patch:
        patch.setattr("ml.store.outbox.Outbox.delete", lambda *_, **__: 0)
        lake.ingest(outboxes)
    assert replica.left() == 2

    assert lake.ingest(outboxes) == IngestReport(deleted=2, outboxes=1)
    assert stored_ids(lake) == ["a"]


def test_values_arrive_as_they_were_captured(lake, replica, outboxes):
    """Numbers, booleans, categories, missing values, times and probabilities survive to the last digit."""
    features = {"wind speed (km/h)": 0.1 + 0.2, "holiday": True, "pier": None}
    replica.answer("a", hours=1.5, features=features, probabilities=[1 / 3, 2 / 3], model_version=7)
    lake.ingest(outboxes)

    row = lake.answered(ALL).iloc[0]

    assert (row["wind speed (km/h)"], row["holiday"], row["pier"]) == (0.1 + 0.2, 1.0, None)
    assert (row["p_0"], row["p_1"], row["model_version"], row["predicted"]) == (1 / 3, 2 / 3, 7, "late")
    assert row["event_time"] == pd.Timestamp("2013-03-01T01:30:00Z")
    assert row["received_at"] == pd.Timestamp("2026-01-01T00:00:00Z")


@pytest.mark.parametrize("text", ["\u2028", "\u2029", "\x85", "\x0b", "\x1c", "\r", "\n", "\x00", "\ufeff"])
def test_a_text_that_ends_a_line_somewhere_is_a_text_like_any_other(lake, replica, outboxes, text):
    """Ids and categories may hold it; the table's own log, which has the least and largest of them, is read."""
    pier = {"wind speed (km/h)": 1.0, "holiday": False, "pier": f"a{text}b"}
    replica.answer(f"row{text}1", features=pier)

    report = lake.ingest(outboxes)

    assert (report.requests, report.deleted) == (1, 1)
    stored = lake.answered(ALL)
    assert stored[["id", "pier"]].values.tolist() == [[f"row{text}1", f"a{text}b"]]


def _schema_before_degraded_answers(use_case: UseCase) -> pa.Schema:
    schema = requests_schema(use_case)
    return schema.remove(schema.get_field_index("degraded_code"))


def test_a_degraded_answer_keeps_who_answered_and_the_code_of_the_failure(lake, replica, outboxes, monkeypatch):
    """Answered rows count as answers of that version; the column is added to a table that was made without it."""
    replica.answer("a", model_version=7)
    with monkeypatch.context() as patch:
        patch.setattr("ml.store.lake.requests_schema", _schema_before_degraded_answers)
        Lake(lake._folder.parent, lake._use_case).ingest(outboxes)
    payload = {"id": "b", "event_time": None, "model_version": 6, "code": 0, "class": "late"}
    values = {"probabilities": [0.75, 0.25], "features": FEATURES, "degraded_code": 401}
    replica.capture("request", json.dumps(payload | values).encode())
    lake.ingest(outboxes)

    stored = lake._requests.read(["id", "model_version", "code", "degraded_code"]).to_pylist()

    assert sorted(tuple(row.values()) for row in stored) == [("a", 7, 0, None), ("b", 6, 0, 401)]
    assert sorted(lake.answered(ALL)["id"]) == ["a", "b"]


def test_a_row_without_event_time_happened_when_it_was_received(lake, replica, outboxes):
    """A client that gives no event time lives in the present."""
    replica.answer("a", event_time=None)
    lake.ingest(outboxes)

    assert lake.answered(ALL)["event_time"].tolist() == [pd.Timestamp("2026-01-01T00:00:00Z")]


def test_only_rows_of_the_own_use_case_are_taken(lake, make_replica, outboxes):
    """One outbox serves several use cases; each lake takes its own and leaves the others."""
    ferry = make_replica("one")
    other = make_replica("one", use_case="train")
    ferry.answer("mine")
    other.answer("yours")
    other.capture("label", b"garbage")

    assert lake.ingest(outboxes) == IngestReport(requests=1, deleted=1, outboxes=1)
    assert ferry.left() == 2


def test_several_outboxes_are_taken_each_with_its_own_sequence(lake, make_replica, outboxes):
    """Two replicas use the same positions for different rows."""
    for name in ("one", "two"):
        make_replica(name).answer(name)

    assert lake.ingest(outboxes).requests == 2
    assert stored_ids(lake) == ["one", "two"]


def test_an_outbox_made_anew_under_the_same_name_is_another_one(lake, make_replica, outboxes):
    """Its positions start at 1 again; its rows are new all the same."""
    first = make_replica("one")
    first.answer("old 1")
    first.answer("old 2")
    lake.ingest(outboxes)
    first.close()
    for file in outboxes.iterdir():
        file.unlink()
    make_replica("one").answer("new 1")

    assert lake.ingest(outboxes).requests == 1
    assert stored_ids(lake) == ["new 1", "old 1", "old 2"]


def test_an_outbox_restored_from_a_copy_doubles_nothing(lake, replica, outboxes, tmp_path):
    """A copy made before the ingest still holds the rows that the lake has; they carry the same identity."""
    replica.answer("early")
    lake.ingest(outboxes)
    replica.answer("a")
    replica.execute(f"VACUUM INTO '{tmp_path / 'copy.sqlite'}'")
    lake.ingest(outboxes)
    replica.close()
    for file in outboxes.iterdir():
        file.unlink()
    (tmp_path / "copy.sqlite").rename(outboxes / "one.sqlite")

    assert lake.ingest(outboxes) == IngestReport(deleted=1, outboxes=1)
    assert stored_ids(lake) == ["a", "early"]


def test_an_outbox_without_its_table_yet_is_skipped(lake, outboxes):
    """A replica that is just starting has made the file and not yet the table."""
    (outboxes / "young.sqlite").touch()

    assert lake.ingest(outboxes) == IngestReport(outboxes=1)


def test_no_folder_is_nothing_to_do(lake, tmp_path):
    """Before the first replica starts there is no outbox folder."""
    assert lake.ingest(tmp_path / "absent") == IngestReport()


def test_a_damaged_outbox_is_named_after_the_others_were_taken(lake, make_replica, outboxes):
    """One broken file must not keep the other replicas' rows out, nor go unnoticed."""
    (outboxes / "a broken.sqlite").write_bytes(b"this is no database" * 1000)
    make_replica("whole").answer("a")

    with pytest.raises(DataError, match=r"outbox is damaged; where: .*a broken.sqlite"):
        lake.ingest(outboxes)
    assert stored_ids(lake) == ["a"]


def test_a_feature_that_changed_its_type_stops_the_ingest_and_loses_nothing(
    lake, replica, outboxes, tmp_path, use_case
):
    """The lake holds pier as text; a file that calls it a number gets an error that names the column."""
    replica.answer("a")
    lake.ingest(outboxes)
    changed = use_case.model_dump(mode="json")
    changed["features"]["pier"] = {"type": "number", "nullable": True}
    replica.answer("b", features={"wind speed (km/h)": 1.0, "holiday": False, "pier": 3.0})

    with pytest.raises(DataError, match=r"another type.*pier.*string in the table, double by"):
        Lake(tmp_path / "lake", UseCase.model_validate(changed)).ingest(outboxes)
    assert replica.left() == 1


def test_a_new_feature_gets_its_column_and_old_rows_lack_it(lake, replica, outboxes, tmp_path, use_case):
    """A use case file may grow; the rows from before have missing values there."""
    replica.answer("a")
    lake.ingest(outboxes)
    changed = use_case.model_dump(mode="json")
    changed["features"]["tide"] = {"type": "number", "nullable": True}
    grown = Lake(tmp_path / "lake", UseCase.model_validate(changed))
    assert grown.answered(ALL)["tide"].isna().tolist() == [True]  # read before it is in the table

    features = {"wind speed (km/h)": 1.0, "holiday": False, "pier": "A", "tide": 2.0}
    replica.answer("b", hours=1, features=features)
    grown.ingest(outboxes)

    assert grown.answered(ALL)["tide"].tolist()[1] == 2.0
    assert pd.isna(grown.answered(ALL)["tide"][0])


def test_batches_bound_what_is_in_memory_and_lose_nothing(lake, replica, outboxes, monkeypatch):
    """23 rows in batches of 5 are five commits."""
    for i in range(23):
        replica.answer(f"{i:02}")

    assert lake.ingest(outboxes, batch_rows=5) == IngestReport(requests=23, deleted=23, outboxes=1)
    assert stored_ids(lake) == [f"{i:02}" for i in range(23)]
    writes = [entry for entry in lake._requests.open().history() if entry["operation"] == "WRITE"]
    assert len(writes) == 5


def test_a_replica_writes_on_while_it_is_ingested(lake, replica, outboxes):
    """The outbox is live: writing never fails, and what came too late is taken by the next ingest."""
    stop, written, failures = threading.Event(), [], []

    def write() -> None:
        try:
            while not stop.is_set():
                replica.answer(f"{len(written):05}")
                written.append(f"{len(written):05}")
                time.sleep(0.0005)
        except Exception as error:  # any failure of the writer fails the test
            failures.append(error)

    writer = threading.Thread(target=write)
    writer.start()
    try:
        while len(written) < 500:
            lake.ingest(outboxes)
    finally:
        stop.set()
        writer.join()
    lake.ingest(outboxes)

    assert failures == []
    assert stored_ids(lake) == written
    assert replica.left() == 0


def test_a_folder_that_cannot_be_written_is_one_clear_error(replica, outboxes, tmp_path, use_case):
    """A file stands where the lake's folder should be; the rows stay in the outbox."""
    (tmp_path / "taken").write_text("a file")
    replica.answer("a")

    with pytest.raises(PerennialError, match="lake table"):
        Lake(tmp_path / "taken", use_case).ingest(outboxes)
    assert replica.left() == 1


def test_every_column_that_the_lake_adds_is_reserved_in_the_use_case_file(use_case):
    """A feature can never meet a column of the lake under one name."""
    from ml.use_case.columns import RESERVED_COLUMNS

    added = set(requests_schema(use_case).names) - set(use_case.features)
    assert added <= RESERVED_COLUMNS
    assert "label" in RESERVED_COLUMNS
    assert "label" in LABELS.names


def test_ids_may_repeat_and_the_lake_keeps_every_answer(lake, replica, outboxes):
    """A retry is another answer; readers count it once, the lake twice."""
    for _ in range(3):
        replica.answer("a")
    lake.ingest(outboxes)

    assert Counter(stored_ids(lake)) == {"a": 3}
    assert lake.answered(Window(start=START, end=START + timedelta(hours=1)))["id"].tolist() == ["a"]


def test_a_missing_data_file_is_named(lake, replica, outboxes, tmp_path: Path):
    """A lake that lost a file says so instead of answering with fewer rows."""
    replica.answer("a")
    lake.ingest(outboxes)
    for file in (tmp_path / "lake" / "ferry" / "requests").rglob("*.parquet"):
        file.unlink()

    with pytest.raises(DataError, match="requests"):
        lake.answered(ALL)
