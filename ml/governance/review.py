"""A question to a person about a version, and its answer: bound to bytes and evidence, by the right person, in time."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Literal, NamedTuple

from ml.errors import ConflictError, InputError
from ml.governance.authorise import check_reviewer
from ml.governance.reconcile import VERSION
from ml.records.approval import ReviewAnswer, ReviewRequest
from ml.records.decision import GateDecision, RetrainRequest
from ml.records.governance import AliasMove, VersionMade
from ml.registry.alias import ALIAS, keep_head, move_alias
from ml.registry.port import Registry
from ml.store.control import ControlStore
from ml.store.verify_ledger import digest_of
from ml.use_case import UseCase

#: Kinds of the records of questions and of their answers; both have the key of the gate's record.
REVIEW, APPROVAL = "review", "approval"

#: Questions that are looked through.
_MANY = 1000


class Given(NamedTuple):
    """What a person says: their answer, who they are, why, and where they say it."""

    answer: Literal["approve", "reject"]
    actor: str
    reason: str
    by: Literal["airflow", "mlflow", "command"]


def ask_review(
    use_case: UseCase,
    gate_key: str,
    request: RetrainRequest,
    *,
    run_id: str,
    registry: Registry,
    control: ControlStore,
    now: datetime,
) -> ReviewRequest:
    """Record the question whether a version may become champion, and write it to the version's page; once."""
    stored = control.find("gate", gate_key)
    if stored is None:
        raise InputError("the gate has not judged it", where=use_case.name, got=gate_key)
    gate = GateDecision.model_validate_json(stored.payload)
    version = registry.version(use_case.name, gate.challenger_version)
    asked = ReviewRequest(
        use_case=use_case.name,
        version=version.version,
        champion_version=gate.champion_version,
        digest=version.digest,
        package_digest=version.package_digest,
        gate_key=gate_key,
        evidence=digest_of(stored.payload),
        request_key=request.key,
        run_id=run_id,
        asked_for_by=request.actor,
        asked_at=now,
        expires_at=now + use_case.retraining.approval_expires,
        why=_why(gate),
    )
    kept = control.record(
        REVIEW, gate_key, asked, use_case=use_case.name, as_of=request.as_of, now=now, actor=request.actor
    )
    asked = ReviewRequest.model_validate_json(kept.payload)
    registry.record_review(asked, use_case, None)
    return asked


def find_review(control: ControlStore, use_case: str, version: int) -> ReviewRequest:
    """The newest question about a version, answered or not.

    Raises
    ------
    InputError
        There is none.
    """
    asked = [review for review in _asked(control, use_case) if review.version == version]
    if not asked:
        known = sorted({review.version for review in open_reviews(control, use_case)})
        allowed = ", ".join(map(str, known)) or "no version of it is"
        raise InputError("this version is not under review", where=use_case, got=str(version), allowed=allowed)
    return asked[0]


def open_reviews(
    control: ControlStore, use_case: str | None = None, *, since: datetime | None = None
) -> tuple[ReviewRequest, ...]:
    """Questions that nobody has answered, or whose answer has not led to its end yet, newest first.

    With ``since`` only those whose time was not over by then.
    """
    asked = (review for review in _asked(control, use_case) if since is None or review.expires_at > since)
    return tuple(review for review in asked if not is_settled(control, review))


def is_settled(control: ControlStore, review: ReviewRequest) -> bool:
    """Whether a question was answered, and what follows from the answer was done."""
    answer = find_answer(control, review)
    if answer is None:
        return False
    if answer.answer == "approve":
        return control.find(ALIAS, review.request_key) is not None
    return control.find("retrain", review.request_key) is not None


def find_answer(control: ControlStore, review: ReviewRequest) -> ReviewAnswer | None:
    """The answer that counts; None while the question is open."""
    stored = control.find(APPROVAL, review.gate_key)
    return None if stored is None else ReviewAnswer.model_validate_json(stored.payload)


def answer_review(
    review: ReviewRequest, use_case: UseCase, given: Given, *, registry: Registry, control: ControlStore, now: datetime
) -> ReviewAnswer:
    """Record a person's answer; the first one counts.

    A question whose time is over, or whose version, evidence or champion has changed since, is closed by this.

    Raises
    ------
    InputError
        The person may not answer; the question stays open.
    ConflictError
        It was answered otherwise before, or may not be answered any more.
    BrokenLedgerError
        The ledger is broken; nothing is recorded.
    """
    found = find_answer(control, review)
    if found is None:
        check_person(review, use_case, given)
        found = close_review(review, use_case, registry=registry, control=control, now=now)
    if found is None:
        told = _answer(review, given.answer, by=given.by, actor=given.actor, reason=given.reason)
        found = _record(told, review, registry, control, use_case, now=now)
    if (found.answer, found.actor) != (given.answer, given.actor):
        raise ConflictError(
            "the question is answered",
            where=f"{review.use_case} version {review.version}",
            got=found.told,
            allowed="one answer; the question of a newer version",
        )
    return found


def close_review(
    review: ReviewRequest, use_case: UseCase, *, registry: Registry, control: ControlStore, now: datetime
) -> ReviewAnswer | None:
    """Record that a question may not be answered any more; None while it may."""
    fault = find_fault(review, registry, control, now=now)
    if fault is None:
        return None
    told = _answer(review, fault[0], by="perennial", actor="perennial", reason=fault[1])
    return _record(told, review, registry, control, use_case, now=now)


def check_person(review: ReviewRequest, use_case: UseCase, given: Given) -> None:
    """Refuse whom the file does not allow, and with ``four_eyes`` who triggered the retraining: they may reject it.

    Raises
    ------
    InputError
        The person may not give this answer.
    """
    check_reviewer(use_case, given.actor)
    if given.by == "mlflow" and not use_case.retraining.reviewers:  # anybody who reaches the server can set a tag
        raise InputError(
            "not a reviewer", where=f"{use_case.name} retraining.reviewers", got=given.actor, allowed="nobody by tags"
        )
    if given.answer == "approve" and use_case.retraining.four_eyes and given.actor == review.asked_for_by:
        raise InputError(
            "who triggered a retraining may not approve its model",
            where=f"{use_case.name} retraining.four_eyes",
            got=given.actor,
            allowed="another person",
        )


def find_fault(
    review: ReviewRequest, registry: Registry, control: ControlStore, *, now: datetime
) -> tuple[Literal["expired", "void"], str] | None:
    """Why a question may not be answered any more: its time, the bytes, the evidence, or the champion."""
    if now >= review.expires_at:
        return "expired", f"it was open until {review.expires_at:%Y-%m-%d %H:%M} UTC"
    if not _has_the_digest(review, registry, control):
        return "void", f"version {review.version} has another digest than {review.digest[:12]}, which was asked about"
    gate = control.find("gate", review.gate_key)
    if gate is None or digest_of(gate.payload) != review.evidence:
        return "void", f"the gate's record is not the one that was asked about, {review.evidence[:12]}"
    champion = registry.champion(review.use_case)
    number = None if champion is None else champion.version
    if number not in {review.champion_version, review.version}:
        met = _number(review.champion_version)
        return "void", f"the champion is {_number(number)} now; it was compared with {met}"
    return None


def _has_the_digest(review: ReviewRequest, registry: Registry, control: ControlStore) -> bool:
    """Whether registry and ledger both say that the version is what was asked about."""
    asked, version = (review.digest, review.package_digest), registry.version(review.use_case, review.version)
    stored = control.find(VERSION, f"{review.use_case}/{review.version}")
    made = None if stored is None else VersionMade.model_validate_json(stored.payload)
    recorded = None if made is None else (made.digest, made.package_digest)
    return asked == recorded == (version.digest, version.package_digest)


def carry_out(
    review: ReviewRequest,
    use_case: UseCase,
    *,
    registry: Registry,
    control: ControlStore,
    now: datetime,
    as_of: datetime,
) -> int:
    """Make an approved version champion; the same call again does it once. Returns its number.

    Raises
    ------
    ConflictError
        It is not approved, or what was approved has changed since.
    BrokenLedgerError
        The ledger is broken; nothing moves.
    """
    answer = find_answer(control, review)
    if answer is None or answer.answer != "approve":
        told = "nobody has answered" if answer is None else answer.told
        raise ConflictError("it is not approved", where=f"{review.use_case} version {review.version}", got=told)
    moved = control.find(ALIAS, review.request_key) is not None
    # What was approved in time is done, however late; that bytes and evidence are the same is looked at again.
    fault = None if moved else find_fault(review, registry, control, now=min(now, review.asked_at))
    if fault is not None:
        raise ConflictError("what was approved has changed", where=review.gate_key, got=fault[1])
    move = AliasMove(
        use_case=review.use_case,
        version=review.version,
        previous=review.champion_version,
        by="review",
        reason=answer.told,
        evidence=(
            f"{APPROVAL}/{review.gate_key}",
            f"gate/{review.gate_key}",
            f"version/{review.use_case}/{review.version}",
            f"request/{review.request_key}",
        ),
    )
    key = review.request_key
    move_alias(move, key=key, registry=registry, control=control, actor=answer.actor, now=now, as_of=as_of)
    return review.version


def _answer(review: ReviewRequest, answer: Any, *, by: Any, actor: str, reason: str) -> ReviewAnswer:
    return ReviewAnswer(
        use_case=review.use_case,
        version=review.version,
        answer=answer,
        by=by,
        actor=actor,
        reason=reason,
        digest=review.digest,
        evidence=review.evidence,
    )


def _record(
    told: ReviewAnswer,
    review: ReviewRequest,
    registry: Registry,
    control: ControlStore,
    use_case: UseCase,
    *,
    now: datetime,
) -> ReviewAnswer:
    kept = control.record(
        APPROVAL, review.gate_key, told, use_case=review.use_case, as_of=now, now=now, actor=told.actor
    )
    answer = ReviewAnswer.model_validate_json(kept.payload)
    registry.record_review(review, use_case, answer)
    keep_head(registry, control, review.use_case)
    return answer


def _asked(control: ControlStore, use_case: str | None) -> list[ReviewRequest]:
    entries = control.ledger_entries(kinds=(REVIEW,), use_case=use_case, limit=_MANY)
    return [ReviewRequest.model_validate_json(entry.payload) for entry in entries if entry.payload]


def _why(gate: GateDecision) -> tuple[str, ...]:
    if gate.envelope is not None and not gate.envelope.inside:
        return tuple(f"outside the change envelope: {rule.name}: {rule.detail}" for rule in gate.envelope.outside)
    if gate.state == "champion_unevaluable":
        return gate.reasons[:1]
    return ("the use case file says mode: review",)


def _number(version: int | None) -> str:
    return "none" if version is None else f"version {version}"
