"""``perennial league``: the newest review of all versions, for people and for programs."""

import json
from datetime import UTC, datetime, timedelta

import pytest

from ml.records.league import League, LeagueRow
from ml.records.measure import Estimate
from ml.settings import settings
from ml.store.control import ControlStore

MONDAY = datetime(2013, 5, 6, 4, tzinfo=UTC)


def row(version: int, standing: str, gain: float | None, reason: str) -> LeagueRow:
    """A version with these numbers."""
    return LeagueRow(
        version=version,
        digest="d",
        watermark=MONDAY,
        standing=standing,
        loss=Estimate(value=0.1234, n=900, low=0.1, high=0.14),
        gain=Estimate(value=gain, n=900, low=None if gain is None else 0.0052, high=None if gain is None else 0.02),
        adjusted=None if gain is None else 0.003,
        reason=reason,
    )


@pytest.fixture
def reviewed(home):
    """Two reviews, a week apart."""
    settings.cache_clear()
    control = ControlStore(settings().control_url, settings().ledger)
    for weeks, standing in ((0, "not_ahead"), (1, "ahead")):
        league = League(
            use_case="harbour_weather",
            as_of=MONDAY + timedelta(weeks=weeks),
            window=None,
            rows=1512,
            metric="log_loss",
            level=0.05,
            bound=0.0,
            champion_version=2,
            standings=(
                row(5, standing, 0.0126, "better by 0.0126"),
                row(2, "champion", None, "serves"),
                row(4, "unevaluable", None, "feature column is absent; got: [Tide]"),
            ),
        )
        control.record("league", league.key, league, use_case="harbour_weather", as_of=league.as_of, now=MONDAY)


def test_the_newest_review_is_shown(perennial, reviewed):
    """Every version with its number, interval, p and reason, brackets and all."""
    answer = perennial("league", "harbour_weather")

    assert answer.code == 0
    for words in ("13 May 2013", "1,512 labelled rows", "v5", "0.0052 .. 0.0200", "0.003", "[Tide]", "unevaluable"):
        assert words in answer.out
    assert "ahead of the champion beyond doubt: version 5" in answer.out


def test_json_is_the_record_and_who_is_ahead(perennial, reviewed):
    """One object."""
    told = json.loads(perennial("league", "harbour_weather", "--json").out)

    assert (told["ahead"], told["champion_version"]) == ([5], 2)
    assert [row["standing"] for row in told["standings"]] == ["ahead", "champion", "unevaluable"]


def test_before_the_first_review_the_answer_is_no(perennial):
    """Exit code 1, and what to do; JSON stays one object."""
    answer, told = perennial("league", "harbour_weather"), perennial("league", "harbour_weather", "--json")

    assert (answer.code, told.code) == (1, 1)
    assert "harbour_weather.review_models" in answer.out
    assert json.loads(told.out) == {"use_case": "harbour_weather", "as_of": None, "standings": []}


def test_a_use_case_that_does_not_exist_is_named(perennial):
    """Exit code 2."""
    answer = perennial("league", "harbor")

    assert (answer.code, answer.out) == (2, "")
    assert "harbor" in answer.err
