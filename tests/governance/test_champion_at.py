"""Which version was champion at a time: by whose decision, on what evidence, and which one served."""

from __future__ import annotations

from datetime import timedelta

import pytest

from ml.errors import InputError
from ml.governance.champion_at import champion_at
from ml.records.governance import AliasMove
from ml.records.release import ReleaseOutcome
from ml.registry.alias import move_alias
from tests.governance.conftest import NAME, NOW

DAY = timedelta(days=1)
FIRST = NOW - 2 * DAY  # the first version's moment, the second's is a day later


@pytest.fixture
def story(control, registry, make):
    """Version 1, a day later version 2, back to 1 by ana, then none; 2 was released within an hour."""
    make(registry), make(registry)
    outcome = ReleaseOutcome(
        use_case=NAME, outcome="confirmed", wanted_version=2, served_version=2, reason="served", seconds=1.0
    )
    moment = FIRST + DAY + timedelta(hours=1)
    control.record("release", "r", outcome, use_case=NAME, as_of=moment, now=moment, actor="release")
    for day, version, actor in ((2, 1, "ana"), (3, None, "release")):
        by = "command" if version else "roll_back"
        move = AliasMove(use_case=NAME, version=version, previous=None, by=by, reason="because")
        now = FIRST + day * DAY
        move_alias(move, key=f"{day}", registry=registry, control=control, actor=actor, now=now, back=True)


@pytest.mark.parametrize(
    ("hours", "version", "actor", "served"),
    [(0, 1, "gate", None), (23.9, 1, "gate", None), (24, 2, "gate", None), (25, 2, "gate", 2), (48, 1, "ana", 2),
     (72, None, "release", 2), (999, None, "release", 2)],
)  # fmt: skip
def test_the_champion_of_each_moment(control, story, hours, version, actor, served):
    """At the very moment of a move it is the new one."""
    (found,) = champion_at(control, FIRST + timedelta(hours=hours), NAME)

    assert (found.version, found.actor, found.served) == (version, actor, served)


def test_the_evidence_is_that_of_the_decision(control, story):
    """The gate's record and the request, each with its entry, its actor and what it said."""
    (found,) = champion_at(control, FIRST + DAY)

    assert (found.use_case, found.by, found.reason, found.entry) == (NAME, "gate", "it won", 10)
    assert [(e.kind, e.entry, e.actor, e.summary) for e in found.evidence] == [
        ("gate", 9, "gate", "promote: it won"),
        ("request", 6, "ana", "drift 0.985 > 0.97"),
    ]


def test_before_the_first_champion_there_was_none(control, story):
    """One clear error that says from when on there is an answer."""
    with pytest.raises(InputError, match=r"there was no champion then.*allowed: 2026-01-03 00:00:00 UTC or later"):
        champion_at(control, FIRST - timedelta(seconds=1))
    with pytest.raises(InputError, match="there never was one"):
        champion_at(control, NOW, "unknown")


def test_every_use_case_has_its_own(control, registry, make):
    """In the order of their names."""
    make(registry, name="b")
    make(registry, name="a")

    assert [(c.use_case, c.version) for c in champion_at(control, NOW)] == [("a", 1), ("b", 1)]
