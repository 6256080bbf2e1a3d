"""The health walk: what is away is not well or unknown, what is too full is told, and a rule fires and clears."""

from __future__ import annotations

import shutil
import subprocess
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pandas as pd
import pytest
from deltalake import DeltaTable

from ml.alerts.health_limits import HealthLimits
from ml.alerts.look import look
from ml.alerts.rules import load_rules
from ml.errors import PerennialError
from ml.records.health import Health, Resource
from ml.records.release import Heartbeat
from ml.records.rollup import Rollup
from ml.runbooks.run import runs
from ml.serving.dead_man import COMMAND
from ml.settings import Settings
from ml.stack.health import note_health, read_bad_lines, read_limits, walk
from ml.stack.health_range import summarise
from ml.stack.machine import judge, look_at_machine, measured
from ml.stack.repair import open_world
from ml.store.alerts import AlertStore
from ml.store.frames import quarantine_rows
from ml.store.layout import QUARANTINE
from ml.store.table import LakeTable
from ml.store.telemetry import Telemetry
from tests.letters import read_letters

ROOT = Path(__file__).parents[2]


@pytest.fixture
def current(tmp_path) -> Settings:
    """An installation of which nothing runs."""
    away = dict.fromkeys(("airflow_url", "mlflow_url", "scoring_url"), "http://127.0.0.1:9")
    return Settings(home=tmp_path, **away)


def by_name(health: Health) -> dict[str, Resource]:
    """Resources by name."""
    return {one.name: one for one in health.resources}


def test_nothing_that_is_away_is_well(current):
    """Asked and silent is not well; what only the silent one knows is unknown; the machine itself is measured."""
    found = by_name(walk(current))

    silent = {"replica-0", "airflow-api-server", "mlflow", "alias-watch"}
    hidden = {"airflow-scheduler", "airflow-dag-processor", "airflow-triggerer", "airflow-workers"}
    assert {name for name, one in found.items() if one.verdict == "not_well"} >= silent
    assert {name for name, one in found.items() if one.verdict == "unknown"} == hidden
    assert {"control_database", "lake", "cpu", "memory", "disk", "open_files"} <= set(found)
    assert all(0 <= found[name].utilisation <= 1 for name in ("cpu", "memory", "disk", "open_files"))
    assert found["control_database"].verdict == "well"
    assert not walk(current).well


@pytest.mark.parametrize("waiting", [10.0, 2e6])
def test_a_replica_is_judged_by_its_beat_and_its_backlog(current, waiting):
    """A beat now; a backlog under or over its limit; without measurements it is unknown."""
    now = datetime.now(UTC)
    beat = Heartbeat(replica="replica-0", pid=1, at=now, use_cases=())
    beat.write(current.outbox / "replica-0.heartbeat.json")
    assert by_name(walk(current))["replica-0"].verdict == "unknown"
    for name, value in (("cpu_share", 0.25), ("outbox_rows", waiting)):
        told = Rollup(time=now, seconds=0.0, source="replica-0", name=name, n=1, total=value, high=value)
        Telemetry(current.control_url).add_rollups([told])

    found = by_name(walk(current))["replica-0"]

    assert (found.verdict, found.utilisation) == ("well" if waiting < 1e6 else "not_well", 0.25)
    assert (found.saturation, found.limit, found.errors) == (waiting, 1e6, 0)


def test_a_full_disk_is_told(current, monkeypatch):
    """Of a hundred bytes four are free."""
    monkeypatch.setattr("ml.stack.machine.shutil.disk_usage", lambda _: type("Usage", (), {"free": 4, "total": 100}))

    (disk,) = [one for one in look_at_machine(current, HealthLimits()) if one.name == "disk"]

    assert (disk.verdict, disk.utilisation) == ("not_well", 0.96)


def test_limits_hold_at_their_value_and_what_raises_is_unknown():
    """The limit itself is allowed."""

    def fail() -> Resource:
        raise OSError("no /proc here")

    assert judge("a", utilisation=0.95, full=0.95).verdict == "well"
    assert judge("a", saturation=2.0, limit=2.0).verdict == "well"
    assert judge("a", saturation=2.1, limit=2.0).verdict == "not_well"
    assert (measured("a", fail).verdict, "no /proc here" in measured("a", fail).detail) == ("unknown", True)


def test_the_lake_is_judged_by_the_small_files_that_readers_open(current):
    """Not by those that a compaction has replaced and keeps for a week, nor by versions of training data."""
    table = LakeTable(current.lake / "ferry" / "quarantine", QUARANTINE)
    for number in range(3):
        rows = quarantine_rows(
            pd.DataFrame({"reason": ["seeded"], "row": [number]}), f"block/{number}", now=datetime.now(UTC)
        )
        table.append_once(rows, app_id=f"key:{number}")
        table.append_once(rows, app_id=f"key:{number}")  # the same again is no file
    shutil.copytree(table.path, current.lake / "ferry" / "training")
    current.alerts.write_text((ROOT / "alerts.yaml").read_text() + "health: {lake_files: 2}\n")

    crowded = by_name(walk(current))["lake"]
    DeltaTable(table.path).optimize.compact()
    merged = by_name(walk(current))["lake"]

    assert (crowded.verdict, crowded.saturation) == ("not_well", 3)
    assert (merged.verdict, merged.saturation) == ("well", 1)
    assert len(list(table.path.glob("*.parquet"))) == 4
    assert "ferry/quarantine" in merged.detail


def test_limits_are_those_of_the_rule_file(current):
    """A key that there is not is refused whole; while a file has problems, the defaults hold."""
    shipped = (ROOT / "alerts.yaml").read_text()
    current.alerts.write_text(shipped + "health: {disk_used: 0.000001, lake_files: 5}\n")

    found = by_name(walk(current))
    assert (found["disk"].verdict, found["lake"].limit) == ("not_well", 5.0)

    current.alerts.write_text(shipped + "health: {disc_used: 0.5}\n")
    with pytest.raises(PerennialError, match=r"health\.disc_used"):
        load_rules(current.alerts)
    assert read_limits(current) == HealthLimits()


def test_what_is_normal_is_told_with_its_numbers():
    """Quantiles of what was measured; an unknown value is counted and is no number; what is absent is left out."""
    now = datetime.now(UTC)
    walks = [
        Health(
            time=now,
            resources=(
                judge("mlflow", saturation=float(number), limit=50.0),
                Resource(name="lake", verdict="unknown"),
                Resource(name="airflow-triggerer", verdict="absent"),
            ),
        )
        for number in range(101)
    ]

    mlflow, lake = summarise(walks)

    assert (mlflow.n, mlflow.waits.median, mlflow.waits.p99, mlflow.waits.highest) == (101, 50.0, 99.0, 100.0)
    assert (mlflow.not_well, mlflow.used, mlflow.limit) == (50, None, 50.0)
    assert (lake.n, lake.unknown, lake.waits) == (0, 101, None)


def test_log_lines_have_their_place(tmp_path):
    """The newest three that tell of an error, with file and line; no log is no line."""
    log = tmp_path / "mlflow.log"
    log.write_text("fine\nERROR one\nfine\nERROR two\nTraceback three\nERROR four\nfine\n")

    assert [(line.line, line.text) for line in read_bad_lines(log)] == [
        (4, "ERROR two"),
        (5, "Traceback three"),
        (6, "ERROR four"),
    ]
    assert read_bad_lines(tmp_path / "none.log") == ()


def test_a_resource_that_is_not_well_fires_and_clears(current):
    """By walks that are kept; an unknown resource neither fires `resource_high` nor clears it."""
    now, telemetry, store = datetime.now(UTC), Telemetry(current.control_url), AlertStore(current.control_url)
    shipped = load_rules(ROOT / "alerts.yaml")
    rules = shipped.model_copy(update={"rules": (shipped.rule("resource_high"),)})
    steps = []
    for minute, verdict in enumerate(("well", "not_well", "unknown", "not_well", "well")):
        moment = now + timedelta(minutes=2 * minute)
        resources = (Resource(name="disk", verdict=verdict), Resource(name="airflow-triggerer", verdict="absent"))
        note_health(Health(time=moment, resources=resources), telemetry)
        looked = look(rules, store=store, telemetry=telemetry, now=moment + timedelta(seconds=30))
        steps.append([(step.step, step.group) for step in looked.transitions])

    assert steps == [[], [("fired", ("disk",))], [], [], [("resolved", ("disk",))]]


@pytest.mark.slow
def test_the_stand_in_tries_the_scheduler_and_tells_people_that_it_could_not(current):
    """The process that the scoring service starts: nothing is supervised here, so the mailbox has it, too."""
    shutil.copy(ROOT / "alerts.yaml", current.alerts)

    def tries() -> list[tuple[str, str]]:
        return [(one.channel, one.outcome) for one in AlertStore(current.control_url).deliveries()][::-1]

    limit = time.monotonic() + 60  # a round orders the repair, which has a process of its own; a later one asks for it
    while "restart_scheduler" not in dict(tries()) and time.monotonic() < limit:
        done = subprocess.run(COMMAND, env=current.child_environment(), capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr

    (run,) = [one for one in runs(open_world(current)) if one.runbook == "restart_service"]
    assert (run.target, run.actor, run.end) == ("airflow-scheduler", "alert", "not_needed")
    assert [one for one in tries() if one[0] == "restart_scheduler"] == [("restart_scheduler", "failed")]
    assert tries()[-1] == ("mailbox", "delivered")
    assert any("alerting DAG has stopped" in letter for letter in read_letters(current.mailbox))
