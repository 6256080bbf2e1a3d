"""The drill's own honesty: every fault is declared whole, what nobody noticed is told, wrong repairs are counted."""

from __future__ import annotations

import subprocess
import sys
import time
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace

import pytest
from typer.testing import CliRunner

from ml.alerts.mailbox import post_notice
from ml.alerts.rules import load_rules
from ml.cli import drill as command
from ml.cli.main import app
from ml.errors import InputError, StackError
from ml.records.alert import Notice
from ml.records.codes import Code
from ml.records.drill import DrillResult, FaultResult
from ml.records.runbook import RunbookBegun, RunbookRun
from ml.runbooks.run import BEGUN, ENDED, OF_ALL
from ml.settings import Settings
from ml.stack.drill import run
from ml.stack.drill.fault import Fault
from ml.stack.drill.faults import ALL, FAULTS
from ml.stack.drill.guard import check_local
from ml.stack.drill.run import UNRULED, Drill, Patience, count_strangers, drill_fault
from ml.store.control import ControlStore

ROOT = Path(__file__).parents[2]
RULES = {rule.name for rule in load_rules(ROOT / "alerts.yaml").rules}


def test_there_are_at_least_twenty_faults_each_with_a_name_of_its_own():
    """Those of the issue are among them."""
    assert len(FAULTS) == len(ALL) >= 20
    assert {"model_missing", "replica_hung", "control_database_locked", "disk_full", "label_drought"} <= set(FAULTS)


@pytest.mark.parametrize("fault", ALL, ids=lambda fault: fault.name)
def test_every_fault_is_declared_whole(fault):
    """It names a real code, rules that are shipped, and a check for each repair that it expects; it is documented."""
    assert fault.code == 0 or fault.code in set(Code)
    assert fault.injects
    assert fault.undone
    assert set(fault.alerts) <= RULES | UNRULED
    assert not fault.repair or fault.repaired is not None
    assert f"`{fault.name}`" in (ROOT / "docs" / "drill.md").read_text(encoding="utf-8")


@contextmanager
def nothing(_):
    """An injection that harms nothing."""
    yield {}


class FakeScene:
    """A stack of which only the mailbox and the process numbers are real enough to be looked at."""

    def __init__(self, folder: Path) -> None:
        self.settings = SimpleNamespace(mailbox=folder / "mailbox", heartbeat=folder / "heartbeat.json")
        self.settings.control_url = f"sqlite:///{folder}/control.db"
        self.settings.ledger = folder / "control.ledger"
        self.use_case = SimpleNamespace(name="ferry")
        self.numbers = {"scoring": 1, "mlflow": 2}

    def pids(self) -> dict:
        """Main process of each service."""
        return dict(self.numbers)

    def serves(self) -> bool:
        """It always does."""
        return True


@pytest.fixture
def drilled(tmp_path, monkeypatch):
    """Result of a fault on a fake stack: call with the fault and with what happens while it is in the stack."""
    scene, at = FakeScene(tmp_path), time.time() - 0.1  # before anything that a test tells

    def call(fault: Fault, happens=lambda scene: None) -> FaultResult:
        class Injected:
            def __init__(self, *_) -> None:
                self.facts, self.undone, self.wrong = {"at": at}, True, []

            def __enter__(self):
                return self

            def __exit__(self, *_) -> None:
                self.undone = True

        looked = iter([False])

        def watched(*arguments):
            if next(looked, True) is False:
                happens(scene)
            return count_strangers(*arguments)

        monkeypatch.setattr(run, "Injected", Injected)
        monkeypatch.setattr(run, "count_strangers", watched)
        monkeypatch.setattr(run, "await_look", lambda *_, **__: None)
        traffic = SimpleNamespace(heard=SimpleNamespace(note_wrong=lambda line: None))
        rules = SimpleNamespace(names=RULES, hold=lambda bounds: None)
        patience = Patience(notice=0.3, repair=0.3, undone=0.3, quiet=0.3)
        return drill_fault(Drill(scene, rules, traffic, None, None, patience), fault)

    call.scene = scene
    return call


def tell(scene, rule: str) -> None:
    """Put the notice of a rule into the mailbox."""
    notice = Notice(
        key=f"{rule}/20260105T120000/fired",
        use_case=None,
        time=datetime.now(UTC),
        severity="error",
        subject=rule,
        text="seeded",
    )
    post_notice(notice, scene.settings.mailbox)


def result_of(*faults: FaultResult, wrong: int = 0) -> DrillResult:
    """A drill of these."""
    return DrillResult(
        started_at=datetime.now(UTC),
        seconds=1,
        tick=5,
        limit=120,
        faults=faults,
        requests=10,
        answered=10,
        refused={},
        unheard=0,
        wrong=wrong,
    )


def test_a_fault_that_nobody_notices_is_told_as_not_noticed(drilled):
    """Even where some other alert fires meanwhile."""
    tell(drilled.scene, "bad_values")

    found = drilled(Fault("quiet", 0, "nothing", "nothing", ("disk_full",), nothing))

    assert (found.noticed, found.seconds_to_notice, found.alert) == (False, None, "")
    assert found.also == ("bad_values",)
    assert not result_of(found).holds


def test_a_fault_that_is_noticed_by_its_alert_is_mastered(drilled):
    """The notice is in the mailbox; nobody was to repair it."""
    tell(drilled.scene, "disk_full")

    found = drilled(Fault("loud", 0, "nothing", "nothing", ("disk_full",), nothing))

    assert (found.noticed, found.alert, found.repaired, found.wrong_repair) == (True, "disk_full", None, 0)
    assert result_of(found).holds


def test_a_wrong_repair_is_counted(drilled):
    """A service that had nothing wrong was restarted; the one that the fault is about may be."""
    fault = Fault("loud", 0, "", "", ("disk_full",), nothing, touches=frozenset({"scoring"}))
    tell(drilled.scene, "disk_full")

    assert count_strangers({"scoring": 1, "mlflow": 2}, {"scoring": 7, "mlflow": 2}, fault) == 0
    assert count_strangers({"scoring": 1, "mlflow": 2}, {"scoring": 7, "mlflow": None}, fault) == 1
    found = drilled(fault).model_copy(update={"wrong_repair": 1})
    assert not result_of(found).holds


def record_run(scene, runbook: str, *, end: str = "repaired") -> None:
    """A runbook has acted, and says that it ended so."""
    control, now = ControlStore(scene.settings.control_url, scene.settings.ledger), datetime.now(UTC)
    of = {"runbook": runbook, "target": "t", "actor": "alerts", "reason": "seeded"}
    run = RunbookRun(**of, end=end, began=now, seconds=0.0)
    for kind, record in ((BEGUN, RunbookBegun(**of)), (ENDED, run)):
        control.record(kind, f"{runbook}/{now.isoformat()}", record, use_case=OF_ALL, as_of=now, now=now)


@pytest.mark.parametrize(
    ("runbook", "works", "wrong"),
    [
        ("reload_model", True, 0),
        ("reload_model", False, 1),
        ("restart_service", True, 1),
        ("restart_service", False, 1),
        ("prune", True, 0),
    ],
    ids=["the right one", "a false claim", "another one", "another one, in vain", "one by schedule"],
)
def test_what_runbooks_did_is_held_against_what_the_fault_needed(drilled, runbook, works, wrong):
    """By their records: another runbook than the fault's acted, or it says repaired and nothing works."""
    tell(drilled.scene, "no_model")
    repair = {"repair": "runbook reload_model", "repaired": lambda scene, facts: works}

    found = drilled(
        Fault("loud", 0, "", "", ("no_model",), nothing, **repair), lambda scene: record_run(scene, runbook)
    )

    assert found.wrong_repair == wrong


def test_a_repair_that_is_meant_and_does_not_come_is_told(drilled):
    """Noticed, and all the same not mastered."""
    tell(drilled.scene, "disk_full")

    found = drilled(
        Fault("loud", 0, "", "", ("disk_full",), nothing, repair="supervisor", repaired=lambda scene, facts: False)
    )

    assert (found.noticed, found.repaired, found.seconds_to_repair) == (True, False, None)
    assert not result_of(found).holds


def test_one_wrong_answer_fails_the_drill():
    """And so does a notice that came too late."""
    good = FaultResult(name="loud", code=0, injects="", noticed=True, seconds_to_notice=119.0, alert="disk_full")

    assert result_of(good).holds
    assert not result_of(good, wrong=1).holds
    assert not result_of(good.model_copy(update={"seconds_to_notice": 121.0})).holds
    assert not result_of().holds


def test_the_exit_code_is_1_where_something_was_not_mastered(monkeypatch, tmp_path):
    """And 2 where nobody agreed, or a name is none."""
    monkeypatch.setattr(command, "_drill", lambda *_: result_of(FaultResult(name="quiet", code=0, injects="")))
    monkeypatch.setattr("ml.settings.settings", lambda: Settings(var=tmp_path))

    failed = CliRunner().invoke(app, ["drill", "--yes"])
    asked = CliRunner().invoke(app, ["drill"])

    assert failed.exit_code == 1
    assert "nobody noticed" in failed.stdout
    assert isinstance(asked.exception, InputError)


def test_a_stack_that_is_not_local_is_refused(tmp_path):
    """By address; and one that does not run, too."""
    with pytest.raises(StackError, match="local stack"):
        check_local(Settings(var=tmp_path, scoring_url="http://scoring.example.org"))
    with pytest.raises(StackError, match="does not run"):
        check_local(Settings(var=tmp_path))


def test_a_fault_is_undone_when_the_drill_is_killed(tmp_path):
    """Kill -9 of the drill closes a pipe, and the manifest that was cut in half is whole again."""
    manifest = tmp_path / "releases" / "harbour_weather" / "manifest.json"
    manifest.parent.mkdir(parents=True)
    manifest_text = '{"whole": true}'
    manifest.write_text(manifest_text)
    environment = Settings(home=ROOT, var=tmp_path).child_environment()
    code = (
        "import sys, time\n"
        "from ml.stack.drill.injection import Injected\n"
        "with Injected('manifest_cut', 'harbour_weather', sys.stderr.buffer):\n"
        "    print('injected', flush=True); time.sleep(60)"
    )
    drill = subprocess.Popen(
        [sys.executable, "-c", code], env=environment, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    )
    assert drill.stdout.readline() == b"injected\n"
    assert manifest.read_text() == manifest_text[: len(manifest_text) // 2]

    drill.kill()
    drill.wait()
    drill.stdout.close()

    until = time.monotonic() + 30
    while manifest.read_text() != '{"whole": true}':
        assert time.monotonic() < until
        time.sleep(0.05)
