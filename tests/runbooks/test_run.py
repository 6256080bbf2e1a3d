"""One run: alone, within its limit, proved, taken back, on record, and once however often it is ordered."""

from __future__ import annotations

import multiprocessing
import os
import signal
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from ml.errors import ConflictError, PerennialError
from ml.governance.verification import verify_ledger
from ml.runbooks.run import LEASE, Order, run_runbook, runs
from ml.runbooks.runbook import Runbook, Seen
from tests.runbooks.conftest import exhaust, failures


class Mend(Runbook):
    """Writes "whole" into a file that says "broken"."""

    name, target, per_hour = "mend", "a file", 2
    writes, raises, dies, stuck = "whole", False, False, False

    def pre_check(self, target, world):
        """It says so."""
        return Seen(Path(target).read_text() == "broken", Path(target).read_text())

    def remember(self, target, world):
        """What it says."""
        return {"text": Path(target).read_text()}

    def act(self, target, world, before):
        """Write."""
        Path(target).write_text(self.writes)
        if self.dies:
            os.kill(os.getpid(), signal.SIGKILL)
        if self.raises:
            raise PerennialError("seeded")
        return "mended"  # what it says of itself is not believed

    def post_check(self, target, world, before):
        """Read again."""
        return Seen(Path(target).read_text() == "whole", Path(target).read_text())

    def revert(self, target, world, before):
        """Write what it said."""
        if self.stuck:
            raise PerennialError("seeded: it cannot be taken back")
        Path(target).write_text(before["text"])
        return "as before"


@pytest.fixture
def file(tmp_path) -> Path:
    """A broken one."""
    path = tmp_path / "file"
    path.write_text("broken")
    return path


def order(file: Path, key: str = "") -> Order:
    """To mend it."""
    return Order(target=str(file), actor="anna", reason="it is broken", evidence="seen", key=key)


def test_what_was_broken_is_whole_and_on_record(world, file):
    """Steps in order; record with actor, reason, evidence, in a ledger that holds; an event, and no alarm."""
    run = run_runbook(Mend(), order(file), world)

    assert (run.end, file.read_text()) == ("repaired", "whole")
    assert [(step.name, step.ok) for step in run.steps] == [("pre_check", True), ("action", True), ("post_check", True)]
    assert (run.actor, run.reason, run.evidence) == ("anna", "it is broken", "seen")
    assert runs(world) == (run,)
    assert failures(world) == []
    assert len(world.telemetry.search(names=["runbook_repaired"])) == 1
    assert {entry.kind for entry in world.control.ledger_entries()} == {"runbook_begun", "runbook"}
    assert verify_ledger(world.control).findings == ()


def test_what_is_not_broken_is_not_touched(world, file):
    """The pre-check fails: no action, no count against the limit, no alarm."""
    file.write_text("fine")

    run = run_runbook(Mend(), order(file), world)

    assert (run.end, file.read_text(), len(run.steps)) == ("not_needed", "fine", 1)
    assert world.control.history("", "runbook_begun") == ()
    assert failures(world) == []


@pytest.mark.parametrize(("raises", "writes"), [(False, "worse"), (True, "half"), (True, "worse")])
def test_what_has_not_helped_is_taken_back_and_escalated(world, file, raises, writes):
    """Whether the action says so or not."""
    runbook = Mend()
    runbook.raises, runbook.writes = raises, writes

    run = run_runbook(runbook, order(file), world)

    assert (run.end, file.read_text()) == ("reverted", "broken")
    assert [step.name for step in run.steps] == ["pre_check", "action", "post_check", "revert"]
    assert len(failures(world)) == 1


def test_an_action_that_raised_but_helped_is_a_repair(world, file):
    """What is seen counts, either way."""
    runbook = Mend()
    runbook.raises = True

    assert run_runbook(runbook, order(file), world).end == "repaired"


def test_what_cannot_be_taken_back_says_so(world, file):
    """Stuck, with the reason, and escalated."""
    runbook = Mend()
    runbook.writes, runbook.stuck = "worse", True

    run = run_runbook(runbook, order(file), world)

    assert (run.end, run.steps[-1].ok) == ("stuck", False)
    assert "cannot be taken back" in failures(world)[0]


def test_the_limit_holds_and_is_told(world, file):
    """The third within the hour does nothing; an hour later it may again."""
    exhaust(world, "mend", 2)

    run = run_runbook(Mend(), order(file), world)

    assert (run.end, file.read_text()) == ("limited", "broken")
    assert len(failures(world)) == 1
    later = replace(world, clock=lambda: datetime.now(UTC) + timedelta(hours=1))
    assert run_runbook(Mend(), order(file, "later"), later).end == "repaired"


def test_one_repair_at_a_time(world, file):
    """Somebody else's lease: nothing is done, nothing recorded; the lease is given back after a run."""
    now = datetime.now(UTC)
    world.control.acquire_lease(LEASE, "other", now=now, ttl=timedelta(minutes=1))

    with pytest.raises(ConflictError, match="one at a time"):
        run_runbook(Mend(), order(file), world)

    assert (file.read_text(), runs(world)) == ("broken", ())
    world.control.release_lease(LEASE, "other")
    assert run_runbook(Mend(), order(file), world).end == "repaired"
    assert world.control.lease(LEASE) is None


def test_the_same_order_again_is_answered_with_its_record(world, file):
    """Also when it is broken again meanwhile: a new fault is a new order."""
    first = run_runbook(Mend(), order(file, "notice-1"), world)
    file.write_text("broken")

    assert run_runbook(Mend(), order(file, "notice-1"), world) == first
    assert file.read_text() == "broken"
    assert run_runbook(Mend(), order(file, "notice-2"), world).end == "repaired"


@pytest.mark.parametrize(("writes", "end", "left"), [("whole", "repaired", "whole"), ("worse", "reverted", "broken")])
def test_who_is_killed_in_the_action_acts_once(world, file, writes, end, left):
    """Killed with -9, a real process: the next one sees it is gone, does not act, proves or takes back."""
    runbook = Mend()
    runbook.writes, runbook.dies = writes, True
    process = multiprocessing.get_context("fork").Process(target=run_runbook, args=(runbook, order(file, "k"), world))
    process.start()
    process.join(30)
    assert (process.exitcode, file.read_text()) == (-signal.SIGKILL, writes)

    run = run_runbook(runbook, order(file, "k"), world)  # it would kill this process if it acted

    assert (run.end, file.read_text()) == (end, left)
    assert len(world.control.history("", "runbook_begun")) == 1
