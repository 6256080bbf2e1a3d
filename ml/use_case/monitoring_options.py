"""Options of ``monitoring`` in a use case file."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import Field, model_validator

from ml.use_case.duration import Duration, parse_duration
from ml.use_case.section import Section

StatisticName = Literal[
    "psi",
    "jensen_shannon",
    "kolmogorov_smirnov",
    "wasserstein",
    "hellinger",
    "chi_square",
    "total_variation",
    "missing_rate",
    "new_categories",
    "range_violation",
]
MultivariateName = Literal["pca_reconstruction", "domain_classifier"]

#: Contexts that are read from the event time, UTC.
CALENDAR_CONTEXTS = ("hour_of_day", "day_of_week", "month")


class Persistence(Section):
    """How many checks of the last few must be above their threshold."""

    alarms: int = Field(default=1, ge=1)
    of: int = Field(default=1, ge=1)

    @model_validator(mode="after")
    def _alarms_fit(self) -> Self:
        if self.alarms > self.of:
            raise ValueError(f"alarms must be at most of ({self.of}), got {self.alarms}")
        return self


class Monitoring(Section):
    """When and how live data is compared with the champion's reference."""

    schedule: str = Field(default="0 0 * * 1", description="cron, UTC")
    window: Duration = parse_duration("7d")
    block: Duration = Field(default=parse_duration("1d"), description="profiles are kept by blocks of this length")
    statistics: tuple[StatisticName, ...] = Field(
        default=("wasserstein", "kolmogorov_smirnov", "psi", "missing_rate", "new_categories"),
        min_length=1,
        description="each on the columns that it is defined for",
    )
    multivariate: tuple[MultivariateName, ...] = Field(
        default=(), description="each looks at all columns together; domain_classifier takes half of the budget"
    )
    false_alarm_budget: float = Field(
        default=0.05, gt=0, lt=1, description="share of checks without drift that may alarm, all columns together"
    )
    false_alarm_checks: int = Field(
        default=1, ge=1, description="the budget is for any alarm within so many checks: 52 weekly ones are a year"
    )
    persistence: Persistence = Persistence()
    attribution: bool = Field(
        default=False, description="compare where the model looks as well: a forecast more per feature and row"
    )
    minimum_rows: int = Field(default=100, ge=1, description="fewer live rows are undecidable")
    context: tuple[str, ...] = Field(
        default=(),
        description="live rows are compared with reference rows of the same hour_of_day, day_of_week, month (UTC), "
        "or value of a category or boolean feature",
    )

    @property
    def budget_of_a_check(self) -> float:
        """Share of checks that may alarm; whatever depends on what, the budget is kept (union bound)."""
        return self.false_alarm_budget / self.false_alarm_checks

    @model_validator(mode="after")
    def _contexts_differ(self) -> Self:
        if len(set(self.context)) != len(self.context):
            raise ValueError(f"context must not name one thing twice, got {list(self.context)}")
        return self

    @model_validator(mode="after")
    def _blocks_make_a_window(self) -> Self:
        if not self.block or self.block > self.window or self.window % self.block:
            raise ValueError("window must be a whole number of blocks")
        return self
