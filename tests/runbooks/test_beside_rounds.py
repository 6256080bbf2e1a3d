"""Repairs that alerts order run beside the rounds: they hold up nothing, and no kill loses or doubles one."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import yaml

from ml.alerts.round import Heartbeat, run_round
from ml.errors import InputError
from ml.records.event import Event
from ml.runbooks.holder import is_gone, name_holder
from ml.runbooks.orders import is_at_work, open_orders, place_order
from ml.runbooks.run import LEASE, Order, runs
from ml.runbooks.runbook import World
from ml.runbooks.shelf import RUNBOOKS
from ml.settings import Settings
from ml.stack.processes import end_processes, find_processes
from ml.stack.repair import NAME, LocalRepairs
from ml.store.alerts import AlertStore
from ml.store.control import ControlStore
from ml.store.telemetry import Telemetry
from tests.letters import read_letters
from tests.runbooks.slow_worker import Slow

pytestmark = pytest.mark.slow
ROOT = Path(__file__).parents[2]
COMMAND = (sys.executable, "-m", "tests.runbooks.slow_worker")
RULES = {
    "channels": {"mend": {"kind": "runbook", "runbook": "slow"}, "box": {"kind": "mailbox"}},
    "groups": {"repair": ["mend", "box"], "people": ["box"]},
    "rules": [
        {
            "name": name,
            "description": "it is so",
            "severity": "error",
            "condition": {"kind": "match", "where": {"names": [name]}, "within": "1h"},
            "group_by": ["source"],
            "actions": [action],
        }
        for name, action in (("broken", "repair"), ("other", "people"))
    ],
}


@pytest.fixture
def current(tmp_path, monkeypatch) -> Settings:
    """An installation with a rule whose runbook is slow, and another rule; what is started ends with the test."""
    monkeypatch.setitem(RUNBOOKS, "slow", Slow())
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    (tmp_path / "alerts.yaml").write_text(yaml.safe_dump(RULES), encoding="utf-8")
    found = Settings(home=tmp_path, scoring_url="http://127.0.0.1:9", mlflow_url="http://127.0.0.1:9")
    yield found
    end_processes(found.var, grace=1.0)


@pytest.fixture
def repairs(current):
    """Starts workers that know the slow runbook; reaps them."""
    found = LocalRepairs(current, command=COMMAND)
    yield found
    end_processes(current.var, grace=1.0)


def broken(current: Settings, name: str = "one") -> Path:
    """A broken folder, told of by an event whose source it is."""
    folder = current.home / name
    folder.mkdir()
    (folder / "broken").touch()
    tell(current, "broken", str(folder))
    return folder


def tell(current: Settings, name: str, source: str) -> None:
    """An event of now."""
    told = Event(time=datetime.now(UTC), use_case=None, source=source[-100:], name=name, severity="error", message="so")
    Telemetry(current.control_url).add_events([told])


def rounds(current: Settings, repairs: LocalRepairs, until, *, later: timedelta = timedelta(0)) -> None:
    """Rounds until something is so, by a clock that is so much later."""
    limit = time.monotonic() + 60.0
    while True:
        run_round(current, repairs=repairs, everything=True, clock=lambda: datetime.now(UTC) + later)
        if until():
            return
        assert time.monotonic() < limit, (current.var / "stack" / f"{NAME}.log").read_text()
        time.sleep(0.1)


def acts(current: Settings) -> list[str]:
    """What was done, without process numbers."""
    path = current.home / "acts"
    return [" ".join(line.split()[:2]) for line in path.read_text().splitlines()] if path.exists() else []


def records(current: Settings) -> list[str]:
    """Ends of the runs, oldest first."""
    control, telemetry = ControlStore(current.control_url), Telemetry(current.control_url)
    return [run.end for run in runs(World(current, control, telemetry))][::-1]


def outcomes(current: Settings) -> list[tuple[str, str]]:
    """Tries to deliver, oldest first."""
    return [(one.channel, one.outcome) for one in AlertStore(current.control_url).deliveries()][::-1]


def test_a_repair_that_takes_long_holds_up_no_rule_and_no_heartbeat(current, repairs):
    """Others are told of, the heartbeat goes on; its notice is delivered when it was seen to be repaired, once."""
    folder = broken(current)
    rounds(current, repairs, (folder / "begun").exists)
    first = Heartbeat.read(current.heartbeat).time

    tell(current, "other", "somebody")
    rounds(current, repairs, lambda: read_letters(current.mailbox, "other-"))

    assert Heartbeat.read(current.heartbeat).time > first
    assert (records(current), outcomes(current)) == ([], [("box", "delivered")])
    assert [one.begun for one in open_orders(ControlStore(current.control_url))] == [True]
    (folder / "go").touch()
    rounds(current, repairs, lambda: ("mend", "delivered") in outcomes(current))
    rounds(current, repairs, lambda: True)

    assert (records(current), acts(current)) == (["repaired"], ["one begin", "one end"])
    assert outcomes(current).count(("mend", "delivered")) == 1
    assert open_orders(ControlStore(current.control_url)) == ()


def test_two_repairs_at_once_come_one_after_the_other(current, repairs):
    """Both are carried out; the second begins when the first has ended."""
    folders = [broken(current, name) for name in ("one", "two")]
    rounds(current, repairs, lambda: "begin" in " ".join(acts(current)))
    for _ in range(3):
        run_round(current, repairs=repairs, everything=True)
    assert len(acts(current)) == 1

    for folder in folders:
        (folder / "go").touch()
    rounds(current, repairs, lambda: outcomes(current).count(("mend", "delivered")) == 2)

    done = acts(current)
    assert [line.split()[1] for line in done] == ["begin", "end", "begin", "end"]
    assert (done[0].split()[0], done[2].split()[0]) == (done[1].split()[0], done[3].split()[0])
    assert records(current) == ["repaired", "repaired"]


@pytest.mark.parametrize(("helped", "end"), [(True, "repaired"), (False, "reverted")])
def test_a_repair_that_is_killed_is_proved_or_taken_back_by_the_next_round(current, repairs, helped, end):
    """Killed with -9 in the action: no second action, no wait for a lease; what is not seen is not told as repaired."""
    folder = broken(current)
    (folder / "hang").touch()
    rounds(current, repairs, (folder / "begun").exists)
    if helped:
        (folder / "go").touch()
        rounds(current, repairs, lambda: "one end" in acts(current))
    (worker,) = find_processes(current.var, service=NAME)

    worker.send_signal(signal.SIGKILL)
    rounds(current, repairs, lambda: records(current))
    rounds(current, repairs, lambda: len(outcomes(current)) == (1 if helped else 2))

    assert records(current) == [end]
    assert acts(current) == (["one begin", "one end"] if helped else ["one begin", "one revert"])
    assert outcomes(current) == ([("mend", "delivered")] if helped else [("mend", "failed"), ("box", "delivered")])
    assert len(Telemetry(current.control_url).search(names=["runbook_failed"])) == (not helped)


KILLED = """
import os, sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
import ml.alerts.round, ml.stack.repair
from ml.alerts.round import run_round
from ml.runbooks.shelf import RUNBOOKS
from ml.settings import Settings
from ml.stack.repair import LocalRepairs
from tests.runbooks.slow_worker import Slow

RUNBOOKS["slow"] = Slow()
current = Settings(home=Path(sys.argv[1]), scoring_url="http://127.0.0.1:9", mlflow_url="http://127.0.0.1:9")
repairs = LocalRepairs(current, command=(sys.executable, "-m", "tests.runbooks.slow_worker"))

def die(*_, **__):
    os.kill(os.getpid(), 9)

place, where = ml.stack.repair.place_order, sys.argv[2]
if where == "before the order":
    ml.stack.repair.place_order = die
if where == "after the order":
    ml.stack.repair.place_order = lambda *a, **k: (place(*a, **k), die())
if where == "before the start":
    LocalRepairs._start = die
if where == "after the start":
    ml.alerts.round.Heartbeat.write = die
later = timedelta(seconds=float(sys.argv[3]))
run_round(current, repairs=repairs, everything=True, clock=lambda: datetime.now(UTC) + later)
"""


STEPS = ("before the order", "after the order", "before the start", "after the start")


def test_rounds_that_are_killed_lose_no_repair_and_double_none(current, repairs):
    """SIGKILL at each step of the rounds that order it; a round in peace has it carried out and delivered, once."""
    folder = broken(current)
    (folder / "go").touch()
    for number, where in enumerate(STEPS):  # each when the claim of the one before has run out
        command = [sys.executable, "-c", KILLED, str(current.home), where, str(70 * number)]
        done = subprocess.run(command, env=os.environ, cwd=ROOT, check=False, timeout=60)
        assert done.returncode == -signal.SIGKILL, where

    rounds(current, repairs, lambda: outcomes(current), later=timedelta(seconds=70 * len(STEPS)))

    assert acts(current) == ["one begin", "one end"]
    assert (records(current), outcomes(current)) == (["repaired"], [("mend", "delivered")])


def test_a_repair_that_hangs_is_ended_before_another_begins(current, repairs):
    """SIGSTOP, and its lease runs out: it never wakes up beside the next, which takes back."""
    folder = broken(current)
    rounds(current, repairs, (folder / "begun").exists)
    (worker,) = find_processes(current.var, service=NAME)
    worker.send_signal(signal.SIGSTOP)
    later = LocalRepairs(current, command=COMMAND, clock=lambda: datetime.now(UTC) + timedelta(minutes=11))

    later.attend()
    worker.wait(20)
    rounds(current, repairs, lambda: records(current))

    assert (records(current), acts(current)) == (["reverted"], ["one begin", "one revert"])


def test_an_order_for_a_runbook_that_there_is_not_is_refused(current):
    """Nothing is kept that nobody could ever carry out."""
    control = ControlStore(current.control_url)

    with pytest.raises(InputError, match="no such runbook"):
        place_order("magic", Order("x", "anna", "why", key="1"), control, now=datetime.now(UTC))

    assert open_orders(control) == ()


def test_a_holder_is_gone_when_its_process_is(current):
    """Killed, or a zombie; a process of another machine, or a number that another process has now, is not judged."""
    told = subprocess.run(
        [sys.executable, "-c", "from ml.runbooks.holder import name_holder; print(name_holder())"],
        capture_output=True,
        text=True,
        check=True,
        cwd=ROOT,
    ).stdout.strip()
    mine = name_holder()
    control, now = ControlStore(current.control_url), datetime.now(UTC)

    assert [is_gone(told), is_gone(mine), is_gone("f00"), is_gone("elsewhere|1|2|3")] == [True, False, False, False]
    place, pid, birth, number = mine.split("|")
    assert is_gone("|".join((place, pid, f"{birth}0", number)))
    for holder, works in ((told, False), (mine, True)):
        assert control.acquire_lease(LEASE, holder, now=now, ttl=timedelta(minutes=1))
        assert is_at_work(control, now=now) is works
        control.release_lease(LEASE, holder)
