"""The state machine: what a row of observations leads to, by hand and against a simulation."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ml.alerts.conditions import Observation
from ml.alerts.machine import acknowledge, advance
from ml.alerts.rules import Rule
from ml.records.alert import AlertState

START = datetime(2026, 1, 5, 12, tzinfo=UTC)
MINUTE = timedelta(minutes=1)


def rule(**changes: Any) -> Rule:
    """A rule, of which only its patience matters here."""
    content = {
        "name": "r",
        "description": "d",
        "severity": "error",
        "actions": ["box"],
        "condition": {"kind": "match", "where": {"names": ["x"]}},
    }
    return Rule.model_validate(content | changes)


def seen(holds: bool | None) -> Observation:
    """An observation."""
    return Observation(holds, None if holds is None else float(holds), 1.0, 1, "seen")


def run(wanted: Rule, signs: str, *, acked: dict[int, str] | None = None, silent: range = range(0)) -> str:
    """What happens at each minute, one letter each, for observations ``1``, ``0``, ``?``.

    p pending, d dismissed, F fired and told, f fired in silence, T told late, E escalated, R resolved and told,
    r resolved in silence, a dot for nothing.
    """
    state, letters = AlertState(rule="r", since=START), ""
    for minute, sign in enumerate(signs):
        now = START + minute * MINUTE
        if acked and minute in acked:
            state = acknowledge(state, now=now, actor=acked[minute]).state
        step = advance(
            state, seen({"1": True, "0": False, "?": None}[sign]), wanted, now=now, silenced=minute in silent
        )
        state = step.state
        steps = {t.step for t in step.transitions}
        told = set(step.tell)
        letters += (
            ("F" if "fired" in told else "f")
            if "fired" in steps
            else "T"
            if "told" in steps
            else "E"
            if "escalated" in told
            else ("R" if "resolved" in told else "r")
            if "resolved" in steps
            else "p"
            if "pending" in steps
            else "d"
            if "dismissed" in steps
            else "."
        )
    return letters


@pytest.mark.parametrize(
    ("changes", "signs", "letters"),
    [
        ({}, "01100110", ".F.R.F.R"),
        ({"lasting": "2m"}, "0111100", ".p.F.R."),
        ({"lasting": "2m"}, "0110110", ".p.dp.d"),
        ({"persistence": [2, 3]}, "0101000", ".p.FR.."),
        ({"persistence": [2, 3]}, "01000", ".p..d"),
        ({"resolve_after": "2m"}, "1010000", "F....R."),
        ({"cool_down": "3m"}, "10101110", "FRfrF..R"),
        ({"cool_down": "3m"}, "1011110", "FRfT..R"),
        ({"undecided": "hold"}, "1??0", "F..R"),
        ({"undecided": "clear"}, "1??0", "FR.."),
        ({"auto_resolve": False}, "10000", "F...."),
        ({"escalate": {"after": "2m", "actions": ["box"]}}, "111111", "F.E..."),
    ],
)
def test_what_a_row_of_observations_leads_to(changes, signs, letters):
    """Worked out by hand."""
    assert run(rule(**changes), signs) == letters


def test_an_acknowledged_alert_is_not_escalated():
    """A person has seen it."""
    wanted = rule(escalate={"after": "2m", "actions": ["box"]})

    assert run(wanted, "111111", acked={1: "ana"}) == "F....."


def test_an_alert_that_waits_for_a_person_ends_when_both_have_happened():
    """Acknowledged and clear, in either order."""
    wanted = rule(auto_resolve=False)

    assert run(wanted, "11000", acked={1: "ana"}) == "F.R.."
    assert run(wanted, "10000", acked={3: "ana"}) == "F..R."


def test_a_silence_delays_being_told_until_it_ends():
    """Who still fires then is told; who does not, nobody hears of, nor of the end."""
    assert run(rule(), "11111", silent=range(3)) == "f..T."
    assert run(rule(), "11011", silent=range(3)) == "f.rF."


def test_an_acknowledgement_of_what_does_not_fire_changes_nothing():
    """Quiet stays quiet, and who was first stays first."""
    quiet = AlertState(rule="r", since=START)
    fired = advance(quiet, seen(True), rule(), now=START, silenced=False).state
    first = acknowledge(fired, now=START, actor="ana")

    assert acknowledge(quiet, now=START, actor="ana").transitions == ()
    assert (first.state.phase, first.state.acknowledged_by) == ("acknowledged", "ana")
    assert acknowledge(first.state, now=START, actor="bob").state.acknowledged_by == "ana"


signs = st.text("01?", max_size=40)
patience = st.fixed_dictionaries(
    {},
    optional={
        "lasting": st.sampled_from(["0s", "1m", "3m"]),
        "resolve_after": st.sampled_from(["0s", "2m"]),
        "cool_down": st.sampled_from(["0s", "4m"]),
        "undecided": st.sampled_from(["hold", "clear"]),
    },
)


@given(patience, signs, st.sets(st.integers(0, 40)))
def test_nobody_is_told_twice_of_an_episode(changes, given_signs, silent):
    """Between two notices that it fires there is one that it is over; nobody hears the end of what they never heard."""
    wanted = rule(**changes)
    state, heard = AlertState(rule="r", since=START), []
    for minute, sign in enumerate(given_signs):
        observation = seen({"1": True, "0": False, "?": None}[sign])
        step = advance(state, observation, wanted, now=START + minute * MINUTE, silenced=minute in silent)
        state = step.state
        heard += step.tell
    told = [kind for kind in heard if kind != "escalated"]

    assert told == (["fired", "resolved"] * len(told))[: len(told)]
    assert state.episode >= told.count("fired")


@given(signs.filter(lambda text: "?" not in text), st.integers(0, 5))
def test_lasting_is_a_run_of_true(given_signs, minutes):
    """It fires at a minute when it was quiet and the condition has held at it and at so many minutes before."""
    letters = run(rule(lasting=f"{minutes}m"), given_signs)

    firing, expected = False, ""
    for minute in range(len(given_signs)):
        held = minute >= minutes and "0" not in given_signs[minute - minutes : minute + 1]
        if not firing and held:
            firing, expected = True, expected + "F"
        elif firing and given_signs[minute] == "0":
            firing, expected = False, expected + "R"
        else:
            expected += "."
    assert letters.replace("p", ".").replace("d", ".") == expected


@given(signs.filter(lambda text: "?" not in text), st.integers(1, 4), st.integers(0, 3))
def test_n_of_m_counts_the_last_looks(given_signs, n, more):
    """It fires when the condition holds and has held in n of the last m looks since the alert was quiet."""
    m = n + more
    letters = run(rule(persistence=[n, m]), given_signs)

    firing, begin, expected = False, 0, ""
    for minute, sign in enumerate(given_signs):
        window = given_signs[max(begin, minute + 1 - m) : minute + 1]
        if not firing and sign == "1" and window.count("1") >= n:
            firing, expected = True, expected + "F"
        elif firing and sign == "0":
            firing, begin, expected = False, minute + 1, expected + "R"
        else:
            expected += "."
    assert letters.replace("p", ".").replace("d", ".") == expected
