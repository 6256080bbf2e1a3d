"""``perennial overrides``: what replicas captured counts at once; answers, JSON, bad input."""

from __future__ import annotations

import json
from datetime import timedelta

import pytest

from tests.store.conftest import START, Replica

NAME = "harbour_weather"
FEATURES = dict.fromkeys(("Temperature_C", "Humidity", "Visibility_km", "Current_weather_condition"), 1.0)


@pytest.fixture
def captured(home):
    """Four answers, two of them overridden; the truth of one is known."""
    replica = Replica(home / "var" / "outbox" / "one.sqlite", use_case=NAME)
    for hour in range(4):
        replica.answer(f"JFK {hour}", hour, features=FEATURES, **{"class": "Rain"})
    replica.label("JFK 1", "No Rain", 1.5, by="ana", reason="the radar is clear")
    replica.label("JFK 2", "No Rain", 2.5, by="ana")
    replica.label("JFK 1", "No Rain", 4)
    yield home
    replica.close()


def test_the_review_has_the_promised_fields(captured, perennial):
    """One of two truths is known, and the person was right."""
    as_of = (START + timedelta(days=1)).isoformat()[:19]

    told = json.loads(perennial("overrides", NAME, "--as-of", as_of, "--json").out)
    answer = perennial("overrides", NAME, "--as-of", as_of)

    assert (told["answered"], told["decided"], told["overridden"], told["known"]) == (4, 2, 2, 1)
    assert (told["person_right"], told["model_right"], told["rate"]["value"]) == (1, 0, 0.5)
    assert told["people"] == [{"format": 1, "by": "ana", "decided": 2, "overridden": 2, "known": 1, "right": 1}]
    assert answer.code == 0
    assert "4 answers, 2 decided on by people, 2 overridden (50.0%, " in answer.out
    assert "JFK 1: Rain -> No Rain by ana; truth No Rain the radar is clear" in answer.out


def test_without_any_answer_there_is_nothing_to_tell(perennial):
    """Nought of nought, exit code 0."""
    told = json.loads(perennial("overrides", NAME, "--json").out)

    assert (told["answered"], told["decided"], told["rate"]["value"]) == (0, 0, None)


@pytest.mark.parametrize(
    ("words", "message"), [(("harbor",), "no such use case"), ((NAME, "--for", "long"), "no such length")]
)
def test_bad_input_is_named(perennial, words, message):
    """Exit code 2."""
    answer = perennial("overrides", *words)

    assert (answer.code, message in answer.err) == (2, True)
