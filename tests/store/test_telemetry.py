"""Events and rollups in the control database: searched, read by need, and taken out of spools exactly once."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
import time
from collections import Counter
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from ml.errors import DataError, ServiceAway
from ml.records.event import Event
from ml.records.rollup import Rollup
from ml.serving.telemetry import Spool as Writer
from ml.store.telemetry import Need, Telemetry

NOW = datetime(2026, 1, 5, 12, 0, 0, 250_000, tzinfo=UTC)
MINUTE = timedelta(minutes=1)


@pytest.fixture
def telemetry(tmp_path: Path) -> Telemetry:
    """A new control database."""
    return Telemetry(f"sqlite:///{tmp_path}/control.db")


def event(name: str = "inference_failed", minutes: float = 0, **changes: object) -> Event:
    """An event so many minutes after NOW."""
    content = {
        "time": NOW + minutes * MINUTE,
        "use_case": "ferry",
        "source": "replica-0",
        "code": 401,
        "name": name,
        "severity": "error",
        "message": "the graph failed: 100% of it",
    }
    return Event.model_validate(content | changes)


def rollup(minutes: float = 0, name: str = "requests", **changes: object) -> Rollup:
    """A rollup that begins so many minutes after NOW."""
    content = {"time": NOW + minutes * MINUTE, "source": "replica-0", "name": name, "n": 3, "total": 3.0}
    return Rollup.model_validate(content | changes)


def test_an_event_comes_back_whole(telemetry):
    """Every field, its time to the microsecond."""
    told = event(request_id="r-1", model_version=3, key="k", count=7)
    telemetry.add_events([told])

    assert telemetry.search() == (told,)


@pytest.mark.parametrize(
    ("asked", "found"),
    [
        ({}, ["d", "c", "b", "a"]),
        ({"limit": 2}, ["d", "c"]),
        ({"codes": [401]}, ["a"]),
        ({"names": ["b", "c"]}, ["c", "b"]),
        ({"use_case": "train"}, ["c"]),
        ({"request_id": "r-9"}, ["b"]),
        ({"text": "FULL 100%"}, ["d"]),
        ({"text": "full _00"}, []),
        ({"since": NOW + 2 * MINUTE}, ["d", "c"]),
        ({"since": NOW + 1 * MINUTE, "until": NOW + 3 * MINUTE}, ["c", "b"]),
        ({"codes": [401], "use_case": "train"}, []),
    ],
)
def test_a_search_finds_what_fits_everything_asked(telemetry, asked, found):
    """Newest first; per cent and underscore of a text are themselves."""
    telemetry.add_events(
        [
            event("a", 0),
            event("b", 1, code=201, request_id="r-9"),
            event("c", 2, code=0, use_case="train"),
            event("d", 3, code=0, use_case=None, message="disk full 100%"),
        ]
    )

    assert [told.name for told in telemetry.search(**asked)] == found


def test_rules_read_only_what_they_need(telemetry):
    """By name, code and age, oldest first; a row that two needs ask for comes once."""
    telemetry.add_events([event("a", -60), event("a", -1), event("b", -60, code=201), event("b", -1), event("c", -1)])
    needs = [
        Need(NOW - 2 * MINUTE, names=frozenset("ab")),
        Need(NOW - 90 * MINUTE, codes=frozenset({201})),
        Need(NOW - 2 * MINUTE, names=frozenset("a")),
    ]

    rows = telemetry.read_events(needs, until=NOW)

    assert [(row.name, round(row.time - NOW.timestamp())) for row in rows] == [("b", -3600), ("a", -60), ("b", -60)]
    assert len(telemetry.read_events([Need(NOW - 90 * MINUTE)], until=NOW)) == 5
    assert telemetry.read_events([], until=NOW) == []


def test_a_rollup_is_known_when_its_interval_has_ended(telemetry):
    """Its time, to a rule, is the end."""
    telemetry.add_rollups([rollup(0, seconds=10.0), rollup(1, name="other")])
    need = [Need(NOW - MINUTE, names=frozenset({"requests"}))]

    assert telemetry.read_rollups(need, until=NOW + timedelta(seconds=9)) == []
    (row,) = telemetry.read_rollups(need, until=NOW + timedelta(seconds=10))
    assert (row.time, row.n, row.histogram) == (NOW.timestamp() + 10, 3, None)


def test_what_is_old_is_forgotten(telemetry):
    """Rollups and events each by a limit of their own."""
    telemetry.add_events([event("old", -10), event("new", 0)])
    telemetry.add_rollups([rollup(-10), rollup(-1)])
    assert telemetry.begin() == NOW - 10 * MINUTE

    assert telemetry.prune(events_before=NOW - MINUTE, rollups_before=NOW - 5 * MINUTE) == 2
    assert [told.name for told in telemetry.search()] == ["new"]
    assert telemetry.begin() == NOW - MINUTE


def test_what_was_said_before_is_not_said_again(telemetry):
    """One event per name and key; without a key each counts."""
    telemetry.add_events(
        [event("a", key="k", message="first"), event("a", key="k", message="second"), event("b", key="k")]
    )
    telemetry.add_events([event("a", key="k", message="third"), event("a"), event("a")])

    assert [(told.name, told.key, told.message) for told in telemetry.search() if told.key] == [
        ("b", "k", event().message),
        ("a", "k", "first"),
    ]
    assert len(telemetry.search()) == 4


def fill(path: Path, begin: int, count: int) -> None:
    """Append events with numbered keys."""
    rows = [("event", event(request_id=str(number)).model_dump_json()) for number in range(begin, begin + count)]
    assert Writer(path).append(rows)


def keys(telemetry: Telemetry) -> Counter:
    """How often each event is in the database."""
    return Counter(int(told.request_id) for told in telemetry.search(limit=100_000))


def test_a_spool_is_taken_once_and_emptied(telemetry, tmp_path):
    """Events and rollups; a second look takes nothing, later rows are taken by the next."""
    path = tmp_path / "replica-0.sqlite"
    fill(path, 0, 7)
    Writer(path).append([("rollup", rollup().model_dump_json())])

    first, second = telemetry.take_spool(path, batch_rows=3), telemetry.take_spool(path)
    fill(path, 7, 2)
    third = telemetry.take_spool(path)

    assert [(taken.events, taken.rollups) for taken in (first, second, third)] == [(7, 1), (0, 0), (2, 0)]
    assert keys(telemetry) == Counter(range(9))
    with sqlite3.connect(path) as db:
        assert db.execute("SELECT count(*) FROM spooled").fetchone() == (0,)


def test_rows_that_are_not_understood_hold_up_nothing(telemetry, tmp_path):
    """Of a newer version, of no version: the rows around them are taken, and one event says how many were not."""
    path = tmp_path / "replica-0.sqlite"
    fill(path, 0, 2)
    newer = event().model_dump_json().replace('"format":2', '"colour":"red","format":2')
    Writer(path).append([("event", newer), ("rollup", "no JSON at all"), ("event", "{}")])
    fill(path, 2, 2)

    taken, again = telemetry.take_spool(path), telemetry.take_spool(path)

    (told,) = telemetry.search(names=["telemetry_not_understood"])
    assert (taken.events, again.events, told.count, told.source) == (5, 0, 3, "replica-0")
    assert "colour" in told.message
    assert len(telemetry.search(codes=[401])) == 4


def test_a_keyed_event_that_is_known_holds_up_no_spool(telemetry, tmp_path):
    """Of a name and key the first stays, wherever it came from."""
    path = tmp_path / "replica-0.sqlite"
    telemetry.add_events([event(key="k")])
    Writer(path).append([("event", event(key="k").model_dump_json())])
    fill(path, 0, 2)

    telemetry.take_spool(path)

    assert len(telemetry.search()) == 3


def test_what_a_database_would_refuse_is_made_to_fit(telemetry):
    """A NUL, and a name that is too long: PostgreSQL takes neither."""
    telemetry.add_events([event(name="n" * 200, message="a\0b", request_id="r" * 300)])

    (told,) = telemetry.search()
    assert (len(told.name), told.message, len(told.request_id)) == (100, "a\ufffdb", 200)
    telemetry.add_events([event(key="k" * 600 + end) for end in "aab"])
    assert len({told.key for told in telemetry.search()}) == 3  # two of them, and that without any


def test_a_spool_made_anew_is_another_one(telemetry, tmp_path):
    """Its positions begin at one again and are not taken for known ones."""
    path = tmp_path / "replica-0.sqlite"
    fill(path, 0, 5)
    telemetry.take_spool(path)
    for file in tmp_path.glob("replica-0.sqlite*"):
        file.unlink()
    fill(path, 5, 3)

    assert telemetry.take_spool(path).events == 3
    assert keys(telemetry) == Counter(range(8))


def test_a_collector_that_died_before_it_deleted_repeats_nothing(telemetry, tmp_path, monkeypatch):
    """Rows and position are one transaction; what the spool still holds is known."""
    path = tmp_path / "replica-0.sqlite"
    fill(path, 0, 5)
    with monkeypatch.context() as patched:
        patched.setattr("ml.store.spool.Spool.delete", lambda *_, **__: None)
        telemetry.take_spool(path)
    fill(path, 5, 1)

    assert telemetry.take_spool(path).events == 1
    assert keys(telemetry) == Counter(range(6))


def test_collectors_that_are_killed_and_run_at_once_lose_and_repeat_nothing(telemetry, tmp_path):
    """Processes with batches of a few rows, killed at random moments, two at a time; then one in peace."""
    path = tmp_path / "replica-0.sqlite"
    fill(path, 0, 3_000)
    script = (
        "import sys; from pathlib import Path; from ml.store.telemetry import Telemetry\n"
        "t = Telemetry(sys.argv[1]); print('ready', flush=True)\n"
        "while True: t.take_spool(Path(sys.argv[2]), batch_rows=7)\n"
    )
    command = [sys.executable, "-c", script, f"sqlite:///{tmp_path}/control.db", str(path)]
    root = Path(__file__).parents[2]
    environment = os.environ | {"PYTHONPATH": str(root)}
    for round_ in range(3):
        pair = [subprocess.Popen(command, stdout=subprocess.PIPE, env=environment, cwd=root) for _ in range(2)]
        for process in pair:
            process.stdout.readline()
        time.sleep(0.05 + 0.05 * round_)
        for process in pair:
            process.send_signal(signal.SIGKILL)
            process.communicate()

    telemetry.take_spool(path)

    assert keys(telemetry) == Counter(range(3_000))


def test_a_spool_that_is_none_is_named(telemetry, tmp_path):
    """An absent one does not answer, another file is damaged, one without tables yet holds nothing."""
    with pytest.raises(ServiceAway, match="spool does not answer"):
        telemetry.take_spool(tmp_path / "none.sqlite")
    (tmp_path / "text.sqlite").write_bytes(b"no database at all" * 100)
    with pytest.raises(DataError, match=r"spool is damaged.*text\.sqlite"):
        telemetry.take_spool(tmp_path / "text.sqlite")
    sqlite3.connect(tmp_path / "empty.sqlite").close()
    assert telemetry.take_spool(tmp_path / "empty.sqlite").events == 0


def test_a_full_spool_counts_what_it_loses(tmp_path):
    """Rows kept and rows lost sum up to the rows given."""
    writer = Writer(tmp_path / "spool.sqlite", limit=5)
    rows = [("event", event(key=str(number)).model_dump_json()) for number in range(4)]

    assert writer.append(rows)
    assert not writer.append(rows)
    assert writer.lost == 3


def test_a_spool_that_cannot_be_written_counts_what_it_loses(tmp_path):
    """A folder stands in its place."""
    (tmp_path / "spool.sqlite").mkdir()
    writer = Writer(tmp_path / "spool.sqlite")

    assert not writer.append([("event", "{}"), ("event", "{}")])
    assert writer.lost == 2
