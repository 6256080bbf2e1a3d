"""What the ledger knows beside the verdicts and decisions: versions, moves of the alias, and who let it go on."""

from __future__ import annotations

from typing import Literal

from ml.records.base import Record, UtcTime

#: The registry's alias whose version should be served.
CHAMPION = "champion"


class VersionMade(Record):
    """A version of the registry with everything that made it.

    Attributes
    ----------
    digest, package_digest
        SHA-256 of ``model.onnx`` and of ``package.json``.
    request_key
        Of the retraining; its request, training set and outcome are on record under it.
    use_case_hash
        Of the use case file with its defaults.
    code_commit
        Of this program's sources; empty where they are in no Git repository.
    libraries
        Version by name.
    processor
        Kind of the processor that it was fitted on, and of the linear algebra's kernels; empty before it was recorded.
    """

    use_case: str
    version: int
    digest: str
    package_digest: str
    candidate: str
    data_version: int
    fingerprint: str
    watermark: UtcTime
    champion_version: int | None
    request_key: str
    use_case_hash: str
    code_commit: str
    libraries: dict[str, str]
    processor: str = ""


class UseCaseSeen(Record):
    """The text of a use case file, recorded when a run first met it: thresholds and rules never change in silence.

    Attributes
    ----------
    unreasoned
        The file has other rules than those in force, and nobody has given a reason yet.
    """

    use_case: str
    use_case_hash: str
    text: str
    unreasoned: bool = False


class AlertRulesSeen(Record):
    """The text of the alert rules, recorded when alerting first met it; ``unreasoned`` as of a use case file."""

    version: str
    text: str
    unreasoned: bool = False


class Changed(Record):
    """One rule or threshold that differs: its dotted path, and both values as JSON; None where there is none."""

    path: str
    before: str | None
    after: str | None


class PolicyChange(Record):
    """A person's change of thresholds or rules, with what it changes, why, and what it would have led to.

    Attributes
    ----------
    subject
        The use case, or ``alerts``.
    text
        The file as it is from now on.
    previous
        Entry of the ledger that it replaces; None for a first one.
    preview
        What would have happened on history, one line each, or why that is not told.
    """

    subject: str
    text: str
    reason: str
    previous: int | None
    changes: tuple[Changed, ...]
    preview: tuple[str, ...] = ()


class AliasMove(Record):
    """A move of the alias ``champion``, recorded before the registry is told.

    Attributes
    ----------
    version, previous
        None takes the alias away, or there was none.
    by
        What gave the right to it: the gate, the change envelope, a review, a reviewer's own move in MLflow, a
        command, a release that failed.
    evidence
        Records that speak for it, as ``kind/key``.
    """

    use_case: str
    version: int | None
    previous: int | None
    by: Literal["gate", "envelope", "review", "command", "mlflow", "roll_back"]
    reason: str
    evidence: tuple[str, ...] = ()


class DataTag(Record):
    """A name that a person gave a version of the training data; it never moves."""

    use_case: str
    name: str
    version: int
    reason: str


class LedgerResumed(Record):
    """A person's word that a broken ledger goes on; what was broken stays so, and stays known.

    Attributes
    ----------
    findings
        What was found then, one line each; at most the first hundred.
    """

    reason: str
    findings: tuple[str, ...]
