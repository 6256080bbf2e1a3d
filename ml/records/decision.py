"""What monitoring, training and the gate concluded, with their reasons."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from ml.records.base import Record, UtcTime
from ml.records.measure import Estimate, Verdict, Window


class ColumnDrift(Record):
    """Distance of one live column from its reference; 0 is identical, more is further."""

    name: str
    statistic: str
    value: float | None
    n_reference: int
    n_live: int
    missing_share_reference: float
    missing_share_live: float


class DriftCheck(Record):
    """One comparison of a live window with the champion's reference.

    Attributes
    ----------
    score
        Mean of the columns' values, ``[0, inf)``; None when undecidable.
    threshold
        Drift is a score above it.
    calibrated_threshold
        What the reference's own windows say at the false-alarm budget; None with too few of them.
    verdict
        ``drift``, ``no_drift`` or ``undecidable`` with reasons.
    """

    use_case: str
    window: Window
    model_version: int | None
    statistic: str
    score: float | None
    threshold: float
    calibrated_threshold: float | None
    n_reference: int
    n_live: int
    columns: tuple[ColumnDrift, ...]
    verdict: Literal["drift", "no_drift", "undecidable"]
    reasons: tuple[str, ...]


class MonitorDecision(Record):
    """What the policy made of a check: wait, alert a person, or retrain.

    Attributes
    ----------
    key
        ``{use_case}/{window end}``; a rerun of the same window replaces nothing and gives the same answer.
    live_loss
        Realised loss of the answers that were served in the window, where labels are mature.
    labelled
        Mature labelled live rows since the champion's data ends.
    """

    key: str
    use_case: str
    as_of: UtcTime
    action: Literal["wait", "alert", "retrain"]
    reasons: tuple[str, ...]
    check: DriftCheck
    live_loss: Estimate
    labelled: int


class RetrainRequest(Record):
    """Why, by whom and on which data a retraining was asked for.

    Attributes
    ----------
    key
        Identity of the request; two triggers with one key give one retraining.
    as_of
        Nothing that became known later is used.
    since
        Live rows before it are left out; None keeps all.
    force
        Skip minimum rows and cool-down; the gate is never skipped.
    """

    key: str
    use_case: str
    as_of: UtcTime
    reason: str
    actor: str
    since: UtcTime | None = None
    force: bool = False


class TrainingSet(Record):
    """A version of the assembled training data, split by time.

    Attributes
    ----------
    data_version
        Version of the lake's ``training`` table.
    fingerprint
        SHA-256 of the content, independent of row order in storage.
    watermark
        Newest event time in fit and validation; a champion's may never go back.
    sources
        Rows per origin, ``history`` and ``live``.
    """

    use_case: str
    request: RetrainRequest
    data_version: int
    fingerprint: str
    fit: Window
    validation: Window
    holdout: Window
    n_fit: int
    n_validation: int
    n_holdout: int
    watermark: UtcTime
    sources: dict[str, int]
    quarantined: int
    champion_version: int | None


class CandidateResult(Record):
    """One candidate, fitted on the fit rows and scored on the validation rows; lower loss is better."""

    name: str
    loss: Estimate
    metric: str
    seconds: float
    detail: str = ""


class Choice(Record):
    """The candidate with the lowest validation loss, beside the others."""

    chosen: str
    results: tuple[CandidateResult, ...]


class Parity(Record):
    """Agreement of the exported graph with scikit-learn on the same rows.

    Attributes
    ----------
    flips
        Rows whose decided class differs.
    largest_difference
        Largest absolute difference of a probability, ``[0, 1]``.
    """

    n: int
    flips: int
    allowed_flips: int
    largest_difference: float
    verdict: Verdict


class RuleResult(Record):
    """One rule of the gate: its number, its interval, its bound and its verdict."""

    name: str
    value: float | None
    low: float | None = None
    high: float | None = None
    bound: float | None = None
    n: int
    verdict: Verdict
    detail: str


class GateDecision(Record):
    """What the gate made of the evidence: promote, ask a person, or reject.

    Attributes
    ----------
    state
        ``first_model`` (no champion yet), ``compared``, or ``undecidable``.
    losses
        Mean loss on the holdout by who forecast: ``challenger``, ``champion``, a baseline's name; lower is better.
    """

    use_case: str
    decision: Literal["promote", "review", "reject"]
    state: Literal["first_model", "compared", "undecidable"]
    challenger_version: int
    champion_version: int | None
    holdout: Window
    rules: tuple[RuleResult, ...]
    reasons: tuple[str, ...]
    losses: dict[str, float] = Field(default_factory=dict)


class RetrainOutcome(Record):
    """How a request for a retraining ended; a rejected challenger or too little data is an answer, too.

    Attributes
    ----------
    outcome
        ``promoted``, ``rejected``, ``sent_to_review``, ``insufficient_data``.
    challenger_version
        Version in the registry; None when nothing was trained.
    """

    request: RetrainRequest
    outcome: Literal["promoted", "rejected", "sent_to_review", "insufficient_data"]
    challenger_version: int | None
    champion_version: int | None
    reasons: tuple[str, ...]


class Challenger(Record):
    """A registered version with the training set that made it."""

    version: int
    training_set: TrainingSet
