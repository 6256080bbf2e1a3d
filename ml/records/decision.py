"""What monitoring, training and the gate concluded, with their reasons."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from ml.records.approval import EnvelopeVerdict
from ml.records.base import Record, UtcTime
from ml.records.measure import Estimate, Verdict, Window
from ml.records.profile import Role


class ColumnDrift(Record):
    """Distance of one live column from its reference by one statistic; 0 is identical, more is further.

    Attributes
    ----------
    score
        The value on the scale of what this column does by itself: standard deviations of its logarithm under no
        drift; None where the value or its calibration is undefined.
    threshold
        The value above which this statistic alone makes a drift; None without a calibration.
    effect
        Expected mean absolute change of the model's probability, ``[0, 1]``: the share of rows that moved times the
        column's influence; of an answer or attribution how far it moved itself; None without a model.
    role
        What the column is to the model.
    """

    name: str
    role: Role = "feature"
    statistic: str
    value: float | None
    score: float | None = None
    threshold: float | None = None
    drifted: bool = False
    n_reference: int
    n_live: int
    missing_share_reference: float
    missing_share_live: float
    effect: float | None = None


class DriftCheck(Record):
    """One comparison of a live window with the champion's reference.

    Attributes
    ----------
    window
        Event time of the live rows; None for a file without times.
    score
        Largest score over columns and statistics; None when undecidable.
    threshold
        Drift is a score above it; None when the reference cannot tell.
    alarmed
        Checks of the last ``of`` with a score above their threshold, this one included; ``alarms`` make a drift.
    columns
        Every column by every statistic, furthest first.
    effect
        Largest expected effect of a drifted column on the model's probability; None without a model or drift.
    verdict
        ``drift``, ``no_drift`` or ``undecidable`` with reasons.
    """

    format: int = 2
    use_case: str | None
    window: Window | None
    model_version: int | None
    score: float | None
    threshold: float | None
    false_alarm_budget: float
    alarmed: int = 0
    alarms: int = 1
    of: int = 1
    n_reference: int
    n_live: int
    reference_windows: float | None = None
    memory: float | None = None
    columns: tuple[ColumnDrift, ...]
    effect: float | None = None
    verdict: Literal["drift", "no_drift", "undecidable"]
    reasons: tuple[str, ...]


class Worth(Record):
    """What a retraining is expected to bring over the horizon, and what it costs, in the user's unit.

    Attributes
    ----------
    reducible
        Loss per row that a correction of the champion's answers avoids on rows that it was not fitted on, a lower
        bound of what a new model can gain; or what a challenger is ahead by.
    rows
        Labelled rows expected within the horizon.
    avoided, cost
        Expected cost of loss avoided over the horizon, None when unknown; cost of one retraining.
    more_rows
        Further labelled rows after which a gain of this size would be beyond doubt; None when there is no gain.
    """

    reducible: Estimate
    rows: float
    avoided: float | None
    cost: float
    currency: str
    more_rows: int | None

    @property
    def proven(self) -> bool:
        """Whether something is avoidable beyond doubt."""
        return self.reducible.low is not None and self.reducible.low > 0

    @property
    def pays(self) -> bool:
        """Whether what is avoided is expected to be worth its cost."""
        return self.avoided is not None and self.avoided > 0 and self.avoided >= self.cost


class MonitorDecision(Record):
    """What the policy made of a check: wait, alert a person, or retrain.

    Attributes
    ----------
    key
        ``{use_case}/{window end}``; a rerun of the same window replaces nothing and gives the same answer.
    triggers
        What asked for a retraining, granted or not: keys of ``retraining.triggers``.
    live_loss
        Realised loss of the answers that were served in the window, where labels are mature.
    estimated_loss
        What the answers themselves say that they will cost: known without labels.
    estimate_trusted
        Whether past estimates held what they promised; False is probation, None too few to tell.
    worth
        What a retraining would bring and cost; None where there was nothing to weigh.
    ahead
        What the newest rejected challenger would have brought on rows that neither it nor the champion has seen.
    labelled
        Mature labelled live rows since the champion's data ends.
    """

    format: int = 2
    key: str
    use_case: str
    as_of: UtcTime
    action: Literal["wait", "alert", "retrain"]
    triggers: tuple[str, ...] = ()
    reasons: tuple[str, ...]
    check: DriftCheck
    live_loss: Estimate
    estimated_loss: Estimate | None = None
    estimate_trusted: bool | None = None
    worth: Worth | None = None
    ahead: Worth | None = None
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
    weight_live
        Share of the weight in fit and validation that live rows have, ``[0, 1]``: their mix with earlier training.
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
    weight_live: float | None = None


class CandidateResult(Record):
    """One candidate, fitted on the fit rows and scored on the validation rows; lower loss is better.

    Attributes
    ----------
    loss
        Without a value when the candidate was stopped at its caps or could not be fitted; ``detail`` says which.
    parameters
        What a search has found, beside the use case file's own; None without a search.
    calibrated
        Whether its probabilities are calibrated: where that lowered the loss.
    """

    name: str
    loss: Estimate
    metric: str
    seconds: float
    detail: str = ""
    parameters: dict[str, bool | int | float | str | None] | None = None
    calibrated: bool = False


class Choice(Record):
    """The candidate with the lowest validation loss, beside the others."""

    chosen: str
    results: tuple[CandidateResult, ...]

    @property
    def result(self) -> CandidateResult:
        """Of the chosen candidate."""
        return next(result for result in self.results if result.name == self.chosen)


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


class ServingCost(Record):
    """What a package costs to ask, measured when it was made, on the machine that made it; one thread.

    Attributes
    ----------
    single_ms, single_p99_ms
        Milliseconds for one row, from a feature frame to probabilities: median and 99th percentile of ``n`` rounds.
    batch_ms
        Median milliseconds for ``batch_rows`` rows at once.
    """

    size_bytes: int
    single_ms: float
    single_p99_ms: float
    batch_ms: float
    batch_rows: int
    n: int


class RuleResult(Record):
    """One rule of the gate: its number, its interval, its bound and its verdict.

    Attributes
    ----------
    p, level
        Of a rule that is a test: its p-value, and the level that it was held against.
    """

    name: str
    value: float | None
    low: float | None = None
    high: float | None = None
    bound: float | None = None
    n: int
    p: float | None = None
    level: float | None = None
    verdict: Verdict
    detail: str


GateState = Literal["first_model", "compared", "undecidable", "champion_unevaluable"]


class GateDecision(Record):
    """What the gate made of the evidence: promote, ask a person, or reject.

    Attributes
    ----------
    state
        ``first_model`` (no champion yet), ``compared``, ``undecidable``, or ``champion_unevaluable`` (the champion
        cannot answer the rows, a person decides).
    losses
        Mean loss on the holdout by who forecast: ``challenger``, ``champion``, a baseline's name; lower is better.
    churn
        Share of decisions that differ from the champion's; None without a champion, and of a regression.
    envelope
        Whether the change envelope asked for a person; None where it was not asked.
    """

    use_case: str
    decision: Literal["promote", "review", "reject"]
    state: GateState
    challenger_version: int
    champion_version: int | None
    holdout: Window
    rules: tuple[RuleResult, ...]
    reasons: tuple[str, ...]
    losses: dict[str, float] = Field(default_factory=dict)
    churn: float | None = None
    envelope: EnvelopeVerdict | None = None

    @property
    def p(self) -> float | None:
        """Of the comparison with the champion; None where there was none."""
        return next((rule.p for rule in self.rules if rule.name == "beats_champion"), None)


#: Outcomes of retrainings in which nothing was trained: they start no cool-down and count as no attempt.
UNTRAINED = ("insufficient_data", "bad_data", "no_candidate")


class RetrainOutcome(Record):
    """How a request for a retraining ended; a rejected challenger or too little data is an answer, too.

    Attributes
    ----------
    outcome
        ``promoted``, ``rejected``, ``sent_to_review``, ``insufficient_data``, ``no_candidate`` (each was stopped
        at its caps or could not be fitted), ``bad_data`` (a check before the fit
        failed).
    challenger_version
        Version in the registry; None when nothing was trained.
    """

    request: RetrainRequest
    outcome: Literal["promoted", "rejected", "sent_to_review", "insufficient_data", "bad_data", "no_candidate"]
    challenger_version: int | None
    champion_version: int | None
    reasons: tuple[str, ...]


class Challenger(Record):
    """A registered version with the training set that made it."""

    version: int
    training_set: TrainingSet
