"""The dead man's switch: who watches the watcher, and what becomes of it."""

from __future__ import annotations

import os
import shutil
import sys
import time
from datetime import UTC, datetime, timedelta
from email import message_from_bytes
from email.policy import default
from pathlib import Path

import pytest

from ml.alerts.round import Heartbeat, run_round
from ml.serving.dead_man import DeadMan
from ml.store.alerts import AlertStore

ROOT = Path(__file__).parents[2]


@pytest.fixture
def marks(tmp_path):
    """A command that leaves a line each time that it is started, and the lines."""
    path = tmp_path / "marks"
    command = [sys.executable, "-c", f"open({str(path)!r}, 'a').write('here\\n')"]

    def lines() -> int:
        return len(path.read_text().splitlines()) if path.exists() else 0

    lines.command = command
    return lines


def await_true(condition, seconds: float = 20) -> None:
    """Return when a condition holds."""
    until = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < until
        time.sleep(0.05)


def test_a_stale_heartbeat_starts_a_stand_in_and_a_fresh_one_ends_it(tmp_path, marks):
    """Again and again for as long as it is stale, never while it is fresh."""
    heartbeat = tmp_path / "heartbeat.json"
    Heartbeat(time=datetime.now(UTC)).write(heartbeat)
    man = DeadMan(heartbeat, stale_seconds=0.4, again_seconds=0.2, command=marks.command)
    man.start()
    await_true(lambda: marks() >= 2)

    man._stale = 100.0
    time.sleep(0.3)
    before = marks()
    time.sleep(0.6)

    assert marks() == before
    man.stop()


def test_where_nobody_has_ever_alerted_nothing_is_missed(tmp_path):
    """And an old heartbeat is not stale before the service itself has been there for so long."""
    heartbeat = tmp_path / "heartbeat.json"
    man = DeadMan(heartbeat, stale_seconds=180)
    now = time.time()
    assert not man.is_stale(now + 1e6)

    Heartbeat(time=datetime.now(UTC)).write(heartbeat)
    os.utime(heartbeat, (now - 86400, now - 86400))

    assert not man.is_stale(now + 179)
    assert man.is_stale(now + 181)


def test_the_service_says_that_alerting_has_stopped_and_that_it_is_back(service, installation):
    """A real replica, a heartbeat that stops: one message by the ordinary channel, and the end when the DAG is back."""
    current = installation.settings
    shutil.copy(ROOT / "alerts.yaml", current.alerts)
    service.start("--stale-after", "1")
    Heartbeat(time=datetime.now(UTC)).write(current.heartbeat)

    await_true(lambda: list(current.mailbox.glob("alerting-stopped-*-fired-*.eml")), 60)
    store = AlertStore(current.control_url)
    await_true(lambda: any(d.channel == "mailbox" for d in store.deliveries()))
    (letter,) = current.mailbox.glob("alerting-stopped-*.eml")
    run_round(current, clock=lambda: datetime.now(UTC) + timedelta(minutes=6))

    text = message_from_bytes(letter.read_bytes(), policy=default).get_body(("plain",)).get_content()
    assert "The DAG perennial.alerting has stopped looking: its last round ended at" in text
    assert [step.step for step in store.history(rule="alerting_stopped")] == ["resolved", "fired"]
