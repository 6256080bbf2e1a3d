"""``perennial ledger`` and ``promote``: answers, JSON, exit codes."""

from __future__ import annotations

import json
import sqlite3
import subprocess
import sys
from datetime import UTC, datetime

import pytest

from ml.records.governance import AliasMove
from ml.records.measure import Estimate
from ml.store.control import ControlStore

NOW = datetime(2026, 1, 5, 12, tzinfo=UTC)


@pytest.fixture
def recorded(home):
    """A ledger of three entries: two checks, and version 4 made champion by ana."""
    control = ControlStore(f"sqlite:///{home}/var/control.db")
    for i in range(2):
        estimate = Estimate(value=1.0, n=i)
        control.record("check", f"{i}", estimate, use_case="harbour_weather", as_of=NOW, now=NOW)
    move = AliasMove(
        use_case="harbour_weather", version=4, previous=3, by="command", reason="better", evidence=("gate/x",)
    )
    control.record("alias", "a", move, use_case="harbour_weather", as_of=NOW, now=NOW, actor="ana")
    return home


def tamper(home) -> None:
    """Change who did it."""
    with sqlite3.connect(home / "var" / "control.db") as connection:
        connection.execute("UPDATE ledger SET actor = 'eve' WHERE number = 2")
    connection.close()


def test_a_sound_ledger_is_exit_0(recorded, perennial):
    """With the promised fields."""
    answer = perennial("ledger", "verify", "--offline", "--json")

    assert (answer.code, json.loads(answer.out)) == (
        0,
        {"ok": True, "records": 3, "findings": [], "unreasoned_changes": {}},
    )


def test_a_broken_ledger_is_exit_1(recorded, perennial):
    """The entry is named; also when MLflow is away, as it is not needed to see this."""
    tamper(recorded)

    answer = perennial("ledger", "verify", "--json")

    told = json.loads(answer.out)
    assert (answer.code, told["ok"], told["records"]) == (1, False, 3)
    assert [finding["record"] for finding in told["findings"]] == [2, 3]
    assert "not compared with MLflow" in answer.err
    assert perennial("ledger", "verify", "--offline").code == 1


def test_without_mlflow_a_sound_ledger_is_not_the_whole_answer(recorded, perennial):
    """Exit code 3, and what can be done."""
    answer = perennial("ledger", "verify")

    assert (answer.code, answer.out) == (3, "")
    assert "--offline" in answer.err


@pytest.mark.parametrize("words", [("verify", "--offline", "--key", "{home}/none.pem"), ("champion-at", "yesterday")])
def test_bad_input_is_exit_2(recorded, perennial, words):
    """A key that is none, a time that is none."""
    answer = perennial("ledger", *(word.format(home=recorded) for word in words))

    assert (answer.code, answer.out, answer.err.count("error:")) == (2, "", 1)


def test_a_missing_key_is_exit_2(recorded, perennial):
    """It is named; none is made in its place."""
    folder = recorded / "var" / "control.ledger"
    (folder / "public.pem").unlink()

    answer = perennial("ledger", "verify", "--offline")

    assert (answer.code, "public.pem" in answer.err) == (2, True)
    assert not (folder / "public.pem").exists()


def test_show_tells_what_was_decided(recorded, perennial):
    """Oldest first, with the records."""
    entries = json.loads(perennial("ledger", "show", "--json").out)["entries"]
    plain = perennial("ledger", "show", "--kind", "alias").out

    assert [(e["number"], e["kind"], e["actor"]) for e in entries] == [
        (1, "check", "perennial"),
        (2, "check", "perennial"),
        (3, "alias", "ana"),
    ]
    assert entries[2]["record"]["version"] == 4
    assert ("ana" in plain, "better" in plain, "check" in plain) == (True, True, False)


def test_champion_at_says_who_and_why(recorded, perennial):
    """Evidence that is not in the ledger is said to be so."""
    answer = perennial("ledger", "champion-at", "2026-01-05T13:00", "--json")

    told = json.loads(answer.out)
    (champion,) = told["champions"]
    assert (answer.code, told["ledger_ok"]) == (0, True)
    assert (champion["version"], champion["actor"], champion["reason"]) == (4, "ana", "better")
    assert champion["evidence"][0]["summary"] == "is not in the ledger"
    assert "version 4" in perennial("ledger", "champion-at", "now").out


def test_champion_at_before_the_first_is_exit_2(recorded, perennial):
    """And says from when on there is an answer."""
    answer = perennial("ledger", "champion-at", "2026-01-04")

    assert (answer.code, "2026-01-05 12:00:00 UTC or later" in answer.err) == (2, True)


def test_champion_at_of_a_broken_ledger_is_exit_1(recorded, perennial):
    """It answers, and warns."""
    tamper(recorded)

    answer = perennial("ledger", "champion-at", "now")

    assert (answer.code, "version 4" in answer.out, "may be wrong" in answer.err) == (1, True, True)


def test_an_export_verifies_alone(recorded, perennial, tmp_path):
    """By the command that it prints."""
    answer = perennial("ledger", "export", str(tmp_path / "out"))
    done = subprocess.run(
        [sys.executable, "-I", "verify_ledger.py", "ledger.jsonl", "--key", "public.pem"],
        cwd=tmp_path / "out",
        capture_output=True,
        text=True,
        check=False,
    )

    assert (answer.code, done.returncode, done.stdout) == (0, 0, "sound: 3 entries, 0 findings\n")
    assert perennial("ledger", "export", str(tmp_path / "out")).code == 2


def test_only_a_broken_ledger_is_let_go_on(recorded, perennial):
    """With a reason; it stays broken, and takes records again."""
    assert perennial("ledger", "resume", "--reason", "why not").code == 2
    head = recorded / "var" / "control.ledger" / "head.json"
    head.write_text("{}")

    answer = perennial("ledger", "resume", "--reason", "the head was lost", "--actor", "bo", "--json")

    told = json.loads(answer.out)
    assert (answer.code, told["entry"], len(told["findings"])) == (0, 4, 1)
    control = ControlStore(f"sqlite:///{recorded}/var/control.db")
    control.record("check", "later", Estimate(value=1.0, n=1), use_case="u", as_of=NOW, now=NOW)
    after = perennial("ledger", "verify", "--offline", "--json")
    assert (after.code, json.loads(after.out)["findings"]) == (
        1,
        [{"record": 4, "problem": "the ledger was broken before it; bo let it go on"}],
    )


def test_a_promotion_needs_a_reason_and_a_running_stack(recorded, perennial):
    """Nothing is recorded before both are there."""
    (recorded / "var" / "stack").mkdir()
    assert perennial("promote", "harbour_weather", "4").code == 2
    assert perennial("promote", "harbour_weather", "4", "--reason", " ").code == 2
    answer = perennial("promote", "harbour_weather", "4", "--reason", "better")

    assert answer.code in {2, 3}
    assert len(json.loads(perennial("ledger", "show", "--json").out)["entries"]) == 3
