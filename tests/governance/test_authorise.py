"""Who may make a version champion: the ledger's word, or a reviewer's in the registry, once; nobody else's."""

from __future__ import annotations

import sqlite3
from dataclasses import replace

import pytest

from ml.errors import InputError
from ml.governance.authorise import authorise, check_four_eyes, check_reviewer
from ml.governance.verification import verify_all
from ml.records.governance import AliasMove
from ml.registry.alias import newest_move
from ml.registry.release import stage
from tests.governance.conftest import NAME, NOW, WEATHER

#: The actor of the scene's requests.
ASKED_FOR_BY = "monitor"
REVIEWED = WEATHER.model_copy(update={"retraining": WEATHER.retraining.model_copy(update={"reviewers": ("ana", "bo")})})


@pytest.fixture
def ask(control, registry, tmp_path):
    """Stage the champion and ask whether it may be served."""

    def answer(use_case=REVIEWED):
        staged = stage(NAME, registry=registry, releases=tmp_path / "releases", now=NOW)
        return authorise(staged, use_case, registry=registry, control=control, now=NOW)

    return answer


def approve(registry, number: int, *, by: str = "ana", reason: str = "seen the slices") -> None:
    """Set the two tags, as MLflow's UI does, and move the alias."""
    version = registry.version(NAME, number)
    tags = {"approved_by": by, "approval_reason": reason}
    registry._versions[NAME][number - 1] = replace(version, tags=version.tags | tags)
    registry.set_champion(NAME, number)


def test_what_the_gate_promoted_is_served(registry, make, ask):
    """By the entry that says so."""
    make(registry)

    found = ask()

    assert (found.accepted, found.reason) == (True, "champion by entry 5 of the ledger: gate")


def test_an_alias_moved_by_hand_is_not_served(registry, control, make, ask):
    """Not without an approval; nothing is recorded as anybody's."""
    make(registry), make(registry)
    registry.set_champion(NAME, 1)

    found = ask()

    assert (found.accepted, found.code) == (False, 601)
    assert "knows of version 2 by entry 10, not of version 1; it has no tags approved_by" in found.reason
    assert len(control.ledger_entries()) == 10


def test_a_reviewers_move_is_served_and_recorded_as_theirs(registry, control, make, ask):
    """With their reason; the ledger and the registry agree from then on, and a retried task is served again."""
    make(registry), make(registry)
    approve(registry, 1)

    found = ask()

    assert (found.accepted, found.reason) == (True, "champion by ana, in the registry: seen the slices")
    entry = newest_move(control, NAME)
    move = AliasMove.model_validate_json(entry.payload)
    assert (entry.actor, move.by, move.version, move.previous) == ("ana", "mlflow", 1, 2)
    assert verify_all(control, registry, (), now=NOW).ok
    assert ask().reason == "champion by entry 11 of the ledger: ana"


@pytest.mark.parametrize(
    ("by", "reason", "told"),
    [
        ("eve", "because", "approved_by is 'eve'; retraining.reviewers allows ana, bo"),
        ("", "because", "no tags"),
        ("ana", " ", "no tags"),
    ],
)
def test_an_approval_by_nobody_or_without_reason_is_none(registry, make, ask, by, reason, told):
    """The reason for the refusal names what is missing."""
    make(registry), make(registry)
    approve(registry, 1, by=by, reason=reason)

    found = ask()

    assert (found.accepted, told in found.reason) == (False, True)


def test_without_reviewers_nobody_approves_in_the_registry(registry, make, ask):
    """The use case file names none."""
    make(registry), make(registry)
    approve(registry, 1)

    assert "retraining.reviewers allows nobody" in ask(WEATHER).reason


def test_an_approval_counts_once(registry, make, ask):
    """The tags stay on the version; a later move to it by somebody else does not find them valid."""
    make(registry), make(registry)
    approve(registry, 1)
    assert ask().accepted
    approve(registry, 2, by="bo", reason="back again")
    assert ask().accepted
    registry.set_champion(NAME, 1)

    found = ask()

    assert (found.accepted, "this approval by ana was used before" in found.reason) == (False, True)


def test_other_bytes_under_an_authorised_version_are_not_served(registry, make, ask):
    """Artifact and digests were swapped in the registry, which agrees with itself."""
    make(registry), make(registry, promote=False)
    registry._files[NAME, 1] = registry._files[NAME, 2]
    first, second = registry.version(NAME, 1), registry.version(NAME, 2)
    vars(first).update(digest=second.digest, package_digest=second.package_digest)

    found = ask()

    assert (found.accepted, found.code, "the ledger recorded" in found.reason) == (False, 102, True)


def test_with_a_broken_ledger_nothing_new_is_served(registry, make, ask, tmp_path):
    """It cannot say whose decision it was."""
    make(registry)
    with sqlite3.connect(tmp_path / "control.db") as connection:
        connection.execute("UPDATE ledger SET actor = 'eve' WHERE number = 3")
    connection.close()

    found = ask()

    assert (found.accepted, found.code) == (False, 601)
    assert "the ledger is broken, 2 findings, first: 3: is not signed" in found.reason


def test_a_gate_that_never_recorded_a_version_is_not_believed(registry, control, make, ask, tmp_path):
    """A move by the gate has a record of the version that it judged."""
    make(registry)
    with sqlite3.connect(tmp_path / "control.db") as connection:
        connection.execute("DELETE FROM records WHERE kind = 'version'")
    connection.close()

    assert not ask().accepted


def test_only_reviewers_promote_by_command_where_there_are_any():
    """Without any, whoever holds the key may."""
    check_reviewer(WEATHER, "anybody")
    check_reviewer(REVIEWED, "bo")
    with pytest.raises(InputError, match=r"not a reviewer.*got: eve; allowed: ana, bo"):
        check_reviewer(REVIEWED, "eve")


def test_with_four_eyes_nobody_makes_champion_what_they_asked_for(registry, control, make, ask):
    """Neither by command nor by tags; a version that was champion before may be gone back to."""
    make(registry), make(registry, promote=False)
    keys = {"four_eyes": True, "reviewers": ("bo", ASKED_FOR_BY)}
    strict = REVIEWED.model_copy(update={"retraining": REVIEWED.retraining.model_copy(update=keys)})

    with pytest.raises(InputError, match=rf"triggered a retraining may not approve.*got: {ASKED_FOR_BY}"):
        check_four_eyes(strict, 2, ASKED_FOR_BY, control)
    check_four_eyes(strict, 2, "bo", control)
    check_four_eyes(strict, 1, ASKED_FOR_BY, control)
    check_four_eyes(REVIEWED, 2, ASKED_FOR_BY, control)

    approve(registry, 2, by=ASKED_FOR_BY)
    assert "who triggered a retraining may not approve" in ask(strict).reason
    approve(registry, 2, by="bo")
    assert ask(strict).accepted
