"""May this version be served: the ledger knows who made it champion, or a reviewer has said so in the registry.

MLflow keeps no name and no time with an alias: who can write to it can move one unseen. So a move that the ledger does
not know is served only where the version carries an approval, two tags that a person sets in MLflow's UI:
``approved_by``, a name among ``retraining.reviewers`` of the use case file, and ``approval_reason``. It is recorded as
theirs before it is served, and counts once. The tags are a claim, as strong as MLflow's own sign-on; the strong way is
``perennial promote``, which needs the ledger's key.
"""

from __future__ import annotations

from datetime import datetime

from ml.errors import InputError
from ml.governance.reconcile import VERSION
from ml.governance.verification import verify_ledger
from ml.records.codes import Code
from ml.records.decision import RetrainRequest
from ml.records.governance import AliasMove, VersionMade
from ml.records.release import StagedRelease, Verification
from ml.registry.alias import ALIAS, keep_head, newest_move
from ml.registry.port import Registry
from ml.registry.release import refuse
from ml.registry.tags import request_identity
from ml.store.control import ControlStore
from ml.store.ledger import Entry
from ml.use_case import UseCase

APPROVED_BY, APPROVAL_REASON = "approved_by", "approval_reason"

#: Moves that only a version with a record of its making can have.
_BY_EVIDENCE = ("gate", "envelope", "review")


def authorise(
    staged: StagedRelease, use_case: UseCase, *, registry: Registry, control: ControlStore, now: datetime
) -> Verification:
    """Whether a staged version may be served, by whose decision; a reviewer's move in the registry is recorded here.

    Raises
    ------
    BrokenLedgerError
        The ledger broke between its verification and this record.
    ServiceAway
        The registry or the control database does not answer.
    """
    standing = verify_ledger(control).standing
    if standing:
        first = f"{standing[0].record}: {standing[0].problem}"
        return refuse(Code.RELEASE_REFUSED, f"the ledger is broken, {len(standing)} findings, first: {first}")
    made = _made(control, staged)
    if made is not None and (made.digest, made.package_digest) != (staged.digest, staged.package_digest):
        return refuse(Code.ARTIFACT_CORRUPT, f"digest {staged.digest}; the ledger recorded {made.digest}")
    newest = newest_move(control, use_case.name)
    move = None if newest is None else AliasMove.model_validate_json(newest.payload)
    if newest is not None and move is not None and move.version == staged.version:
        if made is None and move.by in _BY_EVIDENCE:
            return refuse(Code.RELEASE_REFUSED, f"the ledger has no record of how version {staged.version} was made")
        return Verification(
            accepted=True, code=Code.OK, reason=f"champion by entry {newest.number} of the ledger: {newest.actor}"
        )
    return _by_reviewer(staged, use_case, newest, move, registry=registry, control=control, now=now)


def check_reviewer(use_case: UseCase, actor: str) -> None:
    """Refuse a person that the use case file does not allow; without any name there, whoever holds the key may.

    Raises
    ------
    InputError
        The person is not among them.
    """
    reviewers = use_case.retraining.reviewers
    if reviewers and actor not in reviewers:
        raise InputError(
            "not a reviewer",
            where=f"{use_case.name} retraining.reviewers",
            got=actor,
            allowed=", ".join(reviewers),
        )


def check_four_eyes(use_case: UseCase, version: int, actor: str, control: ControlStore) -> None:
    """With ``four_eyes`` refuse who triggered the retraining of a version that was never champion.

    Raises
    ------
    InputError
        It was this person.
    """
    if use_case.retraining.four_eyes and actor == _asked_for_by(control, use_case.name, version):
        raise InputError(
            "who triggered a retraining may not approve its model",
            where=f"{use_case.name} retraining.four_eyes",
            got=actor,
            allowed="another person",
        )


def _asked_for_by(control: ControlStore, name: str, version: int) -> str | None:
    """Who triggered the retraining that made a version; None where it was champion before, or nobody knows."""
    moves = control.ledger_entries(kinds=(ALIAS,), use_case=name)
    if any(AliasMove.model_validate_json(entry.payload).version == version for entry in moves):
        return None
    made = control.find(VERSION, f"{name}/{version}")
    key = None if made is None else VersionMade.model_validate_json(made.payload).request_key
    request = None if key is None else control.find("request", key)
    return None if request is None else RetrainRequest.model_validate_json(request.payload).actor


def _by_reviewer(
    staged: StagedRelease,
    use_case: UseCase,
    newest: Entry | None,
    move: AliasMove | None,
    *,
    registry: Registry,
    control: ControlStore,
    now: datetime,
) -> Verification:
    """A move that the ledger does not know: a reviewer's, or nobody's."""
    name, tags = use_case.name, registry.version(use_case.name, staged.version).tags
    person, why = tags.get(APPROVED_BY, "").strip(), tags.get(APPROVAL_REASON, "").strip()
    known = "no move at all" if newest is None or move is None else f"version {move.version} by entry {newest.number}"
    unknown = f"the ledger knows of {known}, not of version {staged.version}"
    if not person or not why:
        return refuse(Code.RELEASE_REFUSED, f"{unknown}; it has no tags {APPROVED_BY} and {APPROVAL_REASON}")
    if person not in use_case.retraining.reviewers:
        allowed = ", ".join(use_case.retraining.reviewers) or "nobody"
        return refuse(
            Code.RELEASE_REFUSED, f"{unknown}; {APPROVED_BY} is {person!r}; retraining.reviewers allows {allowed}"
        )
    try:
        check_four_eyes(use_case, staged.version, person, control)
    except InputError as error:
        return refuse(Code.RELEASE_REFUSED, f"{unknown}; {error}")
    key = f"{name}/mlflow/{staged.version}/{request_identity(f'{person}: {why}')}"
    if control.find(ALIAS, key) is not None:
        return refuse(
            Code.RELEASE_REFUSED, f"{unknown}; this approval by {person} was used before: give a new {APPROVAL_REASON}"
        )
    theirs = AliasMove(
        use_case=name, version=staged.version, previous=move.version if move else None, by="mlflow", reason=why
    )
    control.record(ALIAS, key, theirs, use_case=name, as_of=now, now=now, actor=person)
    keep_head(registry, control, name)
    return Verification(accepted=True, code=Code.OK, reason=f"champion by {person}, in the registry: {why}")


def _made(control: ControlStore, staged: StagedRelease) -> VersionMade | None:
    stored = control.find(VERSION, f"{staged.use_case}/{staged.version}")
    return None if stored is None else VersionMade.model_validate_json(stored.payload)
