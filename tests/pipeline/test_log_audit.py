"""The log audit: error lines that are alike are one signature, a new one is found, and each line counts once."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ml.pipeline.log_audit import audit_logs, find_logs
from ml.pipeline.log_lines import hide_secrets, read_errors, template_of
from ml.store.log_signatures import LogSignatures, Position

NOW = datetime(2026, 1, 5, 12, tzinfo=UTC)

JSON_ERROR = json.dumps({"timestamp": "2026-01-05T12:00:00Z", "level": "error", "event": "pool 3 is away"})
JSON_RAISED = json.dumps(
    {
        "level": "error",
        "event": "Task failed with exception",
        "error_detail": [
            {"exc_type": "ServiceAway", "exc_value": "no answer from http://127.0.0.1:5000/a", "frames": []}
        ],
    }
)
CONSOLE_ERROR = "2026-01-05T12:00:00.412299Z [error    ] pool 4 is away            [airflow.sdk.client] dag_id=a try=1"
PLAIN_ERROR = "2026-01-05 12:00:00,123 ERROR ml.serving.tick capture failed: request_id=5f0c2a9e11d24a07"
TRACEBACK = [
    "Traceback (most recent call last):",
    '  File "/opt/a.py", line 3, in work',
    "    raise ValueError(7)",
    "ValueError: 7 is too many",
]
HARMLESS = [
    "2026-01-05T12:00:00Z [info     ] no error was found: ERROR would be a word of the text [task.stdout]",
    '{"level": "info", "event": "error: none"}',
    '{"level": "error"',
    "2026-01-05 12:00:00,123 INFO ml.serving serving",
    "INFO:     127.0.0.1:1 - GET /error 200 OK",
    "",
]


@pytest.mark.parametrize(
    ("lines", "templates"),
    [
        ([JSON_ERROR], ["pool <n> is away"]),
        ([CONSOLE_ERROR], ["pool <n> is away"]),
        ([JSON_RAISED], ["ServiceAway: no answer from <url>"]),
        ([PLAIN_ERROR], ["ml.serving.tick capture failed: request_id=<id>"]),
        (TRACEBACK, ["ValueError: <n> is too many"]),
        ([*TRACEBACK, "", "During handling of the above exception:", "", *TRACEBACK], ["ValueError: <n> is too many"]),
        (HARMLESS, []),
        ([*HARMLESS, *TRACEBACK, *HARMLESS, JSON_ERROR], ["ValueError: <n> is too many", "pool <n> is away"]),
    ],
)
def test_errors_of_every_form_of_log(lines, templates):
    """JSON, console and plain lines, tracebacks, chained ones once each; what only speaks of errors is none."""
    reading = read_errors(lines)

    assert [error.template for error in reading.errors][-len(templates) or None :] == templates
    assert reading.lines == len(lines)


def test_a_traceback_that_has_not_ended_waits_for_its_end():
    """The lines from its begin on are read again."""
    assert read_errors([PLAIN_ERROR, *TRACEBACK[:3]]).lines == 1
    assert len(read_errors([PLAIN_ERROR, *TRACEBACK[:3]]).errors) == 1


@given(st.integers(0, 10**6), st.uuids(), st.datetimes().filter(lambda moment: moment.year >= 1000))
def test_lines_that_differ_in_numbers_names_and_times_are_alike(number, identity, moment):
    """One template for all of them."""
    text = (
        f"run manual__{moment.isoformat()}_3fdb of {identity} at {moment.isoformat()} took {number} ms, /a/{number}/b"
    )

    assert template_of(text) == "run <run> of <id> at <time> took <n> ms, <path>"


@given(st.text(max_size=200))
def test_no_line_breaks_the_reading(text):
    """Whatever stands in a log, a template comes out, and its own template is one that is known."""
    read_errors(text.splitlines())

    assert len(template_of(text)) <= 300


def test_secrets_do_not_get_into_the_record():
    """Neither into the template nor into the example that people are sent."""
    text = "login failed: password=hunter2 token: abc123 Authorization: Bearer"

    assert "hunter2" not in hide_secrets(text) + template_of(text)
    assert "abc123" not in hide_secrets(text) + template_of(text)


@pytest.fixture
def logs(tmp_path):
    """A folder of logs, with a task's and a service's."""
    task = tmp_path / "airflow" / "logs" / "dag_id=a.monitor" / "run_id=r" / "task_id=ingest" / "attempt=1.log"
    task.parent.mkdir(parents=True)
    task.write_text(JSON_ERROR + "\n", encoding="utf-8")
    service = tmp_path / "stack" / "scoring.log"
    service.parent.mkdir()
    service.write_text("\n".join([PLAIN_ERROR, *TRACEBACK, ""]), encoding="utf-8")
    return tmp_path


@pytest.fixture
def signatures(tmp_path):
    """A control database of its own."""
    return LogSignatures(f"sqlite:///{tmp_path}/control.db")


def audit(logs, signatures, now=NOW):
    """One look at every log."""
    return audit_logs(find_logs([logs / "stack", logs / "airflow"], since=None), logs, signatures, now=now)


def counts(signatures, **since):
    """How often each template was seen."""
    return {one.template: one.count for one in signatures.signatures(**since)}


def test_a_seeded_new_signature_is_found_counted_and_shown(logs, signatures):
    """What was known before is not new; the new one has its count, its log and an example."""
    audit(logs, signatures)
    seeded = "2026-01-06 01:00:00,1 ERROR ml.store lake is torn at page {}\n"
    with (logs / "stack" / "scoring.log").open("a", encoding="utf-8") as log:
        log.writelines([PLAIN_ERROR + "\n", seeded.format(17), seeded.format(18)])

    done = audit(logs, signatures, NOW + timedelta(days=1))

    (new,) = signatures.signatures(since=NOW + timedelta(hours=1))
    assert (done.files, done.errors) == (1, 3)
    assert (new.template, new.count, new.source) == ("ml.store lake is torn at page <n>", 2, "scoring")
    assert new.example == "ml.store lake is torn at page 17"
    assert counts(signatures)["ml.serving.tick capture failed: request_id=<id>"] == 2


def test_a_task_is_named_by_dag_and_task(logs, signatures):
    """Not by the folder that its log happens to lie in."""
    audit(logs, signatures)

    sources = {one.template: one.source for one in signatures.signatures()}
    assert sources["pool <n> is away"] == "a.monitor.ingest"


def test_a_second_look_counts_nothing_again(logs, signatures):
    """However often it looks."""
    audit(logs, signatures)
    before = counts(signatures)

    assert (audit(logs, signatures).files, counts(signatures)) == (0, before)


def test_a_log_that_begins_anew_is_read_from_its_begin(logs, signatures):
    """Cut to nothing, or replaced by another file of the same name."""
    audit(logs, signatures)
    path = logs / "stack" / "scoring.log"
    path.write_text(TRACEBACK[0] + "\n" + TRACEBACK[3] + "\n", encoding="utf-8")
    audit(logs, signatures)
    path.rename(path.with_suffix(".old"))
    path.write_text("\n".join([PLAIN_ERROR, *TRACEBACK, PLAIN_ERROR, ""]), encoding="utf-8")

    audit(logs, signatures)

    assert counts(signatures)["ValueError: <n> is too many"] == 3
    assert counts(signatures)["ml.serving.tick capture failed: request_id=<id>"] == 3


def test_a_line_that_is_being_written_is_read_when_it_is_whole(logs, signatures):
    """Half a line would be half a signature."""
    with (logs / "stack" / "scoring.log").open("a", encoding="utf-8") as log:
        log.write("2026-01-06 01:00:00,1 ERROR ml.store half")
        log.flush()
        audit(logs, signatures)
        assert not any("half" in template for template in counts(signatures))
        log.write(" and whole\n")

    audit(logs, signatures)

    assert counts(signatures)["ml.store half and whole"] == 1


def test_logs_that_were_not_written_since_the_last_look_are_not_opened(logs):
    """A year of tasks leaves half a million of them."""
    old = logs / "stack" / "scoring.log"
    os.utime(old, (NOW.timestamp() - 86_400,) * 2)

    found = list(find_logs([logs / "stack", logs / "airflow", logs / "nowhere"], since=NOW))

    assert [path.name for path in found] == ["attempt=1.log"]


def test_two_looks_at_once_count_once(logs, signatures):
    """The second finds that the position has moved, and leaves the log alone."""
    name, size = "stack/scoring.log", (logs / "stack" / "scoring.log").stat()

    first = signatures.keep(name, {}, before=None, after=Position(size.st_ino, 10), now=NOW)
    second = signatures.keep(name, {}, before=None, after=Position(size.st_ino, 20), now=NOW)
    third = signatures.keep(name, {}, before=Position(size.st_ino, 5), after=Position(size.st_ino, 20), now=NOW)

    assert (first, second, third) == (True, False, False)


def test_a_look_that_is_killed_is_made_up_for_by_the_next(logs, signatures, tmp_path):
    """Killed after the first log is done: what was counted stays counted, the rest is counted once."""
    script = f"""
import os, signal
from datetime import datetime, UTC
from pathlib import Path
from ml.pipeline.log_audit import audit_logs, find_logs
from ml.store.log_signatures import LogSignatures
folder = Path({str(logs)!r})
class Killed(LogSignatures):
    def keep(self, *args, **options):
        kept = super().keep(*args, **options)
        os.kill(os.getpid(), signal.SIGKILL)
audit_logs(find_logs([folder / "stack", folder / "airflow"], since=None), folder,
           Killed("sqlite:///{tmp_path}/control.db"), now=datetime.now(UTC))
"""
    killed = subprocess.run([sys.executable, "-c", script], check=False, timeout=60)
    assert killed.returncode == -9
    first = sum(counts(signatures).values())
    assert first == 2

    audit(logs, signatures)

    assert counts(signatures) == {
        "pool <n> is away": 1,
        "ml.serving.tick capture failed: request_id=<id>": 1,
        "ValueError: <n> is too many": 1,
    }
