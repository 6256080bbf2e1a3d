"""The reading end of an outbox: order, bounds, identity, and never in a live replica's way."""

from __future__ import annotations

import sqlite3

import pytest

from ml.errors import ServiceAway
from ml.store import outbox as outbox_module
from ml.store.outbox import Outbox


def read(path, **bounds):
    """Positions per batch."""
    with Outbox(path) as outbox:
        newest = outbox.newest("ferry")
        return [[row.seq for row in batch] for batch in outbox.batches("ferry", up_to=newest, **bounds)]


def test_batches_come_in_order_and_are_bounded_by_rows(replica):
    """Seven rows in batches of three."""
    for i in range(7):
        replica.answer(f"{i}")

    assert read(replica.path, rows=3) == [[1, 2, 3], [4, 5, 6], [7]]


def test_batches_are_bounded_by_bytes_and_never_empty(replica):
    """Payloads of 1,000 bytes: two fill 1,500; one larger than the bound is a batch of its own."""
    for size in (1000, 1000, 1000, 5000):
        replica.capture("request", b"x" * size)

    assert read(replica.path, size=1500) == [[1, 2], [3, 4]]
    assert read(replica.path, size=1) == [[1], [2], [3], [4]]


def test_rows_that_arrive_meanwhile_are_left_for_the_next_time(replica):
    """Reading ends although the replica goes on."""
    replica.answer("first")
    with Outbox(replica.path) as outbox:
        newest = outbox.newest("ferry")
        replica.answer("second")

        assert [[row.seq for row in batch] for batch in outbox.batches("ferry", up_to=newest)] == [[1]]


def test_deletion_takes_only_confirmed_rows_of_the_use_case(replica, make_replica):
    """More rows than go in one transaction; the other use case's and the later ones stay."""
    other = make_replica("one", use_case="train")
    for i in range(2_500):
        replica.answer(f"{i}")
    other.answer("theirs")
    replica.answer("later")
    with Outbox(replica.path) as outbox:
        assert outbox.delete("ferry", up_to=2_500) == 2_500

    assert replica.left() == 2


def test_a_file_keeps_its_identity_and_a_new_file_gets_a_new_one(make_replica):
    """The identity is the file's, not its name's."""
    first = make_replica("one")
    with Outbox(first.path) as outbox:
        identity = outbox.identity
    with Outbox(first.path) as outbox:
        assert outbox.identity == identity
    with Outbox(make_replica("two").path) as outbox:
        assert outbox.identity != identity


def test_what_is_read_was_forced_to_disk_before(replica):
    """Replicas commit without waiting for the disk; the ingester makes them durable before it takes them."""
    replica.answer("a")
    with Outbox(replica.path) as outbox:
        statements: list[str] = []
        outbox._connection.set_trace_callback(statements.append)
        next(outbox.batches("ferry", up_to=1))

    full, fence, read_rows = (
        next(i for i, statement in enumerate(statements) if word in statement)
        for word in ("synchronous = FULL", "UPDATE ingested", "FROM captured")
    )
    assert full < fence < read_rows


def test_an_outbox_that_stays_locked_is_named(replica, monkeypatch):
    """A writer that never ends its transaction; the ingester gives up with the file's name."""
    monkeypatch.setattr(outbox_module, "_BUSY_MILLISECONDS", 50)
    replica.answer("a")
    replica.execute("BEGIN IMMEDIATE")

    with pytest.raises(ServiceAway, match=r"outbox does not answer; where: .*one\.sqlite; got: database is locked"):
        read(replica.path)


def test_an_absent_outbox_is_not_made(tmp_path):
    """A file that went away is not left behind empty."""
    with pytest.raises(ServiceAway), Outbox(tmp_path / "gone.sqlite"):
        pass
    assert list(tmp_path.iterdir()) == []


def test_odd_file_names_are_just_names(tmp_path, make_replica):
    """Characters that mean something in a URI mean nothing here."""
    replica = make_replica("odd ?#%20 name")
    replica.answer("a")

    assert read(replica.path) == [[1]]
    assert sqlite3.connect(replica.path).execute("SELECT count(*) FROM ingested").fetchone() == (1,)
