"""Options of ``training`` in a use case file: data, candidates, checks, screen, caps and tuning."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import Field, model_validator

from ml.use_case.duration import Duration, parse_duration
from ml.use_case.section import Name, Section, UtcTime


class Checks(Section):
    """Bounds of the checks that assembled data must pass before anything is trained on it."""

    label_balance: float = Field(
        default=0.5, gt=0, le=1, description="share of live rows that may have another class than history would give"
    )
    duplicates: float = Field(
        default=0.05, ge=0, lt=1, description="share of live rows that may repeat an earlier row under another id"
    )
    label_time: float = Field(
        default=0.5, gt=0, lt=1, description="share of changes of the persistence column that labels must follow"
    )
    leakage: float = Field(
        default=0.8, gt=0, le=1, description="share of the label's uncertainty that one feature may explain"
    )


class Poison(Section):
    """When a block of new rows is too suspicious to be trained on before a person has looked at it."""

    screen: bool = Field(default=True, description="false trains on every block")
    block: Duration = Field(default=parse_duration("1d"), description="new rows of one source are cut by this length")
    evidence: float = Field(
        default=8.0, gt=0, description="log likelihood ratio of flipped labels against honest ones, nats"
    )
    harm: float = Field(
        default=0.02, gt=0, description="share by which a block may raise the loss on data that is trusted"
    )
    conflicts: float = Field(
        default=0.05, gt=0, le=1, description="share of a block's rows that may have been told two labels"
    )


class Caps(Section):
    """What one candidate may use of the machine while it is fitted; one that exceeds it is stopped."""

    seconds: float = Field(default=600, gt=0, description="wall clock, the start of its process included")
    memory_mb: int = Field(default=4096, ge=64, description="resident memory of its process, MiB")
    threads: int = Field(default=1, ge=1, description="processors that it may run on")


class Tuning(Section):
    """How long parameters of candidates with a space are searched for, and on which splits of the fit rows."""

    seconds: float = Field(default=120, gt=0, description="no trial starts later than this")
    trials: int = Field(default=20, ge=1, description="settings that are tried, the candidate's own first")
    folds: int = Field(default=3, ge=2, description="pieces of newest fit rows that are forecast from what is older")
    group: str | None = Field(
        default=None, description="feature or entity column whose values are never on both sides of a split"
    )


class History(Section):
    """The training data that exists before any traffic."""

    file: Path = Field(description="CSV or Parquet, relative to the installation's home")
    until: UtcTime | None = Field(default=None, description="event times from here on are not history")


class Candidate(Section):
    """One estimator to try: a built-in name, or an import path, with parameters."""

    estimator: str
    parameters: dict[str, Any] = Field(default_factory=dict)
    space: dict[str, Annotated[list[bool | int | float | str | None], Field(min_length=1)]] = Field(
        default_factory=dict, description="parameter: values to try, within training.tuning"
    )


class Training(Section):
    """Where training data comes from, how it is split by time, and what is tried on it."""

    history: History
    strategy: Literal["all_history", "sliding_window", "recency_weighted"] = "all_history"
    sliding_window: Duration | None = Field(default=None, description="length of fit and validation together")
    half_life: Duration | None = Field(default=None, description="recency_weighted: age at which a row weighs half")
    candidates: dict[Name, Candidate] = Field(
        default_factory=lambda: {
            name: Candidate(estimator=name) for name in ("logistic_regression", "random_forest", "gradient_boosting")
        },
        min_length=1,
    )
    validation: Duration = Field(default=parse_duration("14d"), description="newest part of the fit that chooses")
    holdout: Duration = Field(default=parse_duration("7d"), description="newest rows, trained on by nobody")
    seed: int = 0
    checks: Checks = Checks()
    poison: Poison = Poison()
    caps: Caps = Caps()
    tuning: Tuning = Tuning()
    imbalance: Literal["none", "balanced"] = Field(
        default="none", description="balanced: rows of a rarer class weigh more, each class as much as any other"
    )
    calibration: Literal["none", "sigmoid"] = Field(
        default="none", description="probabilities are calibrated where that lowers the validation loss"
    )

    @model_validator(mode="after")
    def _sliding_window_has_a_length(self) -> Self:
        if (self.strategy == "sliding_window") != (self.sliding_window is not None):
            raise ValueError("strategy sliding_window and the key sliding_window (a length) go together")
        if (self.strategy == "recency_weighted") != bool(self.half_life):
            raise ValueError("strategy recency_weighted and the key half_life (a length) go together")
        if self.sliding_window is not None and self.sliding_window <= self.validation:
            raise ValueError("sliding_window must be longer than validation, which is its newest part")
        if not self.holdout:
            raise ValueError("holdout must be longer than nothing")
        return self
