"""Records of several rows: each row is in the lake once, as a record of its own would have put it there."""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing

import pytest

from ml.records.outbox import upgrade
from ml.serving.capture import Outbox as Writer
from ml.store.ingest import IngestReport
from ml.store.lake import Lake
from ml.store.outbox import Outbox, count_waiting

#: The table as it was before a record could hold several rows.
OLD = """
CREATE TABLE captured (
    seq INTEGER PRIMARY KEY AUTOINCREMENT, use_case TEXT NOT NULL, kind TEXT NOT NULL, request_id TEXT NOT NULL,
    received_at REAL NOT NULL, payload BLOB NOT NULL
) STRICT
"""


def stored(lake) -> list[dict]:
    """Every stored request, in order of position, without the moment of its arrival."""
    rows = lake._requests.find(None)
    return sorted(({k: v for k, v in row.items() if k != "received_at"} for row in rows), key=lambda row: row["seq"])


def test_rows_of_a_batch_are_those_of_single_records(use_case, make_replica, tmp_path):
    """The same answers and refusal, captured both ways: equal rows, positions included."""
    singly, together = (make_replica(f"../{name}/one") for name in ("singly", "together"))
    event = {"hours": 0.0, "asked": None, "place": None, "detail": None}
    singly.answer("first", **event)
    for name in ("a", "c"):
        singly.answer(name, **event)
    singly.answer("b", **event, code=401, **{"class": None, "probabilities": None})
    together.answer("first", **event)
    together.answer_batch("a", "c", "b", refused=["b"])
    lakes = {name: Lake(tmp_path / f"lake of {name}", use_case) for name in ("singly", "together")}
    for name, one in lakes.items():
        assert one.ingest(tmp_path / name) == IngestReport(requests=4, deleted=4, outboxes=1)

    expected, found = ([{**row, "outbox": ""} for row in stored(one)] for one in lakes.values())

    expected[3]["detail"] = "the graph failed"
    assert found == expected
    assert [row["seq"] for row in found] == [1, 2, 3, 4]


def test_positions_go_on_behind_a_batch(replica):
    """A record bears the position of its last row; what waits is counted in rows."""
    replica.answer("a")
    replica.answer_batch(*"bcde")
    replica.answer("f")
    with Outbox(replica.path) as outbox:
        found = [(row.first, row.seq) for batch in outbox.batches("ferry", up_to=6) for row in batch]

        assert found == [(1, 1), (2, 5), (6, 6)]
        assert (outbox.newest("ferry"), outbox.count("ferry")) == (6, 6)
    assert count_waiting(replica.path.parent, "ferry") == 6


def test_the_first_record_of_a_file_may_be_a_batch(replica):
    """Positions start at 1."""
    replica.answer_batch(*"abc")
    with Outbox(replica.path) as outbox:
        (batch,) = outbox.batches("ferry", up_to=3)

    assert [(row.first, row.seq) for row in batch] == [(1, 3)]


def test_a_batch_that_was_taken_but_not_deleted_is_not_taken_again(lake, replica, outboxes, monkeypatch):
    """A crash between commit and deletion; batches larger than what is read at once are taken whole."""
    replica.answer_batch(*"abcde")
    replica.answer("f")
    replica.answer_batch(*"gh", refused=["g"])
    with monkeypatch.context() as crash:
        crash.setattr(Outbox, "delete", lambda *_, **__: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            lake.ingest(outboxes, batch_rows=2)
    assert [row["id"] for row in stored(lake)] == list("abcde")

    report = lake.ingest(outboxes, batch_rows=2)

    assert report == IngestReport(requests=3, deleted=8, outboxes=1)
    assert [(row["id"], row["code"]) for row in stored(lake)] == [
        *((name, 0) for name in "abcdef"),
        ("g", 401),
        ("h", 0),
    ]
    assert [row["seq"] for row in stored(lake)] == list(range(1, 9))
    assert replica.left() == 0


def test_deletion_of_batches_is_bounded_by_rows(replica):
    """Three of 600 rows go one by one, and what another use case or a later request wrote stays."""
    for number in range(3):
        replica.answer_batch(*(f"{number}-{i}" for i in range(600)))
    replica.answer("later")
    with Outbox(replica.path) as outbox:
        statements: list[str] = []
        outbox._connection.set_trace_callback(statements.append)
        assert outbox.delete("ferry", up_to=1_800) == 1_800

    assert sum(statement.startswith("DELETE") for statement in statements) == 3
    assert replica.left() == 1


def test_a_row_of_a_batch_that_does_not_fit_the_use_case_is_put_aside_alone(lake, replica, outboxes):
    """Its content is what a record of its own would hold; a record that is damaged is put aside whole."""
    replica.answer_batch("a", "b", sent={1: {"pier": 7}})
    replica.answer_batch("c", "d", probabilities=b"\0")

    report = lake.ingest(outboxes)

    assert report == IngestReport(requests=1, quarantined=2, deleted=4, outboxes=1)
    aside = lake.quarantined().sort_values("seq")
    assert aside["seq"].tolist() == [2, 4]
    assert aside["reason"].iloc[0].startswith("request: features.pier must be a category, got 7")
    assert aside["reason"].iloc[1] == "request: 2 rows of 2 numbers cannot have 1 bytes"
    assert json.loads(aside["content"].iloc[0])["id"] == "b"


def old_outbox(path, *names: str) -> None:
    """A file of a replica from before, with records that wait."""
    features = {"wind speed (km/h)": 1.0, "holiday": False, "pier": None}
    answer = {"event_time": None, "model_version": 1, "code": 0, "class": "late", "probabilities": [0.75, 0.25]}
    insert = (
        "INSERT INTO captured (use_case, kind, request_id, received_at, payload) VALUES ('ferry', 'request', ?, ?, ?)"
    )
    with closing(sqlite3.connect(path)) as db, db:
        db.execute(OLD)
        told = [(f"of {name}", 1e9, json.dumps(answer | {"id": name, "features": features}).encode()) for name in names]
        db.executemany(insert, told)


@pytest.mark.parametrize("replica_first", [True, False])
def test_what_waits_from_before_is_ingested_whoever_opens_the_file_first(lake, outboxes, make_replica, replica_first):
    """Three old records, then a batch behind them: nothing is lost, doubled or out of order."""
    path = outboxes / "one.sqlite"
    old_outbox(path, *"abc")
    if replica_first:
        writer = Writer(path)
        assert writer.count_rows() == 3
        writer.close()
    else:
        with Outbox(path) as outbox:
            assert outbox.count("ferry") == 3
    make_replica("one").answer_batch(*"de")

    assert lake.ingest(outboxes) == IngestReport(requests=5, deleted=5, outboxes=1)
    assert [(row["id"], row["seq"]) for row in stored(lake)] == [(name, i) for i, name in enumerate("abcde", 1)]
    assert lake.ingest(outboxes) == IngestReport(outboxes=1)


def test_two_may_upgrade_a_file_at_once(tmp_path):
    """Whoever comes second finds the column there."""
    old_outbox(tmp_path / "one.sqlite", "a")
    with closing(sqlite3.connect(tmp_path / "one.sqlite")) as db:
        upgrade(db)
        upgrade(db)

        assert db.execute("SELECT rows FROM captured").fetchall() == [(1,)]
