"""What retraining policies would have led to on a use case's history."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from ml.records.base import Record, UtcTime


class BacktestDecision(Record):
    """One decision of a policy on the virtual clock; ``avoidable`` is the reducible loss per row."""

    as_of: UtcTime
    retrain: bool
    outcome: str | None = None
    drift_score: float | None = None
    threshold: float | None = None
    verdict: str | None = None
    avoidable: float | None = None
    reasons: tuple[str, ...] = ()


class PolicyResult(Record):
    """What one policy led to.

    Attributes
    ----------
    kind
        ``ours`` (the stages of the DAGs, gate included), ``rule`` (what is usual; every retraining is deployed),
        ``hindsight`` (best moments, chosen with knowledge of the future; nobody can reach it but by luck).
    settings
        Keys of the use case file in which it differs from the file.
    loss
        Mean of the metric over all live rows, lower is better.
    retrainings, promoted
        How often was trained, and how often the new model was deployed.
    cost
        Cost of loss and of retrainings together, in the use case's currency.
    cost_seconds
        Fitting time of its retrainings.
    alarms, undecidable
        Checks with a drift verdict, and without any.
    """

    name: str
    kind: Literal["ours", "rule", "hindsight"]
    settings: dict[str, float] = Field(default_factory=dict)
    loss: float
    retrainings: int
    promoted: int
    cost: float
    cost_seconds: float
    alarms: int | None = None
    undecidable: int | None = None
    decisions: tuple[BacktestDecision, ...]


class Backtest(Record):
    """The trade-off of retraining policies on one history.

    Attributes
    ----------
    recommended
        Name of the policy of ours with the lowest cost; the file's own unless another saves more than one retraining
        costs.
    explanation
        Why, in words.
    """

    use_case: str
    metric: str
    start: UtcTime
    end: UtcTime
    rows: int
    currency: str
    cost_of_retraining: float
    policies: tuple[PolicyResult, ...]
    recommended: str
    recommended_settings: dict[str, float]
    explanation: tuple[str, ...]
    seconds: float
