"""Runbooks of the stores, on real ones: leases, lake, outboxes; and what every runbook has in common."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from deltalake import DeltaTable

from ml.errors import InputError, StackError
from ml.runbooks.drain_backlog import DrainBacklog
from ml.runbooks.run import Order, run_runbook
from ml.runbooks.shelf import RUNBOOKS, find_runbook
from ml.store.control import ControlStore
from ml.store.ingest import ingest_outboxes
from ml.store.lake import Lake
from ml.store.outbox import count_waiting
from ml.store.table import LakeTable
from tests.runbooks.conftest import exhaust, failures
from tests.store.conftest import Replica

DOCUMENT = (Path(__file__).parents[2] / "docs" / "runbooks.md").read_text(encoding="utf-8")


def run(world, name, target, **changes):
    """Run a runbook of the shelf."""
    order = Order(target=target, actor="anna", reason="test", **changes)
    return run_runbook(find_runbook(name) if isinstance(name, str) else name, order, world)


@pytest.mark.parametrize("name", RUNBOOKS)
def test_every_runbook_leaves_alone_what_it_does_not_know(world, name):
    """A target that is none, on an installation where nothing runs: nothing is done."""
    found = run(world, name, "nobody")

    assert (found.end, [step.name for step in found.steps]) == ("not_needed", ["pre_check"])
    assert found.steps[0].detail
    assert world.control.history("", "runbook_begun") == ()


@pytest.mark.parametrize("name", RUNBOOKS)
def test_every_runbook_is_limited_and_documented(name):
    """With a section of its own: when, checks, does, reverts, limit."""
    assert 1 <= RUNBOOKS[name].per_hour <= 10
    section = DOCUMENT.split(f"## `{name}`")[1].split("\n## ")[0]
    assert f"{RUNBOOKS[name].per_hour} in an hour" in section
    assert all(f"**{word}**" in section for word in ("When", "Checks", "Does", "Sees afterwards", "Reverts", "Limit"))


def test_a_runbook_that_there_is_not_is_named_with_those_that_there_are():
    """Bad input."""
    with pytest.raises(InputError, match="restart_replica"):
        find_runbook("restart_everything")


@pytest.fixture
def stale(world):
    """A lease that ended an hour ago."""
    moment = datetime.now(UTC) - timedelta(hours=2)
    world.control.acquire_lease("retrain/ferry", "run-1", now=moment, ttl=timedelta(hours=1))
    return "retrain/ferry"


def test_a_stale_lease_is_cleared_and_a_running_one_is_not(world, stale):
    """By its end alone."""
    assert run(world, "clear_lease", stale).end == "repaired"
    assert world.control.lease(stale) is None

    world.control.acquire_lease(stale, "run-2", now=datetime.now(UTC), ttl=timedelta(hours=1))
    assert run(world, "clear_lease", stale).end == "not_needed"
    assert world.control.lease(stale).holder == "run-2"


def test_a_lease_that_does_not_go_is_told_and_stays_its_holders(world, stale, monkeypatch):
    """A database that takes the deletion of this one and forgets it."""
    release = ControlStore.release_lease
    monkeypatch.setattr(
        ControlStore, "release_lease", lambda self, name, holder: name == stale or release(self, name, holder)
    )
    before = world.control.lease(stale)

    assert run(world, "clear_lease", stale).end == "reverted"
    assert world.control.lease(stale) == before
    assert len(failures(world)) == 1


def test_a_lease_that_was_taken_away_can_be_given_back(world, stale):
    """With its holder and its end; not when somebody has it meanwhile."""
    runbook, before = RUNBOOKS["clear_lease"], world.control.lease(stale)
    told = runbook.remember(stale, world)
    runbook.act(stale, world, told)
    runbook.revert(stale, world, told)
    assert world.control.lease(stale) == before

    runbook.act(stale, world, told)
    world.control.acquire_lease(stale, "run-2", now=datetime.now(UTC), ttl=timedelta(hours=1))
    runbook.revert(stale, world, told)
    assert world.control.lease(stale).holder == "run-2"


def test_leases_are_cleared_within_the_limit(world, stale):
    """The eleventh of an hour stays."""
    exhaust(world, "clear_lease", 10)

    assert run(world, "clear_lease", stale).end == "limited"
    assert world.control.lease(stale) is not None


@pytest.fixture
def lake(world) -> Lake:
    """Nine files of two rows each, in one partition."""
    lake = Lake(world.settings.lake, world.use_case("ferry"))
    replica = Replica(world.settings.outbox / "replica-0.sqlite")
    for number in range(9):
        replica.answer(f"a{number}")
        replica.answer(f"b{number}")
        ingest_outboxes(world.settings.outbox, world.use_case("ferry"), lake.live_tables())
    return lake


def test_a_lake_of_many_files_is_compacted_without_losing_a_row(world, lake):
    """Nine files become one, eighteen rows stay; then there is nothing to do."""
    assert lake.extents()["requests"][1:] == (18, 9)

    assert run(world, "compact_lake", "ferry").end == "repaired"

    assert lake.extents()["requests"][1:] == (18, 1)
    assert run(world, "compact_lake", "ferry").end == "not_needed"


def test_a_compaction_that_loses_rows_is_taken_back(world, lake, monkeypatch):
    """Seeded: it merges, and deletes two rows."""
    compact = LakeTable.compact

    def lossy(self):
        removed = compact(self)
        if self.path.name == "requests":
            DeltaTable(self.path).delete("id IN ('a1', 'b2')")
        return removed

    monkeypatch.setattr(LakeTable, "compact", lossy)

    found = run(world, "compact_lake", "ferry")

    assert (found.end, "rows are missing: requests" in found.steps[2].detail) == ("reverted", True)
    assert lake.extents()["requests"][1:] == (18, 9)
    assert len(failures(world)) == 1


def test_compactions_are_limited(world, lake):
    """The third of an hour is not done."""
    exhaust(world, "compact_lake", 2)

    assert run(world, "compact_lake", "ferry").end == "limited"
    assert lake.extents()["requests"].files == 9


@pytest.fixture
def backlog(world) -> DrainBacklog:
    """Six rows wait, of which five are a backlog."""
    replica = Replica(world.settings.outbox / "replica-0.sqlite")
    for number in range(6):
        replica.answer(f"r{number}")
    return DrainBacklog(backlog=5)


def test_a_backlog_is_drained_into_the_lake(world, backlog):
    """Every row once; then there is no backlog."""
    assert run(world, backlog, "ferry").end == "repaired"

    assert count_waiting(world.settings.outbox, "ferry") == 0
    assert Lake(world.settings.lake, world.use_case("ferry")).extents()["requests"].rows == 6
    assert run(world, backlog, "ferry").end == "not_needed"


def test_a_backlog_that_cannot_be_drained_waits_where_it_was(world, backlog, monkeypatch):
    """A full disk: nothing is lost, and people are told."""

    def full(*_, **__):
        raise StackError("lake table cannot be reached", got="No space left on device")

    monkeypatch.setattr(LakeTable, "append_once", full)

    found = run(world, backlog, "ferry")

    assert found.end == "reverted"
    assert count_waiting(world.settings.outbox, "ferry") == 6
    assert "6 rows wait where they were" in found.steps[-1].detail
    assert len(failures(world)) == 1


def test_drains_are_limited(world, backlog):
    """The fifth of an hour is left to a person."""
    exhaust(world, "drain_backlog", 4)

    assert run(world, backlog, "ferry").end == "limited"
    assert count_waiting(world.settings.outbox, "ferry") == 6
