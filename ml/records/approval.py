"""What a person was asked, what they answered, and what automatic learning was allowed to change without asking."""

from __future__ import annotations

from typing import Literal

from ml.records.base import Record, UtcTime


class BoundResult(Record):
    """One rule of the change envelope: its number, its bound, and whether the number is within it.

    Attributes
    ----------
    value
        None where it is undefined: that is outside.
    """

    name: str
    value: float | None
    bound: str
    inside: bool
    detail: str


class EnvelopeVerdict(Record):
    """Whether a version may be promoted without a person.

    Attributes
    ----------
    signed_by
        Whose signature made the envelope hold; empty where none does.
    rules
        Every rule that was judged, those that hold as well; ``signature`` is the first.
    """

    inside: bool
    signed_by: str
    rules: tuple[BoundResult, ...]

    @property
    def outside(self) -> tuple[BoundResult, ...]:
        """The rules that ask for a person."""
        return tuple(rule for rule in self.rules if not rule.inside)


class EnvelopeSignature(Record):
    """A person's signature under the change envelope of a use case file, for as long as the file stays as it is.

    Attributes
    ----------
    use_case_hash
        Of the file with its defaults: any change of a rule asks for another signature.
    public_key, signature
        Ed25519, lower-case hex; over all that is above them.
    """

    use_case: str
    use_case_hash: str
    signed_by: str
    reason: str
    signed_at: UtcTime
    expires_at: UtcTime
    public_key: str
    signature: str = ""


class ReviewRequest(Record):
    """A question to a person: may this version become champion? Bound to its bytes and to the evidence.

    Attributes
    ----------
    gate_key
        Key of the gate's record; the question and its answer have the same key.
    evidence
        SHA-256 of the gate's record as it was written.
    request_key, run_id
        Of the retraining, and of its run in Airflow, where the question is open.
    asked_for_by
        Who triggered the retraining.
    why
        Why a person is asked.
    """

    use_case: str
    version: int
    champion_version: int | None
    digest: str
    package_digest: str
    gate_key: str
    evidence: str
    request_key: str
    run_id: str
    asked_for_by: str
    asked_at: UtcTime
    expires_at: UtcTime
    why: tuple[str, ...]


class ReviewAnswer(Record):
    """The answer to a question: a person's, or that it may not be answered any more.

    Attributes
    ----------
    answer
        ``expired``: nobody has answered in time; ``void``: what was asked about has changed since.
    by
        Where it was given.
    digest, evidence
        What the answer is about, as in the question.
    """

    use_case: str
    version: int
    answer: Literal["approve", "reject", "expired", "void"]
    by: Literal["airflow", "mlflow", "command", "perennial"]
    actor: str
    reason: str
    digest: str
    evidence: str

    @property
    def told(self) -> str:
        """The answer as one sentence."""
        if self.by == "perennial":
            return f"The question is {self.answer}: {self.reason}."
        word = {"approve": "approved", "reject": "rejected"}[self.answer]
        return f"{self.actor} {word} it ({self.by}): {self.reason or 'no reason given'}."
