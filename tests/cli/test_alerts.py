"""Alerts by command: what fires, who has seen it, what rules would have done, what a channel does."""

from __future__ import annotations

import json
import shutil
from datetime import UTC, datetime, timedelta

import pytest

from ml.records.event import Event
from ml.settings import PROJECT, settings
from ml.store.telemetry import Telemetry
from tests.letters import read_letters


@pytest.fixture
def told(perennial, home):
    """The shipped rules, and a model that failed twice: an hour and a minute ago."""
    shutil.copy(PROJECT / "alerts.yaml", home / "alerts.yaml")
    perennial("status")  # reads the settings of this installation
    events = [
        Event(
            time=datetime.now(UTC) - timedelta(minutes=minutes),
            use_case="harbour_weather",
            source="replica-0",
            code=401,
            name="inference_failed",
            severity="error",
            message="the graph failed",
        )
        for minutes in (60, 1)
    ]
    Telemetry(settings().control_url).add_events(events)


def answer(perennial, *words: str) -> dict:
    """JSON of a command that succeeds."""
    found = perennial("alerts", *words, "--json")
    assert found.code == 0, found.err
    return json.loads(found.out)


def test_an_alert_from_its_look_to_its_mark(perennial, home, told):
    """Fires, is told, is seen, is marked; each step is in the history, and the scoreboard counts it."""
    looked = answer(perennial, "check")
    assert [(step["rule"], step["step"]) for step in looked["steps"]] == [
        ("availability", "pending"),
        ("service_down", "pending"),
        ("inference_errors", "fired"),
    ]
    (alert,) = [a for a in answer(perennial, "list")["alerts"] if a["phase"] == "firing"]
    assert (alert["rule"], alert["group"]) == ("inference_errors", ["harbour_weather", "401"])
    assert len(list((home / "var" / "mailbox").glob("inference-errors-*.eml"))) == 1

    answer(perennial, "ack", "inference_errors", "--actor", "ana")
    answer(perennial, "mark", "inference_errors", "useful", "--actor", "ana")

    story = answer(perennial, "history", "--rule", "inference_errors")
    assert [(step["step"], step["actor"]) for step in story["steps"]] == [("fired", ""), ("acknowledged", "ana")]
    assert [one["outcome"] for one in story["deliveries"]] == ["delivered"]
    assert answer(perennial, "history", "--rule", "availability")["deliveries"] == []
    assert answer(perennial, "history", "--since", "2100-01-01")["deliveries"] == []
    (event,) = json.loads(perennial("events", "--name", "alert_acknowledged", "--json").out)["events"]
    assert event["message"] == "inference_errors (harbour_weather, 401): seen by ana"
    (score,) = answer(perennial, "scoreboard")["rules"]
    assert (score["rule"], score["fired"], score["acknowledged"], score["precision"]) == ("inference_errors", 1, 1, 1.0)
    for command in ("list", "history", "scoreboard"):
        assert "inference_errors" in perennial("alerts", command).out


def test_a_dry_run_says_when_a_rule_would_have_fired_and_tells_nobody(perennial, home, told):
    """Twice within two hours, by a file that is not in force; no state, no message."""
    other = home / "new.yaml"
    other.write_text((PROJECT / "alerts.yaml").read_text().replace("name: inference_errors", "name: model_fails"))

    found = answer(perennial, "check", str(other), "--dry-run", "--since", "2h", "--rule", "model_fails")

    (rule,) = found["rules"]
    assert (rule["rule"], rule["fired"]) == ("model_fails", 2)
    assert [step["step"] for step in rule["transitions"]] == ["fired", "resolved", "fired"]
    assert answer(perennial, "list", "--all")["alerts"] == []
    assert not (home / "var" / "mailbox").exists()
    assert "would have fired 2 times" in perennial("alerts", "check", "--dry-run", "--rule", "inference_errors").out


def test_a_file_with_problems_is_exit_code_2_with_all_of_them(perennial, home, told):
    """Each at its path; a sound one is exit code 0."""
    broken = home / "new.yaml"
    broken.write_text((PROJECT / "alerts.yaml").read_text().replace("severity: error", "severity: fatal"))

    found = perennial("alerts", "check", str(broken))

    assert found.code == 2
    assert found.err.count("severity: ") >= 10
    assert answer(perennial, "check", str(PROJECT / "alerts.yaml"))["errors"] == []


def test_a_silenced_rule_tells_nobody(perennial, home, told):
    """It fires all the same."""
    answer(perennial, "silence", "inference_errors", "--for", "2h", "--reason", "a drill", "--actor", "ana")

    looked = answer(perennial, "check")

    assert ("inference_errors", "fired") in [(step["rule"], step["step"]) for step in looked["steps"]]
    assert looked["deliveries"] == []
    (event,) = json.loads(perennial("events", "a drill", "--json").out)["events"]
    assert (event["name"], event["source"]) == ("alert_silenced", "command")


def test_silences_are_listed_and_ended_early_with_who_and_why(perennial, home, told):
    """In force and to come; ended, its rule tells at the next look; steps in the history, events, and no second end."""
    later = f"{datetime.now(UTC) + timedelta(days=1):%Y-%m-%dT%H:%M}"
    first = answer(perennial, "silence", "inference_errors", "--for", "2h", "--reason", "moved", "--actor", "ana")
    answer(perennial, "silence", "availability", "--begin", later, "--reason", "works", "--actor", "ben")
    assert answer(perennial, "check")["deliveries"] == []

    listed = answer(perennial, "silences")["silences"]
    assert [(one["rule"], one["actor"], one["reason"], one["in_force"]) for one in listed] == [
        ("inference_errors", "ana", "moved", True),
        ("availability", "ben", "works", False),
    ]
    shown = perennial("alerts", "silences").out
    assert "by ana: moved" in shown
    assert "1 in force, 1 to come" in shown
    for one in listed:
        answer(perennial, "unsilence", str(one["number"]), "--reason", "it is back", "--actor", "eva")

    delivered = [one["key"] for one in answer(perennial, "check")["deliveries"]]
    assert sum(key.startswith("inference_errors/") for key in delivered) == 1
    assert answer(perennial, "silences")["silences"] == []
    steps = answer(perennial, "history", "--rule", "inference_errors")["steps"]
    told = [(step["step"], step["actor"]) for step in steps]
    assert told == [("silenced", "ana"), ("fired", ""), ("unsilenced", "eva"), ("told", "")]
    assert "it is back; it would have lasted until" in steps[2]["detail"]
    assert len(json.loads(perennial("events", "--name", "alert_unsilenced", "--json").out)["events"]) == 2
    again = perennial("alerts", "unsilence", str(first["number"]), "--reason", "again")
    assert (again.code, "no such silence" in again.err) == (2, True)


def test_a_channel_is_tried(perennial, home, told):
    """A message in the mailbox."""
    tries = answer(perennial, "test", "operators")["tries"]

    assert [(one["channel"], one["outcome"]) for one in tries] == [("mailbox", "delivered")]
    (letter,) = read_letters(home / "var" / "mailbox", "test-operators-")
    assert "They do." in letter


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("ack", "inference_errors"), "no such alert is firing"),
        (("silence", "nonsense", "--reason", "r"), "no such rule"),
        (("silence", "availability", "--reason", "r", "--for", "long"), "no such length"),
        (("silence", "availability", "--reason", " "), "a silence needs a reason"),
        (("silence", "availability", "--reason", "r", "--begin", "2013-01-01"), "no such time of silence"),
        (("silence", "availability", "--reason", "r", "--begin", "soon"), "no such moment"),
        (("unsilence", "1", "--reason", "r"), "no such silence"),
        (("unsilence", "1", "--reason", ""), "needs a reason"),
        (("mark", "availability", "useful"), "no such alert has ever fired"),
        (("mark", "availability", "great"), "no such mark"),
        (("test", "pigeon"), "no such channel or group"),
        (("check", "--rule", "nonsense", "--dry-run"), "no such rule"),
        (("check", "--rule", "availability"), "a look is at every rule"),
        (("history", "--since", "yesterday"), "no such moment"),
    ],
)
def test_what_cannot_be_done_is_bad_usage(perennial, told, words, said):
    """Exit code 2, and what would do."""
    found = perennial("alerts", *words)

    assert found.code == 2
    assert said in found.err
