"""Eight writers at once, as processes, also killed at any moment: one chain, nothing confirmed is lost."""

from __future__ import annotations

import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import pytest

from ml.records.measure import Estimate
from ml.store.control import ControlStore
from ml.store.verify_ledger import verify_lines

NOW = datetime(2026, 1, 1, tzinfo=UTC)
ROOT = Path(__file__).parents[2]

#: Forks writers that record without end; each says on its own pipe what was confirmed. Kills one at a time.
DRIVER = """
import os, random, signal, sys, time
sys.path.insert(0, sys.argv[1])
from datetime import UTC, datetime
from ml.records.measure import Estimate
from ml.store.control import ControlStore

url, kills, rng = sys.argv[2], int(sys.argv[3]), random.Random(7)
confirmed = open(sys.argv[4], "a")

def write(name, limit):
    store = ControlStore(url)
    n = 0
    while limit is None or n < limit:
        moment = datetime.now(UTC)
        store.record("check", f"{name}/{n}", Estimate(value=1.0, n=n), use_case="ferry", as_of=moment, now=moment)
        os.write(confirmed.fileno(), f"{name}/{n}\\n".encode())
        n += 1

def start(name, limit):
    pid = os.fork()
    if pid == 0:
        try:
            write(name, limit)
        except BaseException as error:
            os.write(2, f"{name}: {error!r}\\n".encode())
            os._exit(1)
        os._exit(0)
    return pid

if kills == 0:
    for pid in [start(f"w{i}", 25) for i in range(8)]:
        os.waitpid(pid, 0)
    sys.exit()
running = [start(f"w{i}", None) for i in range(8)]
for number in range(kills):
    time.sleep(rng.uniform(0.0, 0.1))
    at = rng.randrange(8)
    os.kill(running[at], signal.SIGKILL)
    os.waitpid(running[at], 0)
    running[at] = start(f"k{number}", None)
for pid in running:
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
"""


def run(folder: Path, kills: int) -> tuple[ControlStore, list[str]]:
    """The store after the driver has ended, and the keys that it was told are recorded."""
    url, confirmed = f"sqlite:///{folder}/control.db", folder / "confirmed.txt"
    done = subprocess.run(
        [sys.executable, "-c", DRIVER, str(ROOT), url, str(kills), str(confirmed)],
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    return ControlStore(url), confirmed.read_text().split()


def is_whole(store: ControlStore, confirmed: list[str]) -> None:
    """Numbers without gap, a sound chain, each confirmed record in it, no record without an entry."""
    entries = store.ledger_entries()
    assert [entry.number for entry in reversed(entries)] == list(range(1, len(entries) + 1))
    assert set(confirmed) <= {entry.key for entry in entries}
    assert store.unrecorded() == ()
    folder = store.ledger_folder
    found = verify_lines(store.ledger_lines(), folder.public_key(), heads={"head": folder.head()}, newest=None)
    assert found.findings == ()


def test_eight_writers_make_one_chain(tmp_path):
    """Two hundred records, each with one number; the head is the newest entry."""
    store, confirmed = run(tmp_path, kills=0)

    assert len(confirmed) == len(store.ledger_entries()) == 200
    assert store.ledger_folder.head()["number"] == 200
    is_whole(store, confirmed)


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_writers_killed_two_hundred_times_lose_nothing(tmp_path):
    """Eight at once, one of them killed at a random moment, two hundred times; the ledger goes on afterwards."""
    store, confirmed = run(tmp_path, kills=200)

    assert len(confirmed) > 200
    is_whole(store, confirmed)
    store.record("check", "after", Estimate(value=1.0, n=1), use_case="ferry", as_of=NOW, now=NOW)
    is_whole(store, [*confirmed, "after"])
