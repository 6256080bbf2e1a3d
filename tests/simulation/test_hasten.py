"""Rules in a hurry ask the same as before, sooner, and call nobody."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest
import yaml

from ml.alerts.rules import load_rules, read_rules
from ml.simulation.hasten import hasten_rules

SHIPPED = load_rules(Path(__file__).parents[2] / "alerts.yaml")
TICK = timedelta(seconds=5)


def hastened(**options):
    """The shipped rules in a hurry, read as a rule file is."""
    return read_rules(yaml.safe_dump(hasten_rules(SHIPPED, tick=TICK, **options)), "drill")


@pytest.mark.parametrize("rule", SHIPPED.rules, ids=lambda rule: rule.name)
def test_a_rule_in_a_hurry_asks_the_same(rule):
    """Condition, bounds, groups, runbooks and the number of looks stay; the window may be shorter, never longer."""
    told = {name for action in rule.actions for name in SHIPPED.channels_of(action)}
    runbooks = {name for name in told if SHIPPED.channels[name].kind == "runbook"}
    found = hastened().rule(rule.name)

    changed = found.condition.model_copy(update={"within": rule.condition.within})
    assert changed == rule.condition
    assert found.condition.within <= rule.condition.within
    assert (found.severity, found.group_by, found.persistence, found.undecided) == (
        rule.severity,
        rule.group_by,
        rule.persistence,
        rule.undecided,
    )
    assert found.every == TICK
    assert set(found.actions) == {"mailbox"} | runbooks
    assert (found.escalate, found.silence, found.cool_down) == (None, (), timedelta(0))


def test_what_comes_once_a_week_is_not_missed_after_seconds():
    """The absence of a monitor run keeps its eight days."""
    assert hastened().rule("pipeline_late").condition.within == timedelta(days=8)


def test_a_bound_that_cannot_be_reached_on_purpose_is_lowered_by_name():
    """And no other bound is."""
    found = hastened(bounds={"capture_backlog": {"above": 3000}})

    assert found.rule("capture_backlog").condition.above == 3000
    assert [r.name for r in found.rules if r.condition != hastened().rule(r.name).condition] == ["capture_backlog"]


def test_channels_of_the_installation_are_not_spoken_to():
    """Neither mail nor webhook nor DAG of the file are left; the drill's own are."""
    text = yaml.safe_dump(
        {
            "channels": {
                "mail": {"kind": "email", "server": "smtp_server", "to": ["ops@example.org"]},
                "again": {"kind": "dag", "dag": "retrain"},
            },
            "groups": {"operators": ["mail", "again"]},
            "rules": [
                {
                    "name": "r",
                    "description": "d",
                    "severity": "error",
                    "actions": ["operators", "again"],
                    "condition": {"kind": "match", "where": {"names": ["x"]}},
                }
            ],
        }
    )
    desk = {"kind": "webhook", "url": "http://127.0.0.1:9/", "secret": "desk", "allow_private": True}

    found = hasten_rules(read_rules(text, "file"), tick=TICK, channels={"desk": desk}, groups={"hook": ["desk"]})

    assert set(found["channels"]) == {"mailbox", "desk"}
    assert found["rules"][0]["actions"] == ["mailbox"]
