"""Which rules are in force, what a file says otherwise, and who gives a change its reason."""

from __future__ import annotations

from datetime import timedelta

import pytest

from ml.errors import InputError
from ml.governance.policy_record import (
    ALERTS,
    apply_policy,
    diff_all,
    diff_policy,
    diff_texts,
    find_in_force,
    note_policy,
)
from ml.records.governance import PolicyChange, UseCaseSeen
from ml.settings import PROJECT
from ml.use_case import load
from tests.governance.conftest import NOW

NAME = "harbour_weather"
TEXT = (PROJECT / "use_cases" / f"{NAME}.yaml").read_text(encoding="utf-8")
LOOSER = TEXT.replace("  level: 0.1 ", "  level: 0.4 ").replace("cool_down: 14d", "cool_down: 1d")
RULES = (PROJECT / "alerts.yaml").read_text(encoding="utf-8")

CHANGES = [("gate.level", "0.1", "0.4"), ("retraining.cool_down", '"14d"', '"1d"')]


def told(changes):
    """Changes as tuples."""
    return [(change.path, change.before, change.after) for change in changes]


def apply(control, text, *, subject=NAME, reason="costs have halved", actor="ana", now=NOW):
    """Apply a text."""
    return apply_policy(control, subject, text, reason=reason, actor=actor, now=now)


def test_what_is_met_first_is_in_force(control):
    """Met again it is no change, and it is recorded once."""
    assert diff_policy(control, NAME, TEXT).in_force is None
    assert note_policy(control, NAME, TEXT, now=NOW) == ()
    assert note_policy(control, NAME, TEXT, now=NOW) == ()

    assert (find_in_force(control, NAME).entry, find_in_force(control, NAME).text) == (1, TEXT)
    assert len(control.ledger_entries()) == 1


def test_a_change_without_a_reason_is_told_until_somebody_gives_it_one(control):
    """By dotted path, with both values; it is in the ledger as unreasoned, and is in force from the reason on."""
    note_policy(control, NAME, TEXT, now=NOW)

    for _ in range(2):
        assert told(note_policy(control, NAME, LOOSER, now=NOW)) == CHANGES
    met = [UseCaseSeen.model_validate_json(e.payload) for e in control.ledger_entries(kinds=("use_case",))]
    assert [(seen.unreasoned, seen.text == LOOSER) for seen in met] == [(True, True), (False, False)]
    assert find_in_force(control, NAME).text == TEXT

    applied = apply(control, LOOSER)

    assert (told(applied.changes), applied.previous) == (CHANGES, 1)
    assert note_policy(control, NAME, LOOSER, now=NOW) == ()
    ruling = find_in_force(control, NAME)
    assert (ruling.text, ruling.actor, ruling.reason) == (LOOSER, "ana", "costs have halved")


def test_going_back_without_a_reason_is_a_change_as_well(control):
    """The file of last week is not in force any more."""
    note_policy(control, NAME, TEXT, now=NOW)
    apply(control, LOOSER)

    assert [change.path for change in note_policy(control, NAME, TEXT, now=NOW)] == [path for path, *_ in CHANGES]
    assert apply(control, TEXT, now=NOW + timedelta(hours=1)).previous == 2


@pytest.mark.parametrize(
    "edited",
    [
        TEXT.replace("# Will it rain", "# Does it rain"),
        TEXT.replace("owner: harbour operations", "owner: somebody else"),
        TEXT.replace("description: Rain in the next hour", "description: Rain soon"),
        TEXT.replace("  mode: automatic\n", ""),  # its default
    ],
    ids=["comment", "owner", "description", "default"],
)
def test_words_and_defaults_are_no_rules(control, edited):
    """Nothing to give a reason for."""
    assert edited != TEXT
    note_policy(control, NAME, TEXT, now=NOW)

    assert note_policy(control, NAME, edited, now=NOW) == ()
    assert apply(control, edited) is None


def test_a_recorded_text_that_is_not_valid_any_more_is_compared_as_it_is():
    """A key that a newer version of the program does not know."""
    older = TEXT.replace("  mode: automatic", "  mode: automatic\n  patience: 3")

    assert told(diff_texts(NAME, older, TEXT)) == [("retraining.patience", "3", None)]


def test_every_key_of_the_file_that_is_a_rule_is_compared():
    """An independent count: each changed leaf of the model is one change."""
    use_case = load(PROJECT / "use_cases" / f"{NAME}.yaml")
    changed = use_case.retraining.model_copy(update={"breaker": 9, "level": 0.2, "reviewers": ("eve",)})
    other = use_case.model_copy(update={"retraining": changed})
    texts = (model.model_dump_json() for model in (use_case, other))

    assert told(diff_texts(NAME, *texts)) == [
        ("retraining.breaker", "4", "9"),
        ("retraining.level", "0.05", "0.2"),
        ("retraining.reviewers", "[]", '["eve"]'),
    ]


def test_alert_rules_are_compared_by_their_names(control):
    """One that moves within the file is no change."""
    note_policy(control, ALERTS, RULES, now=NOW)
    edited = RULES.replace("      above: 0.05\n      at_least: 20", "      above: 0.5\n      at_least: 20")

    assert told(note_policy(control, ALERTS, edited, now=NOW)) == [
        ("rules.failed_requests.condition.above", "0.05", "0.5")
    ]
    assert apply(control, edited, subject=ALERTS).changes[0].path == "rules.failed_requests.condition.above"
    assert find_in_force(control, ALERTS).text == edited


def test_only_reviewers_of_the_policy_in_force_change_it(control):
    """Nobody makes themselves a reviewer by the change."""
    note_policy(control, NAME, TEXT.replace("mode: automatic", "mode: review\n  reviewers: [ana]"), now=NOW)
    taken = TEXT.replace("mode: automatic", "mode: automatic\n  reviewers: [eve]")

    with pytest.raises(InputError, match=r"not a reviewer.*got: eve; allowed: ana"):
        apply(control, taken, actor="eve")
    with pytest.raises(InputError, match="a reason is needed"):
        apply(control, taken, reason=" ")
    assert apply(control, taken).subject == NAME


def test_files_that_are_absent_or_unchanged_say_nothing(control, tmp_path):
    """Each subject by itself."""
    for name in ("one", "two"):
        (tmp_path / f"{name}.yaml").write_text(TEXT.replace(f"name: {NAME}", f"name: {name}"), encoding="utf-8")
        note_policy(control, name, (tmp_path / f"{name}.yaml").read_text(encoding="utf-8"), now=NOW)
    (tmp_path / "two.yaml").write_text(LOOSER.replace(f"name: {NAME}", "name: two"), encoding="utf-8")

    files = {name: tmp_path / f"{name}.yaml" for name in ("one", "two", "three")}

    assert [(one.subject, len(one.changes)) for one in diff_all(control, files)] == [("one", 0), ("two", 2)]


def test_what_was_applied_keeps_its_preview(control):
    """Beside who, why and what."""
    apply_policy(control, NAME, TEXT, reason="first", actor="ana", now=NOW, preview=("in force: none",))

    (entry,) = control.ledger_entries(kinds=("policy",))
    assert PolicyChange.model_validate_json(entry.payload).preview == ("in force: none",)
