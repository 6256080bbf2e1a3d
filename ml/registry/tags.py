"""Tags of a model version: what a version says about itself, written once, read back as a :class:`ModelVersion`."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from datetime import datetime

from ml.errors import InputError
from ml.records.approval import ReviewAnswer, ReviewRequest
from ml.records.base import as_utc
from ml.records.decision import Choice, GateDecision, TrainingSet
from ml.records.release import Package, ReleaseOutcome
from ml.registry.port import ModelVersion

#: Tag ``decision`` by what the gate decided; a version that has not met the gate is ``pending``.
DECISIONS = {"promote": "promoted", "review": "sent_to_review", "reject": "rejected"}
PENDING = "pending"

_LONGEST = 5000  # MLflow keeps more, older databases do not

_NEEDED = (
    "digest",
    "package_digest",
    "watermark",
    "data_version",
    "fingerprint",
    "use_case_hash",
    "request_key",
)


def request_identity(key: str) -> str:
    """Name of a request that any search syntax takes: 32 hex digits of the key's SHA-256.

    Examples
    --------
    >>> request_identity("harbour_weather/2013-04-19")
    '6f173e1c6f12be519c8b3c5c0c529950'
    """
    return hashlib.sha256(key.encode("utf-8", "surrogatepass")).hexdigest()[:32]


def version_tags(package: Package, package_digest: str, choice: Choice, training_set: TrainingSet) -> dict[str, str]:
    """Tags of a version that has not met the gate."""
    return {
        "decision": PENDING,
        "candidate": choice.chosen,
        "digest": package.digest,
        "package_digest": package_digest,
        "use_case_hash": package.use_case_hash,
        "data_version": str(training_set.data_version),
        "fingerprint": training_set.fingerprint,
        "watermark": training_set.watermark.isoformat(),
        "request_key": training_set.request.key,
        "request_identity": request_identity(training_set.request.key),
        "reason": training_set.request.reason[:_LONGEST],
        "actor": training_set.request.actor,
    }


def gate_tags(decision: GateDecision) -> dict[str, str]:
    """Tags that the gate adds; it decided about this version against that champion."""
    met = "none" if decision.champion_version is None else str(decision.champion_version)
    return {"decision": DECISIONS[decision.decision], "gate_state": decision.state, "gate_champion": met}


def review_tags(review: ReviewRequest, answer: ReviewAnswer | None) -> dict[str, str]:
    """Tags of a question to a person: open until when, about which evidence; or how it was answered, by whom."""
    state = "open" if answer is None else answer.answer
    by = {} if answer is None else {"review_by": f"{answer.actor} ({answer.by})"}
    return {"review": state, "review_until": review.expires_at.isoformat(), "review_evidence": review.evidence} | by


def release_tags(outcome: ReleaseOutcome) -> dict[str, str]:
    """Tags that a release adds to the version that it was to bring into service."""
    return {"release": outcome.outcome, "release_reason": outcome.reason[:_LONGEST]}


def read_version(
    name: str, number: int, *, run_id: str, tags: Mapping[str, str], created_at: datetime, description: str
) -> ModelVersion:
    """Version as its tags describe it.

    Raises
    ------
    InputError
        Tags are absent or unreadable: the version was registered by somebody else, or changed by hand.
    """
    where = f"{name} version {number}"
    absent = [tag for tag in _NEEDED if tag not in tags]
    if absent:
        raise InputError(
            "model version was not registered by Perennial",
            where=where,
            got=f"no tag {', '.join(absent)}",
            allowed="a version that a retrain DAG registered",
        )
    try:
        watermark, data_version = as_utc(datetime.fromisoformat(tags["watermark"])), int(tags["data_version"])
    except ValueError as error:
        raise InputError("tag of the model version is unreadable", where=where, got=str(error)) from error
    return ModelVersion(
        name=name,
        version=number,
        run_id=run_id,
        digest=tags["digest"],
        package_digest=tags["package_digest"],
        watermark=watermark,
        data_version=data_version,
        fingerprint=tags["fingerprint"],
        use_case_hash=tags["use_case_hash"],
        created_at=created_at,
        tags=dict(tags),
        description=description,
    )
