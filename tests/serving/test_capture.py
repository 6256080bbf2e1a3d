"""The outbox on a real disk: what append returned for is there, and what could not be written is heard of."""

import asyncio
import contextlib
import os
import resource
import sqlite3
import subprocess
import sys
import threading
import time
from pathlib import Path

import psutil
import pytest

from ml.errors import StackError
from ml.serving import capture
from ml.serving.capture import CaptureError, Outbox


@pytest.fixture
def path(tmp_path):
    """File of an outbox that is not there yet, in a folder that is not there either."""
    return tmp_path / "outbox" / "replica-0.sqlite"


@pytest.fixture
def outbox(path):
    """An open outbox."""
    opened = Outbox(path)
    yield opened
    opened.close()


@contextlib.contextmanager
def reader(path):
    """Another connection to the file."""
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as db:
        yield db


def rows(path) -> list[tuple]:
    """Everything in the file, in order."""
    with reader(path) as db:
        return db.execute("SELECT use_case, kind, request_id, payload FROM captured ORDER BY seq").fetchall()


def append(outbox, *names: str, use_case: str = "quay") -> list[BaseException | None]:
    """Append one row per name, all in the same tick; what became of each."""

    async def together() -> list[BaseException | None]:
        waiting = (outbox.append(use_case, "request", name, [name.encode()]) for name in names)
        return await asyncio.gather(*waiting, return_exceptions=True)

    return asyncio.run(together())


def test_rows_are_on_disk_when_append_returns(outbox, path):
    """Another process sees them, in order, with the moment of their arrival."""
    before = time.time()
    assert append(outbox, "a", "b") == [None, None]

    assert rows(path) == [("quay", "request", "a", b"a"), ("quay", "request", "b", b"b")]
    with reader(path) as db:
        assert all(before <= at <= time.time() for (at,) in db.execute("SELECT received_at FROM captured"))
    assert outbox.count_rows() == 2


def test_rows_of_one_record_have_positions_of_their_own(outbox, path):
    """Records of one, three and one row, then another file: the last position of each, and rows that wait."""

    async def put() -> None:
        for name, n in (("a", 1), ("b", 3), ("c", 1)):
            outbox.put("quay", "request", name, [name.encode()], lambda fault: None, rows=n)

    asyncio.run(put())

    with reader(path) as db:
        found = db.execute("SELECT request_id, seq, rows FROM captured ORDER BY seq").fetchall()
    assert found == [("a", 1, 1), ("b", 4, 3), ("c", 5, 1)]
    assert outbox.count_rows() == 5


def test_an_ingester_that_is_writing_when_a_replica_starts_is_waited_for(outbox, path):
    """A tenth of a second is no reason not to start."""
    with contextlib.closing(sqlite3.connect(path, isolation_level=None, check_same_thread=False)) as other:
        other.execute("BEGIN IMMEDIATE")
        ended = threading.Timer(0.1, other.execute, ["COMMIT"])
        ended.start()
        second = Outbox(path)
        ended.join()

    assert append(second, "a") == [None]
    second.close()


def test_requests_of_one_tick_share_one_commit(outbox):
    """Fifty that wait together cost one transaction."""
    seen = []
    outbox._db.set_trace_callback(seen.append)

    append(outbox, *(str(i) for i in range(50)))

    assert seen.count("COMMIT") == 1
    assert sum(statement.startswith("INSERT") for statement in seen) == 50


def test_rows_survive_without_a_close(path):
    """A second outbox on the same file, as after a kill, goes on where the first stopped."""
    first = Outbox(path)
    append(first, "a")
    second = Outbox(path)
    append(second, "b")

    assert [row[2] for row in rows(path)] == ["a", "b"]
    first.close()
    second.close()


def test_the_log_begins_anew_although_something_is_always_written(outbox, path, monkeypatch):
    """Rows of 4 KiB without a pause, and somebody who carries over: the log is shorter than half of them."""
    monkeypatch.setattr(capture, "_RESTART_PAGES", 100)
    over = threading.Event()

    def carry() -> None:
        while not over.is_set():
            outbox.sync()

    async def write(rows: int) -> None:
        for number in range(rows):
            await outbox.append("quay", "request", f"r-{number}", [bytes(4_096)])

    carrier = threading.Thread(target=carry)
    carrier.start()
    try:
        asyncio.run(write(20_000))
    finally:
        over.set()
        carrier.join()

    assert path.with_name(f"{path.name}-wal").stat().st_size < 20_000 * 4_096 / 2


def test_nobody_waits_for_what_can_be_forced_to_disk_before(outbox, path, monkeypatch):
    """The file itself is forced, log after file, before the log is closed to writers; by then rows still go in."""
    monkeypatch.setattr(capture, "_RESTART_PAGES", 10)
    forced, connect = list[str](), outbox._connect_beside
    real = os.fdatasync

    def force(handle):
        name = Path(f"/proc/self/fd/{handle if isinstance(handle, int) else handle.fileno()}").readlink().name
        forced.append(name)
        append(outbox, bytes(100).hex())  # would be refused while somebody keeps writers out
        real(handle)

    def watch():
        beside = connect()
        beside.set_trace_callback(lambda statement: forced.append(statement.partition("(")[2].rstrip(")")))
        return beside

    append(outbox, *(str(number) * 4_000 for number in range(20)))
    monkeypatch.setattr(capture.os, "fdatasync", force)
    monkeypatch.setattr(outbox, "_connect_beside", watch)

    outbox.sync()

    assert forced == [f"{path.name}-wal", "PASSIVE", path.name, "RESTART"]


COUNT = """
import contextlib, sqlite3, sys
with contextlib.closing(sqlite3.connect(sys.argv[1])) as db:
    print(db.execute("SELECT count(*) FROM captured").fetchone()[0])
"""


def test_who_comes_and_goes_leaves_the_log_to_its_owner(outbox, path, monkeypatch):
    """SQLite's last one removes the log, and must see that it is not the last: rows written after that are there."""
    monkeypatch.setattr(capture, "_RESTART_PAGES", 0)
    counts = []
    for _ in range(2):
        append(outbox, *(str(number) for number in range(50)))
        outbox.sync()
        told = subprocess.run([sys.executable, "-c", COUNT, str(path)], capture_output=True, text=True, check=True)
        counts.append(int(told.stdout))

    assert counts == [50, 100]
    assert path.with_name(f"{path.name}-wal").exists()


def test_others_are_served_while_an_ingester_writes(outbox, path):
    """A lock of 0.3 s delays the append, not the event loop; then everything that waited is written at once."""

    async def wait_out() -> tuple[int, float]:
        with reader(path) as ingester:
            ingester.execute("BEGIN IMMEDIATE")
            waiting = [asyncio.create_task(outbox.append("quay", "request", str(i), [b"x"])) for i in range(5)]
            started, ticks = time.monotonic(), 0
            while time.monotonic() - started < 0.3:
                await asyncio.sleep(0.005)
                ticks += 1
            assert not any(task.done() for task in waiting)
            waiting.append(asyncio.create_task(outbox.append("quay", "request", "late", [b"x"])))
            ingester.execute("COMMIT")
        await asyncio.gather(*waiting)
        return ticks

    assert asyncio.run(wait_out()) > 20
    assert [row[2] for row in rows(path)] == ["0", "1", "2", "3", "4", "late"]


def test_lock_that_is_kept_refuses_what_waits(outbox, path, monkeypatch):
    """After the patience is over the requests hear of it; later ones are written."""
    monkeypatch.setattr(capture, "PATIENCE_SECONDS", 0.05)
    with reader(path) as ingester:
        ingester.execute("BEGIN IMMEDIATE")
        failed = append(outbox, "a", "b")
        ingester.execute("ROLLBACK")

    assert [type(error) for error in failed] == [CaptureError, CaptureError]
    assert append(outbox, "c") == [None]
    assert [row[2] for row in rows(path)] == ["c"]


def test_dropped_table_is_heard_of(outbox, path):
    """Nothing is written, nobody is left waiting."""
    with reader(path) as saboteur:
        saboteur.execute("DROP TABLE captured")

    (error,) = append(outbox, "a")

    assert isinstance(error, CaptureError)
    assert "no such table" in str(error)
    assert outbox.count_rows() != outbox.count_rows()  # not a number


def test_full_disk_is_heard_of_and_gets_over(outbox, path):
    """A transaction that does not fit leaves nothing behind; with room again, rows are written."""
    pages = outbox._db.execute("PRAGMA page_count").fetchone()[0]
    outbox._db.execute(f"PRAGMA max_page_count = {pages}")
    (error,) = append(outbox, "x" * 100_000)
    outbox._db.execute(f"PRAGMA max_page_count = {pages + 1000}")

    assert "full" in str(error)
    assert append(outbox, "b") == [None]
    assert [row[2] for row in rows(path)] == ["b"]


def test_file_that_was_moved_away_is_made_anew(outbox, path):
    """Rows do not vanish into a file that no ingester looks at."""
    append(outbox, "a")
    for name in ("", "-wal", "-shm"):
        path.with_name(path.name + name).rename(path.with_name("taken" + name))

    assert append(outbox, "b") == [None]
    assert [row[2] for row in rows(path)] == ["b"]


def test_folder_that_went_away_refuses_until_it_is_back(outbox, path):
    """There is nowhere to write to meanwhile, and no restart is needed afterwards."""
    moved = path.parent.with_name("away")
    path.parent.rename(moved)
    (error,) = append(outbox, "a")
    moved.rename(path.parent)

    assert isinstance(error, CaptureError)
    assert append(outbox, "b") == [None]
    assert [row[2] for row in rows(path)] == ["b"]


def test_rows_of_no_use_case_are_kept_up_to_a_number(outbox, path, monkeypatch):
    """The newest stay; rows of a use case are never pruned."""
    monkeypatch.setattr(capture, "UNROUTED_KEPT", 30)
    monkeypatch.setattr(capture, "_PRUNED_EVERY", 10)
    append(outbox, "mine")

    for i in range(100):
        append(outbox, str(i), use_case="")

    kept = [row[2] for row in rows(path) if row[0] == ""]
    assert kept == [str(i) for i in range(100 - len(kept), 100)]
    assert 30 <= len(kept) < 40
    assert rows(path)[0][2] == "mine"


@pytest.mark.parametrize("fault", ["folder is a file", "file is a folder", "file is no database"])
def test_outbox_that_cannot_be_written_is_refused_at_once(path, fault):
    """The error names the file."""
    if fault == "folder is a file":
        path.parent.write_text("")
    elif fault == "file is a folder":
        path.mkdir(parents=True)
    else:
        path.parent.mkdir()
        path.write_text("no database, but longer than a hundred bytes, which is what SQLite looks at first" * 3)

    with pytest.raises(StackError, match=r"outbox cannot be written; where: .*replica-0.sqlite"):
        Outbox(path)


def test_a_replica_that_cannot_record_is_not_ready_until_it_can(service, installation, row_of):
    """A quota of one byte: rows are refused with 501; lifted, it is ready before anybody asks for another row."""
    installation.release("quay", version=1, weight=0.1)
    service.start()
    row = row_of(installation.use_cases["quay"])
    process = psutil.Process(service.process.pid)
    before = process.rlimit(resource.RLIMIT_FSIZE)

    with service.client() as client:
        process.rlimit(resource.RLIMIT_FSIZE, (1, before[1]))
        refused = client.post("/score/quay", json={"rows": [row]})
        unready = client.get("/health/ready")
        process.rlimit(resource.RLIMIT_FSIZE, before)
        ready = client.get("/health/ready")

        assert (refused.status_code, refused.json()["code"]) == (503, 501)
        assert (unready.status_code, unready.json()["ready"]) == (503, False)
        assert unready.json()["cannot_record"]
        assert (ready.status_code, ready.json()) == (200, {"ready": True, "without_a_model": []})
        assert client.post("/score/quay", json={"rows": [row]}).status_code == 200
