"""Options of ``retraining`` in a use case file."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import Field, model_validator

from ml.use_case.approval_options import Envelope
from ml.use_case.duration import Duration, parse_duration
from ml.use_case.section import Section


class Triggers(Section):
    """What may start a retraining; a manual one always may."""

    performance: bool = Field(default=True, description="live loss that a correction of the answers would have avoided")
    data_drift: bool = Field(default=True, description="a drift of features; it must pay as well")
    prediction_drift: bool = Field(default=True, description="a drift of answers; it must pay as well")
    challenger_ahead: bool = Field(default=True, description="a rejected challenger that has since been better")
    before_batch: bool = Field(default=True, description="a batch waits that would cost more than a retraining")
    periodic: Duration | None = Field(default=None, description="at the latest so long after the last one")


class Retraining(Section):
    """When a retraining is worth it, and who has the last word."""

    triggers: Triggers = Triggers()
    minimum_labelled: int = Field(default=200, ge=1, description="labelled live rows that the champion has answered")
    evidence: Duration = Field(default=parse_duration("56d"), description="labelled answers not older than this count")
    level: float = Field(default=0.05, gt=0, lt=0.5, description="one-sided level at which a loss must be avoidable")
    effect_floor: float = Field(default=0.01, ge=0, le=1, description="drift with less effect on answers is ignored")
    horizon: Duration = Field(default=parse_duration("28d"), description="how long a new model is expected to help")
    cost_of_loss: float = Field(default=1.0, gt=0, description="cost of one unit of the metric on one row")
    cost_of_retraining: float = Field(default=20.0, ge=0, description="cost of one retraining, in the same unit")
    currency: str = Field(default="nats", description="name of that unit, for people")
    cool_down: Duration = parse_duration("14d")
    budget: int | None = Field(default=None, ge=1, description="automatic retrainings per 365 days, at most")
    breaker: int = Field(default=4, ge=1, description="so many rejections in a row end automatic retraining")
    mode: Literal["automatic", "envelope", "review"] = Field(
        default="automatic", description="envelope: by itself within retraining.envelope, else a person is asked"
    )
    envelope: Envelope = Envelope()
    reviewers: tuple[str, ...] = Field(default=(), description="who may approve, and move the alias champion by hand")
    four_eyes: bool = Field(default=False, description="who triggered a retraining may not approve its model")
    approval_expires: Duration = Field(default=parse_duration("7d"), description="how long a question stays open")

    @model_validator(mode="after")
    def _envelope_is_in_use(self) -> Self:
        if self.envelope != Envelope() and self.mode != "envelope":
            raise ValueError(f"envelope needs mode envelope, got mode {self.mode}")
        if not self.approval_expires:
            raise ValueError("approval_expires must be longer than nothing")
        return self
