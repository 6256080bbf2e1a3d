"""The story of a use case as the control database has it: every check, what was decided, what came of it."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta

import pytest

from ml.records.decision import DriftCheck, MonitorDecision, RetrainOutcome, RetrainRequest, Worth
from ml.records.measure import Estimate, Window
from ml.store.control import ControlStore

START = datetime(2013, 3, 1, tzinfo=UTC)
WEEK = timedelta(days=7)
NAME = "harbour_weather"


def decision(number: int, action: str, *, triggers: tuple[str, ...] = (), known: bool = True) -> MonitorDecision:
    """Decision about the week of this number; the last numbers are those of nothing that is known."""
    window = Window(start=START + number * WEEK, end=START + (number + 1) * WEEK)
    check = DriftCheck(
        use_case=NAME,
        window=window,
        model_version=1 + number // 2,
        score=2.5 + number if known else None,
        threshold=4.25 if known else None,
        false_alarm_budget=0.01,
        n_reference=4000,
        n_live=504,
        columns=(),
        verdict="no_drift" if known else "undecidable",
        reasons=(f"Check of week {number}.",),
    )
    gain = Estimate(value=0.0125, n=504, low=0.002, high=0.02) if known else Estimate(value=None, n=0)
    avoided = 25.2 if known else None
    return MonitorDecision(
        key=f"{NAME}/{window.end.isoformat()}",
        use_case=NAME,
        as_of=window.end,
        action=action,
        triggers=triggers,
        reasons=(f"Check of week {number}.", f"Reason {number}."),
        check=check,
        live_loss=Estimate(value=0.1234, n=500) if known else Estimate(value=None, n=0, detail="no labels"),
        estimated_loss=Estimate(value=0.2, n=504) if known else None,
        worth=Worth(reducible=gain, rows=2016, avoided=avoided, cost=20, currency="nats", more_rows=None),
        labelled=500,
    )


def outcome(key: str, as_of: datetime, how: str, version: int | None) -> RetrainOutcome:
    """End of the retraining that this decision asked for."""
    request = RetrainRequest(key=key, use_case=NAME, as_of=as_of, reason="", actor="monitor")
    reasons = (f"It was {how}.",)
    return RetrainOutcome(request=request, outcome=how, challenger_version=version, champion_version=1, reasons=reasons)


@pytest.fixture
def story(home):
    """Four weeks: nothing, a retraining that was won, nothing known, a retraining that still runs."""
    control = ControlStore(f"sqlite:///{home}/var/control.db")
    decisions = [
        decision(0, "wait"),
        decision(1, "retrain", triggers=("performance", "data_drift")),
        decision(2, "alert", known=False),
        decision(3, "retrain", triggers=("performance",)),
    ]
    for made in decisions:
        control.record("monitor", made.key, made, use_case=NAME, as_of=made.as_of, now=made.as_of)
    ended = outcome(decisions[1].key, decisions[1].as_of, "promoted", 2)
    control.record("retrain", ended.request.key, ended, use_case=NAME, as_of=ended.request.as_of, now=START)
    by_hand = outcome("by hand", START, "rejected", 7)
    control.record("retrain", "by hand", by_hand, use_case=NAME, as_of=START, now=START)
    return decisions


def test_the_story_is_told_oldest_first(perennial, story):
    """A line per check; what a retraining came to stands with the decision that asked for it."""
    answer = perennial("history", NAME)
    lines = [line.split() for line in answer.out.splitlines() if line.strip().startswith("2013-")]

    assert answer.code == 0
    assert [" ".join(line) for line in lines] == [
        "2013-03-08 v1 2.50 4.25 0.123 0.0125 wait no drift",
        "2013-03-15 v1 3.50 4.25 0.123 0.0125 retrain: promoted performance, data_drift",
        "2013-03-22 v2 - - - - alert undecidable",
        "2013-03-29 v2 5.50 4.25 0.123 0.0125 retrain performance",
    ]
    assert "4 checks" in answer.out


def test_json_has_all_numbers_and_reasons(perennial, story):
    """What is unknown is null, and the gate's reasons follow the policy's."""
    told = json.loads(perennial("history", NAME, "--json").out)

    assert told["use_case"] == NAME
    first, second, third, _ = told["checks"]
    assert second == {
        "as_of": "2013-03-15T00:00:00+00:00",
        "model_version": 1,
        "verdict": "no_drift",
        "score": 3.5,
        "threshold": 4.25,
        "live_loss": 0.1234,
        "estimated_loss": 0.2,
        "avoidable": 0.0125,
        "action": "retrain",
        "triggers": ["performance", "data_drift"],
        "outcome": "promoted",
        "version": 2,
        "reasons": ["Check of week 1.", "Reason 1.", "It was promoted."],
    }
    assert (first["outcome"], first["version"]) == (None, None)
    assert {third[key] for key in ("score", "threshold", "live_loss", "estimated_loss", "avoidable")} == {None}


def test_the_newest_checks_are_shown_when_there_are_more(perennial, story):
    """Still oldest first."""
    told = json.loads(perennial("history", NAME, "--json", "--limit", "2").out)

    assert [check["as_of"][:10] for check in told["checks"]] == ["2013-03-22", "2013-03-29"]


def test_a_use_case_without_checks_has_an_empty_story(perennial):
    """Which is an answer; a name that does not exist is not."""
    nothing = perennial("history", NAME, "--json")
    nobody = perennial("history", "nobody")

    assert (nothing.code, json.loads(nothing.out)["checks"]) == (0, [])
    assert (nobody.code, nobody.out) == (2, "")
    assert "allowed: harbour_weather" in nobody.err
