"""Goals of a use case that a machine can check: a metric, a bound, an owner, and by when."""

from __future__ import annotations

from datetime import date
from typing import Self

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from ml.use_case.duration import Duration, parse_duration

#: Metrics of the use case itself, with what they mean.
OWN_METRICS = {
    "live_loss": "mean loss of the live answers whose truth is known, in the gate's metric",
    "answered_share": "answered rows of all that were asked",
    "labelled_share": "answered rows whose truth is known",
    "override_rate": "answers that people decided otherwise",
}

#: Measures of the pipeline (docs/pipeline-health.md), as ``pipeline.{name}``.
PIPELINE_METRICS = (
    "success_rate",
    "lateness_p95",
    "retries_per_run",
    "broken_longest",
    "recovery_median",
    "lead_time_median",
    "deployments_per_week",
    "change_fail_rate",
    "restore_median",
    "alert_precision",
    "label_delay_median",
    "cpu_seconds_per_day",
    "new_errors",
)
GOAL_METRICS = (*OWN_METRICS, *(f"pipeline.{name}" for name in PIPELINE_METRICS))


class Goal(BaseModel):
    """One goal; the report ``project`` says whether it is met. None of it changes a decision."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    name: str = Field(pattern=r"^[a-z][a-z0-9_]{0,62}$", description="identity")
    owner: str = Field(min_length=1, description="who answers for it")
    metric: str = Field(description="live_loss, answered_share, labelled_share, override_rate, or pipeline.{measure}")
    at_most: float | None = Field(default=None, description="met at or below; or at_least")
    at_least: float | None = Field(default=None, description="met at or above; or at_most")
    over: Duration = Field(default=parse_duration("28d"), description="the time before the report that is looked at")
    by: date | None = Field(default=None, description="when it is to be met, UTC; until then it is not missed")

    @field_validator("metric")
    @classmethod
    def _metric_is_known(cls, metric: str) -> str:
        if metric not in GOAL_METRICS:
            raise ValueError(f"must be one of {', '.join(GOAL_METRICS)}; got {metric!r}")
        return metric

    @model_validator(mode="after")
    def _has_one_bound(self) -> Self:
        if (self.at_most is None) == (self.at_least is None):
            raise ValueError("needs at_most or at_least, one of them")
        if not self.over:
            raise ValueError("over must be longer than nothing")
        return self

    def holds(self, value: float) -> bool:
        """Whether a value is within the bound."""
        return value <= self.at_most if self.at_most is not None else value >= (self.at_least or 0.0)
