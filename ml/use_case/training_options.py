"""Options of ``training`` in a use case file: checks before a fit, the poisoning screen, caps and tuning."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field

from ml.use_case.duration import Duration, parse_duration


class _Options(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Checks(_Options):
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


class Poison(_Options):
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


class Caps(_Options):
    """What one candidate may use of the machine while it is fitted; one that exceeds it is stopped."""

    seconds: float = Field(default=600, gt=0, description="wall clock, the start of its process included")
    memory_mb: int = Field(default=4096, ge=64, description="resident memory of its process, MiB")
    threads: int = Field(default=1, ge=1, description="processors that it may run on")


class Tuning(_Options):
    """How long parameters of candidates with a space are searched for, and on which splits of the fit rows."""

    seconds: float = Field(default=120, gt=0, description="no trial starts later than this")
    trials: int = Field(default=20, ge=1, description="settings that are tried, the candidate's own first")
    folds: int = Field(default=3, ge=2, description="pieces of newest fit rows that are forecast from what is older")
    group: str | None = Field(
        default=None, description="feature or entity column whose values are never on both sides of a split"
    )
