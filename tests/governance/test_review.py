"""A question to a person about a version: who may answer, in time, about the very bytes and evidence; once."""

from __future__ import annotations

import sqlite3
from datetime import timedelta

import pytest

from ml.errors import ConflictError, InputError
from ml.governance.review import (
    Given,
    answer_review,
    ask_review,
    carry_out,
    close_review,
    find_answer,
    find_review,
    open_reviews,
)
from ml.governance.verification import verify_all
from ml.records.decision import RetrainRequest
from ml.records.governance import AliasMove
from ml.registry.alias import newest_move
from ml.stack.approval import act_on, read_tags
from ml.store.ledger import BrokenLedgerError
from tests.governance.conftest import NAME, NOW, WEATHER

LATER = NOW + timedelta(days=1)


def reviewed(**changed):
    """The use case in mode review, with keys of ``retraining`` changed."""
    keys = {"mode": "review", "reviewers": ("ana", "bo")} | changed
    return WEATHER.model_copy(update={"retraining": WEATHER.retraining.model_copy(update=keys)})


USE_CASE = reviewed()
YES, NO = Given("approve", "ana", "seen the slices", "command"), Given("reject", "ana", "JFK is worse", "command")


@pytest.fixture
def question(registry, control, make):
    """Version 2, which waits for a person while version 1 is champion; triggered by cy."""
    make(registry)
    key = f"{NAME}/{make(registry, promote=False, decision='review')}"
    request = RetrainRequest.model_validate_json(control.ledger_entries(kinds=("request",), limit=1)[0].payload)
    request = request.model_copy(update={"actor": "cy"})
    return ask_review(USE_CASE, key, request, run_id="manual__1", registry=registry, control=control, now=NOW)


@pytest.fixture
def say(question, registry, control):
    """Give an answer to the question."""

    def answer(given=YES, use_case=USE_CASE, now=LATER):
        return answer_review(question, use_case, given, registry=registry, control=control, now=now)

    return answer


def test_an_approved_version_becomes_champion_by_who_approved_it(question, say, registry, control):
    """Nothing moves before; the ledger's move names person, answer and evidence; done twice it is done once."""
    assert registry.champion(NAME).version == 1
    assert [review.version for review in open_reviews(control, NAME)] == [2]

    say()
    for _ in range(2):
        carry_out(question, USE_CASE, registry=registry, control=control, now=LATER, as_of=LATER)

    entry = newest_move(control, NAME)
    move = AliasMove.model_validate_json(entry.payload)
    assert registry.champion(NAME).version == 2
    assert (entry.actor, move.by, move.previous) == ("ana", "review", 1)
    assert move.evidence[:2] == (f"approval/{NAME}/2", f"gate/{NAME}/2")
    assert move.reason == "ana approved it (command): seen the slices."
    assert len(control.ledger_entries(kinds=("alias",))) == 2
    assert open_reviews(control, NAME) == ()
    assert verify_all(control, registry, (), now=LATER).findings == ()


def test_questions_whose_time_is_long_over_can_be_left_out(question, control):
    """By the moment that theirs ended before; that very moment is too late."""
    end = question.expires_at

    assert [review.version for review in open_reviews(control, NAME, since=end - timedelta(seconds=1))] == [2]
    assert open_reviews(control, NAME, since=end) == ()


def test_without_an_approval_nothing_moves(question, say, registry, control):
    """Neither unanswered nor rejected."""
    with pytest.raises(ConflictError, match=r"not approved.*nobody has answered"):
        carry_out(question, USE_CASE, registry=registry, control=control, now=LATER, as_of=LATER)

    say(NO)

    with pytest.raises(ConflictError, match="ana rejected it"):
        carry_out(question, USE_CASE, registry=registry, control=control, now=LATER, as_of=LATER)
    assert registry.champion(NAME).version == 1


def test_who_is_no_reviewer_answers_nothing(say, question, control):
    """The question stays open."""
    with pytest.raises(InputError, match=r"not a reviewer.*got: eve; allowed: ana, bo"):
        say(YES._replace(actor="eve"))
    assert find_answer(control, question) is None


def test_with_four_eyes_who_triggered_it_does_not_approve_it(say, question, control):
    """They may reject it; without the option they may approve it, too."""
    strict = reviewed(reviewers=("cy", "ana"), four_eyes=True)
    with pytest.raises(InputError, match=r"triggered a retraining may not approve.*got: cy; allowed: another person"):
        say(YES._replace(actor="cy"), strict)
    assert find_answer(control, question) is None

    assert say(NO._replace(actor="cy"), strict).answer == "reject"


def test_without_four_eyes_one_person_is_enough(say):
    """The file says so."""
    assert say(YES._replace(actor="cy"), reviewed(reviewers=("cy",))).answer == "approve"


def test_an_answer_after_its_time_is_none(say, question, registry, control):
    """The question is closed as expired, seven days after it was put, and no later answer counts."""
    assert question.expires_at == NOW + timedelta(days=7)

    with pytest.raises(ConflictError, match=r"The question is expired: it was open until 2026-01-12 00:00 UTC"):
        say(now=NOW + timedelta(days=7))
    with pytest.raises(ConflictError, match="expired"):
        say(now=LATER)
    assert registry.version(NAME, 2).tags["review"] == "expired"
    assert find_answer(control, question).actor == "perennial"


def test_an_answer_about_other_bytes_is_void(say, registry):
    """The version's digest is not the one that was asked about."""
    vars(registry.version(NAME, 2)).update(digest="0" * 64)

    with pytest.raises(ConflictError, match="The question is void: version 2 has another digest"):
        say()


def test_bytes_that_change_between_approval_and_promotion_do_not_become_champion(question, say, registry, control):
    """An approval is of bytes, not of a number."""
    say()
    vars(registry.version(NAME, 2)).update(package_digest="0" * 64)

    with pytest.raises(ConflictError, match="what was approved has changed"):
        carry_out(question, USE_CASE, registry=registry, control=control, now=LATER, as_of=LATER)
    assert registry.champion(NAME).version == 1


def test_an_answer_about_other_evidence_is_void(say, tmp_path):
    """The gate's record was edited since."""
    with sqlite3.connect(tmp_path / "control.db") as connection:
        connection.execute("UPDATE records SET payload = replace(payload, 'won', 'lost') WHERE kind = 'gate'")
    connection.close()

    with pytest.raises(ConflictError, match="the gate's record is not the one that was asked about"):
        say()


def test_an_answer_after_another_champion_is_void(say, registry, make):
    """The evidence compares with a champion that is none any more."""
    make(registry)

    with pytest.raises(ConflictError, match="the champion is version 3 now; it was compared with version 1"):
        say()


def test_the_first_answer_counts(say):
    """The same one again is harmless, another one is told what was answered."""
    assert say() == say()
    with pytest.raises(ConflictError, match="ana approved it"):
        say(NO._replace(actor="bo"))


def test_a_version_that_nobody_was_asked_about_is_named_with_those_that_are(question, control):
    """Bad input says what is allowed."""
    del question
    with pytest.raises(InputError, match=r"version is not under review.*got: 7; allowed: 2"):
        find_review(control, NAME, 7)


def test_with_a_broken_ledger_nobody_answers(say, question, control, tmp_path):
    """The last entries were cut off: nothing is recorded."""
    with sqlite3.connect(tmp_path / "control.db") as connection:
        connection.execute("DELETE FROM ledger WHERE number = (SELECT max(number) FROM ledger)")
    connection.close()

    with pytest.raises(BrokenLedgerError, match="the ledger is broken"):
        say()
    assert find_answer(control, question) is None


def test_without_the_ledgers_key_nobody_answers(say, control):
    """The message names the file."""
    (control.ledger_folder.path / "signing.pem").unlink()
    del control.ledger_folder.__dict__["private_key"]  # a process that starts now

    with pytest.raises(InputError, match=r"key of the ledger is absent; where: .*signing\.pem"):
        say()


def test_the_versions_page_begins_with_the_question_and_then_with_its_answer(question, say, registry):
    """Until when, why, bound to what, how to answer; the rest of the page stays, and fits into MLflow."""
    before = registry.version(NAME, 2)
    rest = before.description.split("\n\n---\n\n")[1]
    for part in ("until 2026-01-12 00:00 UTC", "ana, bo", question.digest[:12], question.evidence[:12], "approved_by"):
        assert part in before.description
    assert f"perennial approve {NAME} 2" in before.description
    assert (before.tags["review"], before.tags["review_evidence"]) == ("open", question.evidence)

    say()

    after = registry.version(NAME, 2)
    assert after.description.startswith("## Approval\n\nana approved it (command): seen the slices.")
    assert after.description.endswith(rest)
    assert (after.tags["review"], after.tags["review_by"]) == ("approve", "ana (command)")
    assert len(after.description) <= 5000


class Airflow:
    """Airflow with a question that is open or not, and a run that is over or not."""

    def __init__(self, *, waits: bool, over: bool) -> None:
        self.waits, self.over, self.calls = waits, over, []

    def answer(self, dag_id, run_id, task, option, *, reason):
        """Take an answer while there is a question."""
        self.calls.append((dag_id, run_id, task, option, reason))
        return self.waits

    def is_over(self, dag_id, run_id):
        """Whether the run has ended."""
        del dag_id, run_id
        return self.over

    def trigger(self, dag_id, conf, *, run_id=""):
        """Remember what was started."""
        del conf
        self.calls.append((dag_id, run_id))
        return run_id


@pytest.mark.parametrize(
    ("waits", "over", "step", "champion"),
    [(True, False, "answered", 1), (False, False, "waits", 1), (False, True, "released", 2)],
)
def test_an_answer_from_elsewhere_ends_the_question_in_airflow(
    question, say, registry, control, waits, over, step, champion
):
    """While it is open there, its run goes on with it; when the run is over, the version is promoted and released."""
    airflow, answer = Airflow(waits=waits, over=over), say()

    found = act_on(question, answer, USE_CASE, airflow=airflow, registry=registry, control=control, now=LATER)

    assert (found, registry.champion(NAME).version) == (step, champion)
    assert airflow.calls[0] == (f"{NAME}.retrain", "manual__1", "review", "Approve", "seen the slices")
    assert [call[0] for call in airflow.calls[1:]] == ([f"{NAME}.release"] if step == "released" else [])


def test_tags_in_the_registry_are_an_answer_when_they_name_a_person_and_a_reason(question, registry):
    """Either tag alone is none."""
    version = registry.version(NAME, 2)

    def tag(**tags):
        registry._replace(registry.version(NAME, 2), tags=tags, description=version.description)
        return read_tags(question, registry)

    assert read_tags(question, registry) is None
    assert tag(approved_by="ana", approval_reason=" ") is None
    assert tag(approval_reason="fine") == Given("approve", "ana", "fine", "mlflow")
    assert tag(approved_by="", rejected_by="bo") == Given("reject", "bo", "fine", "mlflow")


def test_what_closes_by_itself_is_recorded_once(question, registry, control):
    """Open it is not closed; over it is, by perennial."""
    stores = {"registry": registry, "control": control}
    assert close_review(question, USE_CASE, now=LATER, **stores) is None

    closed = close_review(question, USE_CASE, now=question.expires_at, **stores)

    assert (closed.answer, closed.by) == ("expired", "perennial")
    assert close_review(question, USE_CASE, now=question.expires_at + timedelta(days=1), **stores).answer == "expired"


def test_without_reviewers_tags_in_the_registry_are_no_answer(say, question, control):
    """Anybody who reaches MLflow can set them; by command whoever holds the ledger's key may still answer."""
    nobody = reviewed(reviewers=())
    with pytest.raises(InputError, match=r"not a reviewer.*got: eve; allowed: nobody by tags"):
        say(YES._replace(actor="eve", by="mlflow"), nobody)
    assert find_answer(control, question) is None

    assert say(YES, nobody).answer == "approve"
