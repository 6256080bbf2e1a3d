"""Runbook ``prune``, on real stores: what has expired is gone, from the disk as well, and nothing else."""

from __future__ import annotations

import json
import multiprocessing
import os
import signal
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml
from deltalake import DeltaTable

from ml.errors import ConflictError, InputError
from ml.records.event import Event
from ml.records.outbox import INSERT
from ml.records.retention import Pruned
from ml.records.rollup import Rollup
from ml.runbooks.prune import PRUNED, find_expired
from ml.runbooks.run import Order, run_runbook
from ml.runbooks.runbook import World
from ml.runbooks.shelf import find_runbook
from ml.store.frames import quarantine_rows
from ml.store.lake import BLOCK_KEY, Lake
from ml.store.outbox import count_waiting
from ml.store.table import LakeTable
from tests.runbooks.conftest import FERRY, exhaust, failures
from tests.store.conftest import Replica

NOW = datetime.now(UTC)
KEEP = {"requests": "100d", "labels": "200d", "quarantine": "30d", "events": "50d", "rollups": "10d"}


def declare(world: World, **retention: str) -> None:
    """Write the section into the use case file."""
    path = world.settings.use_cases / "ferry.yaml"
    path.write_text(yaml.safe_dump(FERRY | {"retention": retention}, sort_keys=False))


def capture(replica: Replica, kind: str, payload: dict | bytes, *, age: float) -> None:
    """A row that was received so many days ago."""
    content = payload if isinstance(payload, bytes) else json.dumps(payload).encode()
    replica._connection.execute(INSERT, ("ferry", kind, "r", (NOW - timedelta(days=age)).timestamp(), content, 1))


def answer(replica: Replica, name: str, *, age: float, happened: float) -> None:
    """An answer that was received, to an event that happened, so many days ago; 'secret' is in its features."""
    features = {"wind speed (km/h)": 1.0, "holiday": False, "pier": f"secret-{name}"}
    moment = (NOW - timedelta(days=happened)).isoformat()
    payload = {"id": name, "event_time": moment, "model_version": 1, "code": 0, "detail": None, "class": "late"}
    capture(replica, "request", payload | {"probabilities": [0.75, 0.25], "features": features}, age=age)


@pytest.fixture
def lake(world) -> Lake:
    """Old and young answers, old answers to young events, labels, unreadable rows, events and rollups."""
    lake, replica = Lake(world.settings.lake, world.use_case("ferry")), Replica(world.settings.outbox / "one.sqlite")
    for number in range(5):
        answer(replica, f"old{number}", age=150, happened=150)
    for number in range(3):
        answer(replica, f"young{number}", age=2, happened=2)
    answer(replica, "needed", age=150, happened=20)
    answer(replica, "late", age=2, happened=300)
    for name, age in (("old0", 250.0), ("old1", 150.0), ("young0", 1.0)):
        known = (NOW - timedelta(days=age)).isoformat()
        capture(replica, "label", {"id": name, "class": "late", "known_at": known, "source": "test"}, age=age)
    capture(replica, "request", b"{old", age=40)
    capture(replica, "request", b"{young", age=4)
    lake.ingest(world.settings.outbox)
    answer(replica, "waits", age=150, happened=150)  # in the outbox: nobody has taken it yet
    of = {"source": "replica-0", "use_case": "ferry"}
    told = [(60, "ferry"), (40, "ferry"), (60, None)]
    world.telemetry.add_events(
        Event(time=NOW - timedelta(days=age), use_case=name, source="s", name="told", severity="info", message="m")
        for age, name in told
    )
    world.telemetry.add_rollups(
        Rollup(**of, time=NOW - timedelta(days=age), seconds=10, name="rows", n=1, total=1) for age in (12, 11, 1)
    )
    return lake


def ids(lake: Lake) -> list[str]:
    """Of the requests."""
    return sorted(lake._requests.read(["id"])["id"].to_pylist())


def run(world: World, key: str = ""):
    """Run it."""
    order = Order(target="ferry", actor="anna", reason="test", key=key)
    return run_runbook(find_runbook("prune"), order, world)


def on_disk(lake: Lake) -> set[str]:
    """Values of ``pier`` in any data file of the requests' table, whatever the table's log says of it."""
    found: set[str] = set()
    for path in lake._requests.path.rglob("*.parquet"):
        found |= set(pq.ParquetFile(path).read(["pier"])["pier"].to_pylist())
    return found


def test_what_has_expired_is_gone_and_nothing_else(world, lake):
    """By hand: five answers, a label, an unreadable row, an event and two rollups; the texts leave the disk as well."""
    assert "secret-old3" in on_disk(lake)
    declare(world, **KEEP)

    assert run(world).end == "repaired"

    assert ids(lake) == ["late", "needed", "young0", "young1", "young2"]
    assert sorted(lake._labels.read(["id"])["id"].to_pylist()) == ["old1", "young0"]
    assert lake.quarantined()["content"].tolist() == ["{young"]
    assert "secret-old3" not in on_disk(lake)
    assert "secret-young1" in on_disk(lake)
    assert len(world.telemetry.search(names=["told"])) == 2
    assert world.telemetry.count("ferry", "rollups", before=NOW)[0] == 1
    assert count_waiting(world.settings.outbox, "ferry") == 1
    assert run(world).end == "not_needed"


def set_aside(lake: Lake, key: str, *names: str, dated: bool = True) -> None:
    """Rows that a training put aside; undated as they were once."""
    frame = pd.DataFrame({"id": list(names), "reason": "seeded"})
    if dated:
        lake.quarantine(frame, key=key)
        return
    rows = quarantine_rows(frame, key, NOW)
    at = rows.schema.get_field_index("received_at")
    rows = rows.set_column(at, rows.schema.field(at), pa.nulls(len(rows), rows.schema.field(at).type))
    lake._quarantine.append_once(rows, app_id=f"key:{key}")


def keys_aside(lake: Lake) -> dict[str, int]:
    """Rows in quarantine that a training put there, by key."""
    found = lake.quarantined()
    return found[found["outbox"].isna()]["key"].value_counts().to_dict()


def at_day(world: World, days: float) -> World:
    """The same so many days later."""
    return replace(world, clock=lambda: datetime.now(UTC) + timedelta(days=days))


def test_rows_that_a_training_put_aside_expire_from_then_on(world, lake):
    """Thirty days after they were put aside, whatever their events say; a day earlier they stay."""
    declare(world, **KEEP)
    set_aside(lake, "retrain/1", "a", "b")

    run(at_day(world, 29), "before")
    assert keys_aside(lake) == {"retrain/1": 2}
    assert run(at_day(world, 31), "after").end == "repaired"
    assert keys_aside(lake) == {}


def test_rows_without_a_date_are_dated_by_their_file_and_expire(world, lake):
    """Of an earlier version: dated at the first pruning, so that no later rewriting of files makes them young again."""
    set_aside(lake, "retrain/1", "a", "b", dated=False)
    declare(world, **KEEP)

    assert run(world, "dates").end == "repaired"
    (date,) = set(lake.quarantined().query("key == 'retrain/1'")["received_at"])
    assert abs(date - datetime.now(UTC)) < timedelta(minutes=5)
    assert run(world, "again").end == "not_needed"
    assert run(at_day(world, 31), "after").end == "repaired"
    assert keys_aside(lake) == {}


def test_rows_without_a_date_whose_file_is_old_go_at_once(world, lake):
    """Dated and removed in one pruning, and the record counts them."""
    set_aside(lake, "retrain/1", "a", "b", dated=False)
    declare(world, quarantine="30d")

    assert run(at_day(world, 31)).end == "repaired"

    assert keys_aside(lake) == {}
    (stored,) = world.control.history("ferry", PRUNED)
    assert Pruned.model_validate_json(stored.payload).parts[0].removed == 4


def test_a_block_stays_closed_for_as_long_as_its_rows_can_be_trained_on(world, lake):
    """It is known to be closed by its rows in quarantine; of one that nobody looks at any more they go."""
    declare(world, **KEEP)
    young, old = (f"{NOW - timedelta(days=days):%Y-%m-%d}" for days in (10, 300))
    for block in (young, f"{young}/station", old, f"{old}/station"):
        set_aside(lake, f"{BLOCK_KEY}{block}", "a")

    assert run(at_day(world, 31)).end == "repaired"

    assert [found.block for found in lake.quarantined_blocks()] == [young, f"{young}/station"]


def test_the_record_says_what_went_and_why_the_rest_stayed(world, lake):
    """One small record in the ledger; row numbers by hand."""
    lake.write_training(_frame(), key="first")
    declare(world, **KEEP)
    run(world)

    (stored,) = world.control.history("ferry", PRUNED)
    record = Pruned.model_validate_json(stored.payload)

    told = {part.part: (part.keep_days, part.removed, part.needed, part.left) for part in record.parts}
    assert told == {
        "requests": (100, 5, 1, 5),
        "labels": (200, 1, 0, 2),
        "quarantine": (30, 1, 0, 1),
        "events": (50, 1, 0, 1),
        "rollups": (10, 2, 0, 1),
    }
    assert record.training_versions == 1
    newest_answer = NOW - timedelta(days=2)
    assert abs(record.needed_from - (newest_answer - timedelta(days=56))) < timedelta(seconds=1)
    assert lake.read_training(1)["id"].tolist() == ["old0"]


def _frame():
    import pandas as pd

    features = {"wind speed (km/h)": [1.0], "holiday": [False], "pier": ["a"]}
    times = pd.to_datetime(["2013-03-01T00:00:00Z"], utc=True)
    return pd.DataFrame({"id": ["old0"], "event_time": times, **features, "label": ["late"], "part": ["fit"]})


def test_without_a_declaration_everything_is_kept(world, lake):
    """The default."""
    found = run(world)

    assert (found.end, "declares no retention" in found.steps[0].detail) == ("not_needed", True)
    assert len(ids(lake)) == 10
    assert find_expired(world) == []


def test_only_what_is_declared_goes(world, lake):
    """The other parts are kept for ever."""
    declare(world, quarantine="30d")

    assert find_expired(world) == ["ferry"]
    assert run(world).end == "repaired"
    assert (len(ids(lake)), lake.quarantined()["content"].tolist()) == (10, ["{young"])


@pytest.mark.parametrize(
    ("retention", "says"),
    [
        ({"requests": "10d"}, "retention.requests must be 56d or more"),
        ({"requests": "100d", "labels": "90d"}, "retention.labels must not be shorter"),
        ({"labels": "90d"}, "retention.labels must not be shorter"),
        ({"events": "500d"}, "retention.events must be 400d or less"),
        ({"requests": "0s"}, "an hour or more"),
        ({"request": "100d"}, "request"),
    ],
)
def test_a_retention_that_takes_what_is_needed_is_refused(world, retention, says):
    """With its path, before anything runs."""
    declare(world, **retention)

    with pytest.raises(InputError, match=says):
        world.use_case("ferry")


def _die_in(monkeypatched: str, home: Path) -> None:
    """Run it in a process that is killed at a step."""
    from ml.settings import Settings
    from ml.store.control import ControlStore
    from ml.store.telemetry import Telemetry

    settings = Settings(home=home, scoring_url="http://127.0.0.1:9", mlflow_url="http://127.0.0.1:9")
    world = World(settings, ControlStore(settings.control_url), Telemetry(settings.control_url), patience=0.5)
    real, calls = getattr(LakeTable, monkeypatched), []

    def die(self, *arguments):
        calls.append(real(self, *arguments))
        os.kill(os.getpid(), signal.SIGKILL)

    setattr(LakeTable, monkeypatched, die)
    run(world, key="killed")


@pytest.mark.parametrize("step", ["delete", "sweep"])
def test_killed_between_two_steps_a_rerun_finishes(world, lake, step):
    """After one table's deletion, or after one table's sweep: kill -9, then again, and the end is the same."""
    declare(world, **KEEP)
    process = multiprocessing.get_context("spawn").Process(target=_die_in, args=(step, world.settings.home))
    process.start()
    process.join(60)
    assert process.exitcode == -signal.SIGKILL

    world.control.release_lease("runbook", world.control.lease("runbook").holder)  # as when its time is over
    same_order = run(world, key="killed")
    assert same_order.end == "reverted"  # it proves what the killed one did, and does not act a second time
    assert run(world).end == "repaired"

    assert ids(lake) == ["late", "needed", "young0", "young1", "young2"]
    assert sorted(lake._labels.read(["id"])["id"].to_pylist()) == ["old1", "young0"]
    assert "secret-old3" not in on_disk(lake)
    assert run(world).end == "not_needed"


def test_a_deletion_that_takes_others_is_taken_back(world, lake, monkeypatch):
    """Seeded: the deletion takes young rows as well; the version before comes back, before any file has left."""
    declare(world, **KEEP)
    delete = LakeTable.delete

    def greedy(self, condition):
        return delete(self, f"({condition}) OR id = 'young1'" if self.path.name == "requests" else condition)

    monkeypatch.setattr(LakeTable, "delete", greedy)

    found = run(world)

    assert found.end == "reverted"
    assert len(ids(lake)) == 10
    assert len(failures(world)) == 1
    assert world.control.history("ferry", PRUNED) == ()


def test_rows_that_come_meanwhile_are_kept(world, lake, monkeypatch):
    """An ingest between look and deletion."""
    declare(world, **KEEP)
    replica, delete = Replica(world.settings.outbox / "two.sqlite"), LakeTable.delete
    answer(replica, "new", age=0, happened=0)

    def beside(self, condition):
        if self.path.name == "requests":
            lake.ingest(world.settings.outbox)
        return delete(self, condition)

    monkeypatch.setattr(LakeTable, "delete", beside)
    run(world)

    assert "new" in ids(lake)
    assert "young2" in ids(lake)


def test_a_reader_of_an_older_version_reads_the_newest(world, lake, monkeypatch):
    """Its files are swept away between opening and reading."""
    declare(world, **KEEP)
    opened = []

    def open_then_prune(self):
        table = DeltaTable(self.path)
        if not opened and self.path.name == "requests":
            opened.append(table)
            with monkeypatch.context() as patch:
                patch.setattr(LakeTable, "open", lambda self: DeltaTable(self.path))
                assert run(world).end == "repaired"
        return table

    monkeypatch.setattr(LakeTable, "open", open_then_prune)

    assert ids(lake) == ["late", "needed", "young0", "young1", "young2"]


def test_a_compaction_that_goes_on_is_waited_for_but_not_for_ever(world, lake, monkeypatch):
    """One of the two at a time."""
    from ml.store.table import _alone

    monkeypatch.setattr("ml.store.table.PATIENCE_SECONDS", 0.3)
    with _alone(lake._requests.path), pytest.raises(ConflictError, match="compacted"):
        lake._requests.delete("id = 'old0'")

    assert len(ids(lake)) == 10
    assert lake._requests.delete("id = 'old0'") == 1


def test_prunings_are_limited(world, lake):
    """The eleventh of an hour is left."""
    declare(world, **KEEP)
    exhaust(world, "prune", 10)

    assert run(world).end == "limited"
    assert len(ids(lake)) == 10


def test_a_full_disk_is_told_and_loses_nothing(world, lake, small_disk):
    """What is kept is written anew, which needs room; without it nothing goes, and with it the next run does all."""
    import shutil

    aside = world.settings.home / "aside"
    world.settings.lake.rename(aside)
    disk = small_disk(world.settings.lake, megabytes=4)
    shutil.copytree(aside, disk.path, dirs_exist_ok=True)
    declare(world, **KEEP)
    disk.fill()

    assert run(world).end == "reverted"
    assert len(ids(lake)) == 10
    assert len(failures(world)) == 1

    disk.make_room()
    assert run(world).end == "repaired"
    assert ids(lake) == ["late", "needed", "young0", "young1", "young2"]
