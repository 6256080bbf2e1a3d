"""A round against real stores and a real probe: told once, and alerting that does not work says so."""

from __future__ import annotations

import os
import shutil
import threading
import time
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from ml.alerts.probe import probe
from ml.alerts.round import Heartbeat, run_round, tell_of_failure
from ml.errors import InputError, PerennialError
from ml.records.event import Event
from ml.serving.telemetry import Spool
from ml.settings import Settings
from ml.store.alerts import AlertStore
from ml.store.telemetry import Telemetry
from tests.letters import read_letters

ROOT = Path(__file__).parents[2]


@contextmanager
def answering(status: int):
    """A service whose readiness has this status; its address."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(status)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            """Quiet."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@pytest.fixture
def current(tmp_path) -> Settings:
    """Settings of an installation with the shipped rules, whose service is away."""
    shutil.copy(ROOT / "alerts.yaml", tmp_path / "alerts.yaml")
    return Settings(home=tmp_path, scoring_url="http://127.0.0.1:9")


@pytest.mark.parametrize(("status", "up"), [(200, 1.0), (503, 0.0), (500, 0.0)])
def test_the_probe_sees_what_a_client_sees(event, status, up):
    """Ready, or not: an event says what was answered."""
    moment = event().time
    with answering(status) as url:
        events, rollups = probe(url, now=moment)

    assert next(r.total for r in rollups if r.name == "probe_up") == up
    assert [f"{status}" in told.message for told in events] == ([] if up else [True])


def test_a_service_that_is_away_fires_and_one_that_is_back_clears(current, event):
    """Two of three looks, half a minute apart; one message that it is away, one that it is over."""
    now = event().time

    def rounds(settings: Settings, begin: int, count: int) -> None:
        for number in range(begin, begin + count):
            run_round(settings, clock=lambda n=number: now + n * timedelta(seconds=30))

    rounds(current, 0, 5)
    away = sorted(path.name for path in current.mailbox.glob("avail*.eml"))
    with answering(200) as url:
        rounds(current.model_copy(update={"scoring_url": url}), 5, 3)
    back = sorted(path.name for path in current.mailbox.glob("avail*.eml"))

    assert [name.partition("-2026")[0] for name in away] == ["availability"]
    assert [name.split("-")[2] for name in back] == ["fired", "resolved"]


def test_an_error_of_the_model_in_a_spool_is_a_message_after_one_round(current, event):
    """However many there are of it; the message names a request."""
    now = event().time
    spool = Spool(current.telemetry / "replica-0.sqlite")
    for number in range(50):
        told = event(-0.5, request_id=f"r-{number}", message="the graph failed: NaN")
        spool.append([("event", told.model_dump_json())])

    first = run_round(current, clock=lambda: now)
    run_round(current, clock=lambda: now + timedelta(seconds=30))

    (letter,) = read_letters(current.mailbox, "inference-errors-")
    assert "the graph failed: NaN" in letter
    assert "request r-49" in letter
    assert [step.rule for step in first.look.transitions if step.step == "fired"] == ["inference_errors"]


def test_a_damaged_spool_does_not_stop_the_round(current, event):
    """It is named; everything else is looked at."""
    current.telemetry.mkdir(parents=True)
    (current.telemetry / "replica-1.sqlite").write_bytes(b"no database at all" * 100)

    done = run_round(current, clock=lambda: event().time)

    assert len(done.problems) == 1
    assert "replica-1" in done.problems[0]
    assert len(done.look.looked) > 20


def test_rules_that_break_are_told_by_the_rules_before(current, event):
    """One message about the rule file, with every problem."""
    now = event().time
    run_round(current, clock=lambda: now)
    current.alerts.write_text("rules: 5\nchannels: {}\n")

    done = run_round(current, clock=lambda: now + timedelta(seconds=30))

    assert "rules" in done.in_force.problem
    (letter,) = read_letters(current.mailbox, "rules-refused-")
    assert "rules: " in letter
    assert "channels: " in letter


def test_a_round_without_any_rules_is_an_error_that_leaves_no_heartbeat(current, event):
    """Who watches the heartbeat will notice."""
    current.alerts.unlink()

    with pytest.raises(InputError, match="rule file cannot be read"):
        run_round(current, clock=lambda: event().time)
    assert not current.heartbeat.exists()


def test_dead_man_tells_what_keeps_a_round_from_being_done(current, monkeypatch):
    """A control database that is none: the mailbox has it, without any channel being asked."""
    from ml.alerts import dead_man

    (current.var).mkdir()
    (current.var / "control.db").write_bytes(b"no database at all" * 100)
    monkeypatch.setattr(dead_man, "settings", lambda: current)

    assert dead_man.main() == 3
    (letter,) = read_letters(current.mailbox, "alerting-failed-")
    assert "control database does not answer" in letter


def test_old_rollups_are_forgotten_once_an_hour(current, event, rollup):
    """Those of more than thirty-five days; events stay longer."""
    now = event().time  # noon
    telemetry = Telemetry(current.control_url)
    telemetry.add_rollups([rollup(-36 * 1440)])
    telemetry.add_events([event(-36 * 1440), event(-401 * 1440, name="ancient")])

    run_round(current, clock=lambda: now)

    assert telemetry.begin() == now - timedelta(days=36)
    assert [told.name for told in telemetry.search(names=["ancient", "inference_failed"])] == ["inference_failed"]
    assert isinstance(telemetry.search()[0], Event)
    assert issubclass(InputError, PerennialError)
    assert AlertStore(current.control_url).rule_file() is not None


def test_the_rules_of_a_drill_are_in_force_while_they_are_fresh(current, event):
    """With its own secrets; a minute old, the installation's are in force again, and the drill's were never kept."""
    text = current.alerts.read_text(encoding="utf-8")
    current.drill_rules.parent.mkdir(parents=True, exist_ok=True)
    current.drill_rules.write_text(text.replace("tick: 30s", "tick: 5s"), encoding="utf-8")
    current.drill_rules.with_name("drill.secrets.json").write_text('{"desk": "key"}', encoding="utf-8")

    drilled = run_round(current)
    patience = Heartbeat.read(current.heartbeat).stale_after
    old = time.time() - 61
    os.utime(current.drill_rules, (old, old))
    then = run_round(current)

    assert drilled.in_force.rules.tick == timedelta(seconds=5)
    assert (drilled.in_force.secrets, patience) == ({"desk": "key"}, 35.0)
    assert (then.in_force.rules.tick, then.in_force.secrets) == (timedelta(seconds=30), {})
    assert AlertStore(current.control_url).rule_file().text == text
    assert Heartbeat.read(current.heartbeat).stale_after == 110.0


def test_a_drill_file_with_problems_changes_nothing(current):
    """The installation's rules stay in force."""
    current.drill_rules.parent.mkdir(parents=True, exist_ok=True)
    current.drill_rules.write_text("rules: nonsense", encoding="utf-8")
    current.drill_rules.with_name("drill.secrets.json").write_text("{}", encoding="utf-8")

    assert run_round(current).in_force.problem == ""


def test_alerting_that_fails_again_says_so_again(current):
    """Once while it lasts, and once more after it had worked in between."""
    fault = PerennialError("control database does not answer", where="control.db", got="database is locked")
    run_round(current)
    now = Heartbeat.read(current.heartbeat).time

    first = tell_of_failure(fault, current, now=now + timedelta(seconds=40))
    again = tell_of_failure(fault, current, now=now + timedelta(seconds=80))
    Heartbeat(time=now + timedelta(seconds=100)).write(current.heartbeat)
    then = tell_of_failure(fault, current, now=now + timedelta(seconds=140))

    assert first == again != then
    assert tell_of_failure(fault, current, now=now + timedelta(hours=1.5)) != then


def test_replicas_are_listened_to(tmp_path):
    """Seconds since the last word, by replica; of one that ended in order nothing is told."""
    from ml.alerts.probe import probe_replicas
    from ml.records.release import Heartbeat as Word

    now = datetime.now(UTC)
    for name, age in (("replica-0", 0.5), ("replica-1", 42.0)):
        word = Word(replica=name, pid=1, at=now - timedelta(seconds=age), use_cases=())
        word.write(tmp_path / f"{name}.heartbeat.json")

    assert {one.source: one.total for one in probe_replicas(tmp_path, now=now)} == {"replica-0": 0.5, "replica-1": 42.0}


def test_mlflow_is_probed(current):
    """Up when it answers, down when nobody listens."""
    from ml.alerts.probe import probe_mlflow

    with answering(200) as url:
        (up,) = probe_mlflow(url, now=datetime.now(UTC))
    (down,) = probe_mlflow("http://127.0.0.1:9", now=datetime.now(UTC))

    assert (up.name, up.label, up.total, down.total) == ("service_up", "mlflow", 1.0, 0.0)
