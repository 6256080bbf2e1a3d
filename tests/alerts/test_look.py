"""Looks at a real database: once, whoever looks at the same time and whoever is killed."""

from __future__ import annotations

import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path

import pytest

from ml.alerts.look import look
from ml.alerts.replay import replay
from ml.alerts.scoreboard import score_rules
from ml.records.alert import Mark, Silence

FAILED = {"name": "failed", "condition": {"kind": "match", "where": {"codes": [401]}}, "group_by": ["use_case"]}


def test_an_alert_fires_once_and_ends(installation, event, rules_of):
    """However many events there are; the notice has the newest evidence, and the end is told, too."""
    rules = rules_of(FAILED)
    installation.tell(*(event(minute, request_id=f"r-{minute}") for minute in range(5)), event(4, use_case="train"))

    first, again = installation.look(rules, 5), installation.look(rules, 6)
    over = installation.look(rules, 20)

    assert sorted(notice.group for notice in first.notices) == [("ferry",), ("train",)]
    assert again.notices == ()
    assert {(notice.kind, notice.group) for notice in over.notices} == {
        ("resolved", ("ferry",)),
        ("resolved", ("train",)),
    }
    (notice,) = [notice for notice in first.notices if notice.use_case == "ferry"]
    assert "request r-4" in notice.text
    assert "code 401" in notice.text
    assert notice.subject.startswith("failed (ferry): it is so")


def test_a_rule_is_looked_at_as_often_as_it_asks_for(installation, rules_of):
    """Every five minutes, whoever looks each minute."""
    rules = rules_of({**FAILED, "every": "5m"}, {**FAILED, "name": "often"})

    looked = [installation.look(rules, minute).looked for minute in range(7)]

    assert looked == [("failed", "often"), *[("often",)] * 4, ("failed", "often"), ("often",)]


def test_somebody_who_asks_does_not_wait_until_a_rule_is_due(installation, event, rules_of):
    """A look at everything, a second after the one before."""
    rules = rules_of({**FAILED, "every": "5m"})
    installation.look(rules, 0)
    installation.tell(event(0.001))
    stores = {"store": installation.store, "telemetry": installation.telemetry}

    now = installation.now + timedelta(seconds=1)

    assert look(rules, now=now, **stores).looked == ()
    assert len(look(rules, now=now, everything=True, **stores).notices) == 1


def test_a_look_that_was_overtaken_changes_nothing(installation, event, rules_of):
    """Somebody who asked about everything before the event, and is slow, does not take back what a later look found."""
    rules = rules_of(FAILED)
    stores = {"store": installation.store, "telemetry": installation.telemetry}
    installation.tell(event(1))
    fired = installation.look(rules, 2)

    overtaken = look(rules, now=installation.now - timedelta(minutes=2), everything=True, **stores)

    assert [step.step for step in fired.transitions] == ["fired"]
    assert (overtaken.looked, overtaken.transitions, overtaken.notices) == ((), (), ())
    assert installation.look(rules, 3).notices == ()


def test_events_of_an_outage_of_alerting_are_told_when_it_is_over(installation, event, rules_of):
    """Nobody looked for two hours; what happened in the first is long out of its window."""
    rules = rules_of(FAILED)
    installation.look(rules, 0)
    installation.tell(event(30))

    assert [notice.kind for notice in installation.look(rules, 120).notices] == ["fired"]


def test_a_rule_that_goes_takes_its_alerts_with_it(installation, event, rules_of):
    """Removed, switched off or grouped otherwise: it is over, and nobody is told on its behalf."""
    installation.tell(event(0))
    installation.look(rules_of(FAILED), 1)

    gone = installation.look(rules_of({**FAILED, "name": "other", "enabled": False}), 2)

    assert [(t.rule, t.step, t.detail) for t in gone.transitions] == [("failed", "resolved", "its rule is gone")]
    assert gone.notices == ()
    assert installation.look(rules_of({**FAILED, "name": "other", "enabled": False}), 3).transitions == ()


def test_a_silence_of_a_person_holds_for_its_rule_and_group(installation, event, rules_of):
    """The other group is told; when the silence ends, the silenced one is, too, if it still fires."""
    rules = rules_of(FAILED)
    begin = installation.now
    silence = {"rule": "failed", "group": ("ferry",), "begin": begin, "end": begin + timedelta(minutes=10)}
    installation.store.add_silence(Silence(**silence, actor="ana", reason="a test"))
    installation.tell(*(event(minute) for minute in range(12)), event(0, use_case="train"))

    told = [(notice.group, minute) for minute in (1, 9, 11) for notice in installation.look(rules, minute).notices]

    assert told == [(("train",), 1), (("train",), 9), (("ferry",), 11)]


def test_looks_at_once_tell_once(installation, event, rules_of):
    """Eight threads with connections of their own, the same moment: one notice, one transition."""
    rules = rules_of(FAILED)
    installation.tell(event(0))
    installation.at(1)
    stores = [(installation.store, installation.telemetry) for _ in range(8)]

    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda pair: look(rules, store=pair[0], telemetry=pair[1], now=installation.now), stores))

    assert sum(len(one.notices) for one in found) == 1
    assert len(installation.store.history()) == 1
    assert len(installation.deliver(rules)) == 1


KILLED = """
import os, sys
from datetime import datetime
from pathlib import Path
from ml.alerts import deliver
from ml.alerts.channels import Channels
from ml.alerts.look import look
from ml.alerts.rules import RuleFile
from ml.store.alerts import AlertStore
from ml.store.telemetry import Telemetry

url, moment, where, folder = sys.argv[1:5]
rules = RuleFile.model_validate_json(sys.argv[5])
store, telemetry, now = AlertStore(url), Telemetry(url), datetime.fromisoformat(moment)

def die(*_, **__):
    os.kill(os.getpid(), 9)

if where == "inside the look":
    import ml.store.alerts as module
    module._write_looks = die
if where == "before the notice is sent":
    Channels.send = die
if where == "after the notice is sent":
    AlertStore.conclude = die
look(rules, store=store, telemetry=telemetry, now=now)
if where == "after the look":
    die()
deliver.deliver_due(deliver.Sending(rules, Channels(Path(folder)), store, telemetry), clock=lambda: now)
"""


@pytest.mark.parametrize(
    "where", ["inside the look", "after the look", "before the notice is sent", "after the notice is sent"]
)
def test_who_is_killed_loses_nothing_and_tells_nothing_twice(installation, event, rules_of, where):
    """SIGKILL at each step, then a round in peace a minute and a half later: one message, whole."""
    rules = rules_of({**FAILED, "resolve_after": "1h"})
    installation.tell(event(0))
    installation.at(0.5)
    root = Path(__file__).parents[2]
    arguments = [installation.url, installation.now.isoformat(), where, str(installation.mailbox)]
    command = [sys.executable, "-c", KILLED, *arguments, rules.model_dump_json()]

    done = subprocess.run(command, env=os.environ | {"PYTHONPATH": str(root)}, cwd=root, check=False, timeout=60)
    installation.look(rules, 2)
    installation.deliver(rules)
    installation.look(rules, 3)
    installation.deliver(rules)

    assert done.returncode == -9
    assert len(installation.letters()) == 1
    assert [found.step for found in installation.store.history()] == ["fired"]
    assert sum(d.outcome == "delivered" for d in installation.store.deliveries()) == 1


def test_a_rule_is_replayed_over_history_as_it_would_have_looked(installation, event, rules_of):
    """The replay's transitions are those of looks at the same minutes, and nothing is written by it."""
    rules = rules_of(
        {**FAILED, "lasting": "2m"},
        {"name": "many", "condition": {"kind": "count", "where": {"codes": [401]}, "above": 2}, "cool_down": "20m"},
    )
    installation.tell(*(event(minute) for minute in (3, 4, 5, 6, 30, 31, 32, 33)))
    until = installation.now + timedelta(hours=1)

    replayed = replay(rules.rules, installation.telemetry, since=installation.now, until=until)
    quiet = installation.store.history()
    looked = [t for minute in range(61) for t in installation.look(rules, minute).transitions]

    assert quiet == []
    for found in replayed:
        assert list(found.transitions) == [t for t in looked if t.rule == found.rule]
        assert found.looks == 61
    assert [found.fired for found in replayed] == [2, 2]


def test_alerts_with_long_names_are_told_apart(installation, event, rules_of):
    """Two groups alike in their first thousand quoted characters, two whose slashes fall otherwise: eight notices."""
    where = {"kind": "match", "where": {"codes": [401]}}
    rules = rules_of({"name": "failed", "condition": where, "group_by": ["key", "source"], "resolve_after": "1m"})
    long = "k/" * 249
    pairs = ((long + "a", "s"), (long + "b", "s"), ("a/b", "c"), ("a", "b/c"))
    installation.tell(*(event(0, key=key, source=source) for key, source in pairs))

    for minute in (1, 7, 9):
        installation.look(rules, minute)

    keys = [notice.key for notice in installation.store.notices()]
    assert len(keys) == len(set(keys)) == 8
    assert max(map(len, keys)) <= 1000


def test_the_scoreboard_counts_by_hand(installation, event, rules_of):
    """Two episodes, one acknowledged after a minute; the newest mark of each counts."""
    from ml.alerts.machine import acknowledge
    from ml.store.alerts import Changes

    rules = rules_of(FAILED)
    installation.tell(event(0), event(100))
    installation.look(rules, 1)

    def ack(book):
        (state,) = book.states.values()
        step = acknowledge(state, now=installation.now, actor="ana")
        return Changes(states=[step.state], transitions=list(step.transitions))

    installation.at(2).store.change(ack, now=installation.now)
    for minute in (7, 101, 107):
        installation.look(rules, minute)
    for episode, verdict in ((1, "noise"), (1, "useful"), (2, "noise")):
        mark = {"rule": "failed", "group": ("ferry",), "episode": episode, "verdict": verdict, "actor": "ana"}
        installation.store.add_mark(Mark(**mark, time=installation.now))

    (score,) = score_rules(installation.store.history(), installation.store.marks())

    assert (score.fired, score.acknowledged, score.useful, score.noise, score.precision) == (2, 1, 1, 1, 0.5)
    assert (score.notice_seconds, score.repair_seconds, score.only_noise) == (60.0, 360.0, False)
