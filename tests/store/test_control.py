"""The control database: decisions once, leases one at a time, two processes at once."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
from datetime import UTC, datetime, timedelta, timezone
from functools import partial
from pathlib import Path

import pytest

from ml.errors import InputError, ServiceAway
from ml.records.measure import Estimate
from ml.store.control import ControlStore

NOW = datetime(2013, 3, 8, 12, 30, 0, 123456, tzinfo=UTC)
MINUTE = timedelta(minutes=1)


@pytest.fixture
def url(tmp_path: Path) -> str:
    """Address of a database that nobody has made yet."""
    return f"sqlite:///{tmp_path}/state/control.db"


@pytest.fixture
def store(url: str) -> ControlStore:
    """A new control database."""
    return ControlStore(url)


def estimate(value: float) -> Estimate:
    """Any record."""
    return Estimate(value=value, n=1)


def write(store: ControlStore, key: str, value: float = 1.0, *, kind: str = "monitor", as_of: datetime = NOW):
    """Record an estimate."""
    return store.record(kind, key, estimate(value), use_case="ferry", as_of=as_of, now=NOW)


def test_the_first_write_wins(store):
    """A rerun of a window gets the answer that was given before, not its own."""
    first = write(store, "a", 1.0)
    again = write(store, "a", 2.0)

    assert again == first
    assert Estimate.model_validate_json(store.find("monitor", "a").payload) == estimate(1.0)


def test_kinds_do_not_share_keys(store):
    """The gate's record of a key is not the monitor's."""
    write(store, "a", 1.0)
    write(store, "a", 2.0, kind="gate")

    assert Estimate.model_validate_json(store.find("gate", "a").payload).value == 2.0
    assert store.find("release", "a") is None


def test_what_is_stored_comes_back_whole(store):
    """Every field, times in UTC to the microsecond, whatever zone they came in."""
    east = NOW.astimezone(timezone(timedelta(hours=9)))
    stored = store.record("monitor", "a", estimate(1.0), use_case="ferry", as_of=east, now=NOW + MINUTE)

    assert stored == store.find("monitor", "a")
    assert (stored.kind, stored.key, stored.use_case) == ("monitor", "a", "ferry")
    assert (stored.as_of, stored.created_at) == (NOW, NOW + MINUTE)
    assert stored.as_of.utcoffset() == timedelta(0)


def test_latest_is_the_newest_moment_not_the_newest_write(store):
    """A backfill of an old window, written last, does not become the latest."""
    write(store, "new", as_of=NOW)
    write(store, "old", as_of=NOW - timedelta(days=7))
    write(store, "gate", kind="gate", as_of=NOW + MINUTE)

    assert store.latest("monitor", "ferry").key == "new"
    assert store.latest("monitor", "train") is None


def test_history_is_newest_first_and_limited(store):
    """Of one kind or of all, never of another use case."""
    for day in (3, 1, 2):
        write(store, f"{day}", as_of=NOW + timedelta(days=day))
    write(store, "g", kind="gate", as_of=NOW + timedelta(days=9))
    store.record("monitor", "other", estimate(0.0), use_case="train", as_of=NOW, now=NOW)

    assert [found.key for found in store.history("ferry", "monitor")] == ["3", "2", "1"]
    assert [found.key for found in store.history("ferry", limit=2)] == ["g", "3"]


def test_an_old_window_is_told_of_what_came_before_it(store):
    """However much has been recorded since: the limit counts from that moment back."""
    for i in range(10):
        write(store, f"{i}", as_of=NOW + i * MINUTE)

    found = store.history("ferry", "monitor", limit=2, before=NOW + 4 * MINUTE)

    assert [record.key for record in found] == ["3", "2"]


def test_one_holder_at_a_time_has_a_lease(store):
    """The second asker is refused until the first gives it back."""
    acquire = partial(store.acquire_lease, "retrain/ferry", now=NOW, ttl=MINUTE)

    assert acquire("a")
    assert not acquire("b")
    store.release_lease("retrain/ferry", "b")  # not b's to give back
    assert not acquire("b")
    store.release_lease("retrain/ferry", "a")
    assert acquire("b")


def test_the_same_holder_prolongs_its_lease(store):
    """A retried task is the same holder; its time counts from the retry."""
    assert store.acquire_lease("l", "a", now=NOW, ttl=MINUTE)
    assert store.acquire_lease("l", "a", now=NOW + 0.9 * MINUTE, ttl=MINUTE)

    assert not store.acquire_lease("l", "b", now=NOW + 1.8 * MINUTE, ttl=MINUTE)


def test_an_expired_lease_is_taken_over(store):
    """A run that was killed gives its lease back by itself, at the moment that it said."""
    assert store.acquire_lease("l", "a", now=NOW, ttl=MINUTE)

    assert not store.acquire_lease("l", "b", now=NOW + MINUTE - timedelta(microseconds=1), ttl=MINUTE)
    assert store.acquire_lease("l", "b", now=NOW + MINUTE, ttl=MINUTE)
    assert not store.acquire_lease("l", "a", now=NOW + MINUTE, ttl=MINUTE)


def test_leases_have_names(store):
    """Two use cases retrain at once."""
    assert store.acquire_lease("retrain/ferry", "a", now=NOW, ttl=MINUTE)
    assert store.acquire_lease("retrain/train", "b", now=NOW, ttl=MINUTE)


def test_a_lease_for_no_time_is_refused(store):
    """It would be anybody's at once."""
    with pytest.raises(InputError, match="positive length"):
        store.acquire_lease("l", "a", now=NOW, ttl=timedelta(0))


def test_processes_at_once_make_the_tables_and_agree(tmp_path):
    """Three processes start on the same new databases, fifteen times: one lease, one record, no error."""
    script = (
        "import sys; sys.path.insert(0, sys.argv[1]); from datetime import datetime, timedelta, UTC\n"
        "from ml.store.control import ControlStore; from ml.records.measure import Estimate\n"
        "sys.stdin.readline()\n"
        "for i in range(15):\n"
        "    s = ControlStore(f'sqlite:///{sys.argv[2]}/{i}.db'); n = datetime(2013, 3, 8, tzinfo=UTC)\n"
        "    g = s.acquire_lease('l', sys.argv[3], now=n, ttl=timedelta(minutes=1))\n"
        "    r = s.record('k', 'a', Estimate(value=None, n=int(sys.argv[3])), use_case='f', as_of=n, now=n)\n"
        "    print(int(g), Estimate.model_validate_json(r.payload).n)\n"
    )
    answers = _run_at_once(script, tmp_path, 3)

    for i in range(15):
        leases = [int(lines[i].split()[0]) for lines in answers]
        records = {lines[i].split()[1] for lines in answers}
        assert sum(leases) == 1
        assert len(records) == 1


def _run_at_once(script: str, folder: Path, count: int) -> list[list[str]]:
    root = str(Path(__file__).parents[2])
    started = [
        subprocess.Popen(
            [sys.executable, "-c", script, root, str(folder), str(n)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for n in range(count)
    ]
    for process in started:
        process.stdin.write("go\n")
        process.stdin.flush()
    outputs = [process.communicate(timeout=60) for process in started]
    assert [error for _, error in outputs] == [""] * count
    return [output.splitlines() for output, _ in outputs]


def test_sqlite_runs_in_wal_mode(store, tmp_path):
    """Readers do not wait for writers."""
    with sqlite3.connect(tmp_path / "state" / "control.db") as connection:
        assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)


@pytest.mark.parametrize(
    ("address", "message"),
    [
        ("not a url", "control database cannot be opened"),
        ("nosuchdb://host/name", "control database cannot be opened"),
        ("sqlite://", "in memory"),
        ("sqlite:///:memory:", "in memory"),
    ],
)
def test_an_address_that_is_none_is_refused(address, message):
    """At once, naming the setting."""
    with pytest.raises(InputError, match=f"{message}; where: control_url"):
        ControlStore(address)


def test_a_folder_that_cannot_be_made_is_named(tmp_path):
    """A file stands in its place."""
    (tmp_path / "state").write_text("a file")
    with pytest.raises(InputError, match="folder of the control database cannot be made"):
        ControlStore(f"sqlite:///{tmp_path}/state/control.db")


def test_a_file_that_is_no_database_is_named(tmp_path):
    """Without a stack of library errors."""
    (tmp_path / "control.db").write_bytes(b"no database at all" * 100)
    with pytest.raises(ServiceAway, match=r"control database does not answer.*control\.db.*not a database"):
        ControlStore(f"sqlite:///{tmp_path}/control.db")


def test_passwords_never_reach_a_message(tmp_path):
    """A server that does not answer is named without its password."""
    pytest.importorskip("psycopg2")
    with pytest.raises(ServiceAway) as raised:
        ControlStore("postgresql://user:secret@127.0.0.1:1/control", tmp_path)
    assert "secret" not in str(raised.value)
