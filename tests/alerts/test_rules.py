"""A rule file is understood whole or refused whole, with every problem at its path."""

from __future__ import annotations

import contextlib
import re
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from ml.alerts.current import rules_in_force
from ml.alerts.rules import SilenceWindow, load_rules, read_rules
from ml.errors import InputError

BROKEN = """
channels:
  box: {kind: mailbox}
  mail: {kind: email, server: smtp, to: ["ops@example.org\\nBcc: all@example.org"]}
  hook: {kind: webhook, url: "file:///etc/passwd", secret: k}
groups:
  operators: [box, pigeon]
rules:
  - name: a
    description: d
    severity: fatal
    condition: {kind: match, where: {codes: [999]}}
    actions: [operators]
  - name: a
    description: d
    severity: error
    condition: {kind: ratio, of: {metric: x}, above: 1}
    lasting: soon
    colour: red
    actions: []
"""

SOUND = """
channels: {box: {kind: mailbox}}
rules:
  - {name: a, description: d, severity: error, actions: [box], condition: {kind: match, where: {names: [x]}}}
"""


def test_every_problem_is_listed_with_its_path():
    """Nine at once, of channels and of both rules."""
    with pytest.raises(InputError) as raised:
        read_rules(BROKEN, "alerts.yaml")

    found = {problem.path for problem in raised.value.problems}
    assert raised.value.exit_code == 2
    assert {
        "channels.mail.email.to",
        "channels.hook.webhook.url",
        "rules.0.severity",
        "rules.0.condition.match.where.codes",
        "rules.1.condition.ratio.to",
        "rules.1.lasting",
        "rules.1.colour",
        "rules.1.actions",
    } == found
    assert "alerts.yaml" in str(raised.value)


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        (("actions: [box]", "actions: [bx]"), "rules.0.actions: is no channel or group: 'bx'; allowed: box"),
        (("channels:", "groups: {g: [bx]}\nchannels:"), "groups.g.0: is no channel: 'bx'"),
        (("channels:", "groups: {box: [box]}\nchannels:"), "groups.box: is the name of a channel, too"),
        (("actions: [box]", "actions: [box], lasting: 1m, persistence: [1, 2]"), "not both"),
        (("actions: [box]", "actions: [box], persistence: [3, 2]"), "n of m looks"),
        (("actions: [box]", "actions: [box], group_by: [label]"), "group_by of match must be of use_case"),
        (("actions: [box]", "actions: [box], text: '$secret'"), "got 'secret'"),
        (("actions: [box]", "actions: [box], text: '${value.__class__}'"), "may name"),
        (("actions: [box]", "actions: [box], escalate: {after: 1m, actions: [x]}"), "rules.0.escalate.actions"),
        (("names: [x]", ""), "must name codes, names"),
        (("where: {names: [x]}", "where: {names: [x]}, within: 0s"), "longer than nothing"),
        (("channels:", "link: 'javascript:alert(1)'\nchannels:"), "must begin with http"),
        ((SOUND, "[1, 2]"), "must be a mapping, got list"),
        ((SOUND, "a: [b"), "is not YAML"),
        ((SOUND, "a: !!python/object/apply:os.system [true]"), "is not YAML"),
    ],
)
def test_what_cannot_be_meant_is_refused(change, problem):
    """Names that lead nowhere, contradictions, words that would compute something."""
    with pytest.raises(InputError, match=re.escape(problem)):
        read_rules(SOUND.replace(*change), "alerts.yaml")


def test_the_shipped_rules_are_sound():
    """Each says what it is about, and the mailbox is told of each."""
    rules = load_rules(Path(__file__).parents[2] / "alerts.yaml")

    assert len(rules.rules) >= 20
    assert all("operators" in rule.actions for rule in rules.rules)
    assert {rules.channels_of(action)[-1] for rule in rules.rules for action in rule.actions} == {"mailbox"}


@given(st.text(max_size=200))
def test_any_text_is_rules_or_refused(text):
    """Nothing else is ever raised."""
    with contextlib.suppress(InputError):
        read_rules(text, "alerts.yaml")


@given(
    st.recursive(
        st.none() | st.integers() | st.text(max_size=5),
        lambda c: st.lists(c) | st.dictionaries(st.text(max_size=8), c),
        max_leaves=20,
    )
)
def test_any_content_in_the_place_of_rules_is_refused(content):
    """Whatever stands there."""
    with pytest.raises(InputError):
        read_rules(yaml.safe_dump({"channels": {"box": {"kind": "mailbox"}}, "rules": [content]}), "alerts.yaml")


@pytest.mark.parametrize(
    ("moment", "silent"),
    [
        ("2026-01-09T21:59", False),  # a Friday
        ("2026-01-09T22:00", True),
        ("2026-01-10T05:59", True),
        ("2026-01-10T06:00", False),
        ("2026-01-10T22:30", False),  # Saturday evening is not named
        ("2026-01-11T03:00", False),
        ("2026-01-09T03:00", False),  # the night to Friday began on Thursday
    ],
)
def test_a_silence_over_midnight_belongs_to_the_day_that_it_began(moment, silent):
    """Friday night."""
    window = SilenceWindow.model_validate({"days": ["fri"], "begin": "22:00", "end": "06:00"})

    assert window.holds(datetime.fromisoformat(moment).replace(tzinfo=UTC)) is silent


def test_a_file_that_breaks_leaves_the_old_rules_in_force(installation, tmp_path):
    """It is told once, and the rules change when it is mended; an absent file counts as broken."""
    path, now = tmp_path / "alerts.yaml", installation.now
    stores = {"store": installation.store, "telemetry": installation.telemetry}

    def in_force(text: str | None, minutes: int):
        path.unlink(missing_ok=True)
        if text is not None:
            path.write_text(text)
        found = rules_in_force(path, now=now + timedelta(minutes=minutes), **stores)
        return [rule.name for rule in found.rules.rules], bool(found.problem)

    assert in_force(SOUND, 0) == (["a"], False)
    assert in_force(BROKEN, 1) == (["a"], True)
    assert in_force(BROKEN, 2) == (["a"], True)
    assert in_force(None, 3) == (["a"], True)
    assert in_force(SOUND.replace("name: a", "name: b"), 4) == (["b"], False)
    assert in_force(BROKEN + "#", 5) == (["b"], True)
    refusals = installation.telemetry.search(names=["rules_refused"])
    assert len(refusals) == 3  # two broken contents and an absent file
    assert all(word in refusals[-1].message for word in ("rules.1.colour", "rules.0.severity"))


def test_without_any_sound_file_there_are_no_rules(installation, tmp_path):
    """The first file must be sound."""
    (tmp_path / "alerts.yaml").write_text(BROKEN)

    with pytest.raises(InputError, match=r"rules\.1\.colour"):
        rules_in_force(
            tmp_path / "alerts.yaml", store=installation.store, telemetry=installation.telemetry, now=installation.now
        )
