"""Events are found by what operators know: time, code, words, request."""

import json
from datetime import UTC, datetime, timedelta

import pytest

from ml.records.event import Event
from ml.serving.telemetry import Spool
from ml.settings import settings
from ml.store.telemetry import Telemetry

NOW = datetime.now(UTC)


def event(name: str, hours_ago: float, **changes: object) -> Event:
    """An event so many hours ago."""
    content = {
        "time": NOW - timedelta(hours=hours_ago),
        "use_case": "harbour_weather",
        "source": "replica-0",
        "name": name,
        "severity": "error",
        "message": f"this is {name}",
    }
    return Event.model_validate(content | changes)


@pytest.fixture
def told(perennial):
    """Three events, one of them still in a replica's spool."""
    perennial("events")  # reads the settings of this installation
    Telemetry(settings().control_url).add_events(
        [event("old", 48), event("inference_failed", 2, code=401, request_id="r-17")]
    )
    Spool(settings().telemetry / "replica-0.sqlite").append([("event", event("logged", 1).model_dump_json())])


def names(answer) -> list[str]:
    """Names of the events, as they are shown."""
    assert answer.code == 0, answer.err
    return [found["name"] for found in json.loads(answer.out)["events"]]


@pytest.mark.parametrize(
    ("words", "found"),
    [
        ((), ["inference_failed", "logged"]),
        (("--since", "7d"), ["old", "inference_failed", "logged"]),
        (("--since", "7d", "--limit", "2"), ["inference_failed", "logged"]),
        (("--code", "401"), ["inference_failed"]),
        (("--request-id", "r-17"), ["inference_failed"]),
        (("IS LOG",), ["logged"]),
        (("--name", "logged", "--name", "old"), ["logged"]),
        (("--since", (NOW - timedelta(hours=1.5)).isoformat()), ["logged"]),
        (("--until", (NOW - timedelta(hours=1.5)).strftime("%Y-%m-%dT%H:%M:%S")), ["inference_failed"]),
        (("--use-case", "other"), []),
    ],
)
def test_a_search_finds_what_fits(perennial, told, words, found):
    """Newest last; what a replica has just written is there."""
    assert names(perennial("events", *words, "--json")) == found


def test_the_table_is_for_people(perennial, told):
    """Code, name, beginning of the request, and the words."""
    answer = perennial("events", "--code", "401")

    assert "401" in answer.out
    assert "this is inference_failed" in answer.out
    assert "r-17" in answer.out


def test_a_moment_that_is_none_is_bad_usage(perennial):
    """It says what would do."""
    answer = perennial("events", "--since", "yesterday")

    assert answer.code == 2
    assert "24h or 2026-01-05T12:00" in answer.err
