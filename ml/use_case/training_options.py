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
