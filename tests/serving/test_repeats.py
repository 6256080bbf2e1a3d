"""What each request may meet is in the log at once, and then once a period with its number."""

from __future__ import annotations

import logging
import time

import pytest

from ml.serving.repeats import PERIOD_SECONDS, Repeats, say_repeated
from ml.serving.telemetry import Notes


@pytest.fixture
def said(caplog):
    """Lines of a logger of our own, as they were said."""
    log = logging.getLogger("ml.serving.tried")
    caplog.set_level(logging.ERROR, log.name)
    return Repeats(log, "capture failed"), lambda: [
        record.getMessage() for record in caplog.records if record.name == log.name
    ]


def test_the_first_is_said_at_once_and_the_others_once_a_period(said):
    """By use case; every time is in one count."""
    repeats, lines = said
    for number in range(5):
        repeats.note("quay", f"request_id={number} disk full")
    repeats.note("ferry", "request_id=9 disk full")

    first = lines()
    now = time.monotonic()
    repeats.say(now)
    repeats.say(now + PERIOD_SECONDS + 1)
    then = lines()[2:]
    repeats.say(now + 2 * PERIOD_SECONDS + 2)
    repeats.note("quay", "request_id=10 disk full")

    assert first == [
        "capture failed: use_case=quay count=1 request_id=0 disk full",
        "capture failed: use_case=ferry count=1 request_id=9 disk full",
    ]
    assert then == ["capture failed: use_case=quay count=4 request_id=4 disk full"]
    assert lines()[3:] == ["capture failed: use_case=quay count=1 request_id=10 disk full"]  # it was over meanwhile


def test_what_waits_at_the_end_is_said(said):
    """And nothing of it twice."""
    repeats, lines = said
    for _ in range(3):
        repeats.note("quay", "x")

    say_repeated(float("inf"))
    say_repeated(float("inf"))

    assert [line.split()[3] for line in lines()] == ["count=1", "count=2"]


def test_an_exception_counts_as_often_as_it_came(said):
    """One line with a trace stands for so many; words of a client do not change the number."""
    repeats, _ = said
    notes = Notes("replica-0")
    log = logging.getLogger("ml.serving.tried")
    log.addHandler(notes)
    try:
        for number in range(4):
            repeats.note("quay", f"request_id={number} count=1000000 use_case=other", ValueError("x"))
        say_repeated(float("inf"))
    finally:
        log.removeHandler(notes)

    assert notes.exceptions == 4
    assert [(e.name, e.code, e.use_case, e.count) for e in notes.take()] == [
        ("capture_failed", 501, "quay", 1),
        ("capture_failed", 501, "quay", 3),
    ]
