"""What alerts were worth to people, counted by hand."""

from __future__ import annotations

from datetime import timedelta

import pytest

from ml.alerts.acknowledge import mark_alert
from ml.alerts.look import tidy
from ml.alerts.scoreboard import find_noise, list_episodes, score_rules
from ml.records.alert import Mark, Transition
from tests.alerts.conftest import START

FAILED = {
    "name": "failed",
    "condition": {"kind": "match", "where": {"codes": [401]}},
    "group_by": ["use_case"],
}
DAY = 1440


def fired(days: float, episode: int = 1, rule: str = "failed", step: str = "fired") -> Transition:
    """A step of an alert so many days after START."""
    moment = START + timedelta(days=days)
    return Transition(time=moment, rule=rule, group=("ferry",), episode=episode, step=step)


def marked(days: float, verdict: str, episode: int = 1, rule: str = "failed") -> Mark:
    """A mark so many days after START."""
    moment = START + timedelta(days=days)
    return Mark(rule=rule, group=("ferry",), episode=episode, verdict=verdict, time=moment, actor="ana")


def test_an_alert_that_was_forgotten_meanwhile_is_not_mixed_up_with_its_past(installation, event, rules_of):
    """Quiet for more than a month, its state is dropped and its episodes count from one again; marks know which."""
    rules = rules_of(FAILED)
    minutes = (0, 100, 50 * DAY)
    installation.tell(*(event(minute) for minute in minutes))
    installation.steps(rules, 1, 10, 101, 110)
    mark_alert(installation.store, "failed", None, "noise", now=installation.now, actor="ana")  # the second
    tidy(installation.store, now=START + timedelta(days=40))
    installation.steps(rules, 50 * DAY + 1, 50 * DAY + 21)
    mark_alert(installation.store, "failed", None, "useful", now=installation.now, actor="ana")

    episodes = list_episodes(installation.store.history(), installation.store.marks())
    (score,) = score_rules(installation.store.history(), installation.store.marks())

    assert [(one.number, one.verdict) for one in episodes] == [(1, ""), (2, "noise"), (1, "useful")]
    assert (score.fired, score.useful, score.noise, score.repair_seconds) == (3, 1, 1, 540.0)


@pytest.mark.parametrize(
    ("verdicts", "named"),
    [
        (["noise"] * 3, True),
        (["noise"] * 2, False),
        (["noise", "", "noise", "", "noise"], True),
        (["noise", "noise", "useful", "noise"], False),
        ([""] * 9, False),
    ],
)
def test_a_rule_of_nothing_but_noise_is_named(verdicts, named):
    """Three episodes marked as noise and none as useful; what nobody has marked says nothing."""
    steps = [fired(day, day + 1) for day in range(len(verdicts))]
    marks = [marked(day + 0.5, verdict, day + 1) for day, verdict in enumerate(verdicts) if verdict]

    found = find_noise(steps, marks, now=START + timedelta(days=20))

    assert [one.rule for one in found] == (["failed"] if named else [])


def test_noise_is_counted_in_a_stated_time():
    """What began more than four weeks ago neither accuses nor excuses; period and number are the asker's to choose."""
    steps = [fired(day, episode) for episode, day in enumerate((0, 30, 40, 50), start=1)]
    marks = [marked(day + 1, "useful" if day == 0 else "noise", n) for n, day in enumerate((0, 30, 40, 50), start=1)]
    now = START + timedelta(days=51)

    (noise,) = find_noise(steps, marks, now=now)

    assert (noise.rule, noise.noise, noise.fired, noise.since) == ("failed", 3, 3, now - timedelta(days=28))
    assert find_noise(steps, marks, now=now, period=timedelta(days=52)) == []
    assert find_noise(steps, marks, now=now, period=timedelta(days=15)) == []
    assert len(find_noise(steps, marks, now=now, period=timedelta(days=15), at_least=2)) == 1
    assert find_noise(steps, marks, now=START + timedelta(days=49)) == []  # the last one was still to come
