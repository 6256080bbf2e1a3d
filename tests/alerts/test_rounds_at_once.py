"""Whole rounds at once, as real processes that are killed in the middle: each notice arrives, and none twice."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections import Counter
from datetime import UTC, datetime
from email import message_from_bytes
from pathlib import Path

import numpy as np
import pytest
import yaml

from ml.records.event import Event
from ml.settings import Settings
from ml.store.alerts import AlertStore
from ml.store.telemetry import Telemetry
from tests.alerts.servers import Post, smtp_server

pytestmark = pytest.mark.slow
ROOT = Path(__file__).parents[2]
ALERTS, ROUNDS, KILLS = 40, 2, 6

#: Rounds until it is killed; it says when it has begun. A claim of who was killed is over after seconds, not a minute.
LOOKING = """
import sys
from datetime import timedelta
import ml.alerts.deliver as deliver
from ml.alerts.round import run_round
from ml.settings import settings

deliver.CLAIM = timedelta(seconds=float(sys.argv[1]))
print("begun", flush=True)
while True:
    run_round(settings(), everything=True)
"""


def install(folder: Path, port: int) -> Settings:
    """Two rules, each of whose alerts goes to an SMTP server."""
    rule = {"description": "it is so", "severity": "error", "group_by": ["source"], "actions": ["mail"]}
    names = ("broken", "worn")
    rules = [rule | {"name": n, "condition": {"kind": "match", "where": {"names": [n]}, "within": "1h"}} for n in names]
    channels = {"mail": {"kind": "email", "server": "post", "to": ["ops@perennial.invalid"]}}
    (folder / "alerts.yaml").write_text(yaml.safe_dump({"channels": channels, "rules": rules}), encoding="utf-8")
    secrets = {"post": f"smtp+plain://127.0.0.1:{port}"}
    return Settings(
        home=folder, scoring_url="http://127.0.0.1:9", mlflow_url="http://127.0.0.1:9", alert_secrets=secrets
    )


def start(current: Settings, claim: float) -> subprocess.Popen:
    """A process that does rounds."""
    command = [sys.executable, "-c", LOOKING, str(claim)]
    environment = current.child_environment({"PYTHONPATH": str(ROOT)})
    process = subprocess.Popen(command, env=environment, cwd=ROOT, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "begun\n"
    return process


def tell(current: Settings, begin: int, end: int) -> None:
    """Events of sources of those numbers, every other of the second rule."""
    now = datetime.now(UTC)
    told = [
        Event(time=now, use_case=None, source=f"s{n}", name=("broken", "worn")[n % 2], severity="error", message="so")
        for n in range(begin, end)
    ]
    Telemetry(current.control_url).add_events(told)


def keys(post: Post) -> Counter[str]:
    """Identities of the mails that the server took."""
    return Counter(message_from_bytes(envelope.content)["Message-ID"] for envelope in post.taken)


def wait_for(holds, seconds: float = 90.0) -> None:
    """Return when something holds."""
    until = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < until, "it did not happen"
        time.sleep(0.05)


def end(*processes: subprocess.Popen) -> None:
    """Kill and reap."""
    for process in processes:
        process.send_signal(signal.SIGKILL)
        process.wait(20)
        process.stdout.close()


def test_two_rounds_at_once_tell_of_each_alert_once(tmp_path):
    """Nobody is killed: as many mails as alerts, each once, by two processes that go on all the time."""
    with smtp_server(Post()) as post:
        current = install(tmp_path, post.port)
        processes = [start(current, 60.0) for _ in range(ROUNDS)]
        for n in range(0, ALERTS, 10):
            tell(current, n, n + 10)
            time.sleep(0.3)

        wait_for(lambda: len(post.taken) >= ALERTS)
        time.sleep(1.0)  # what would be told twice is told now
        end(*processes)

    assert len(keys(post)) == ALERTS
    assert set(keys(post).values()) == {1}
    assert [d.outcome for d in AlertStore(current.control_url).deliveries()] == ["delivered"] * ALERTS


def test_rounds_that_are_killed_lose_nothing_and_repeat_only_what_they_were_sending(tmp_path):
    """One of two is killed with -9 at a random moment, again and again: each alert is told of.

    What arrives twice was being sent by who was killed, one mail each at most, and is the same mail by its Message-ID.
    """
    rng = np.random.default_rng(20260105)
    with smtp_server(Post()) as post:
        current = install(tmp_path, post.port)
        processes = [start(current, 5.0) for _ in range(ROUNDS)]
        for n in range(KILLS):
            tell(current, n * 10, n * 10 + 10)
            time.sleep(float(rng.uniform(0.05, 0.8)))
            end(processes[n % ROUNDS])
            processes[n % ROUNDS] = start(current, 5.0)

        wait_for(lambda: len(keys(post)) >= 10 * KILLS)
        store = AlertStore(current.control_url)
        wait_for(lambda: sum(d.outcome == "delivered" for d in store.deliveries()) >= 10 * KILLS)
        end(*processes)

    seen = keys(post)
    fired = [step for step in store.history(limit=1000) if step.step == "fired"]
    assert (len(seen), len(fired)) == (10 * KILLS, 10 * KILLS)
    assert sum(seen.values()) - len(seen) <= KILLS
    assert {d.outcome for d in store.deliveries()} == {"delivered"}
    assert current.heartbeat.exists()
