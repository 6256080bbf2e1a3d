"""Columns of a use case file: features, what is to be predicted, and the forecasts that need no model."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import Field, model_validator

from ml.use_case.duration import Duration, parse_duration
from ml.use_case.section import Section

#: Columns that the frames of the lake and of training carry beside the features.
RESERVED_COLUMNS = frozenset(
    {
        *(
            "id",
            "event_time",
            "event_month",
            "label",
            "part",
            "source",
            "reason",
            "told_by",
            "asked_rows",
            "asked_place",
        ),
        *(
            "conflict",
            "received_at",
            "request_id",
            "model_version",
            "code",
            "detail",
            "predicted",
            "probabilities",
            "raw",
            "degraded_code",
        ),
        *("outbox", "seq"),
    }
)


class Feature(Section):
    """One input column: its type, unit, range and whether it may be missing."""

    type: Literal["number", "category", "boolean"]
    unit: str = Field(default="", description="for people and reports")
    range: tuple[float, float] | None = Field(default=None, description="allowed lowest and highest value")
    values: tuple[str, ...] | None = Field(default=None, description="allowed categories")
    nullable: bool = Field(default=False, description="missing values are imputed inside the model's graph")
    protected: bool = Field(default=False, description="decisions are compared between its groups by gate.fairness")

    @model_validator(mode="after")
    def _range_and_values_fit_the_type(self) -> Self:
        if self.range is not None and self.type != "number":
            raise ValueError(f"range belongs to type number, got type {self.type}")
        if self.range is not None and self.range[0] >= self.range[1]:
            raise ValueError(f"range must be [lowest, highest], got {list(self.range)}")
        if self.values is not None and self.type != "category":
            raise ValueError(f"values belong to type category, got type {self.type}")
        if self.protected and self.type == "number":
            raise ValueError("protected belongs to type category or boolean, whose values are groups, got type number")
        return self


class Target(Section):
    """The column to predict, its classes or its unit, and how late its truth is known."""

    column: str
    classes: dict[str, str] = Field(
        default_factory=dict, description="value in the data: name of the class; none for a regression"
    )
    positive: str | None = Field(default=None, description="for people: name of the class that the goal speaks of")
    unit: str = Field(default="", description="of a number that is to be predicted, for people and reports")
    range: tuple[float, float] | None = Field(default=None, description="lowest and highest number that is a truth")
    horizon: Duration = Field(default=parse_duration("0s"), description="from event time to the predicted moment")
    maturity: Duration = Field(default=parse_duration("0s"), description="from event time until the truth is known")

    @model_validator(mode="after")
    def _positive_is_a_class(self) -> Self:
        names = tuple(self.classes.values())
        if len(set(names)) != len(names):
            raise ValueError(f"class names must differ, got {list(names)}")
        if self.positive is not None and self.positive not in names:
            allowed = f"one of {list(names)}" if names else "left out where there are no classes"
            raise ValueError(f"positive must be {allowed}, got {self.positive!r}")
        if self.range is not None and self.range[0] >= self.range[1]:
            raise ValueError(f"range must be [lowest, highest], got {list(self.range)}")
        return self

    @property
    def class_names(self) -> tuple[str, ...]:
        """Names of the classes, sorted: the order of probability columns everywhere."""
        return tuple(sorted(self.classes.values()))


class Baselines(Section):
    """Trivial predictors that a challenger must beat."""

    persistence: str | None = Field(
        default=None, description="column whose present value, read by target.classes, is the forecast"
    )
    seasonal: tuple[Literal["hour_of_day", "day_of_week", "month"], ...] = Field(
        default=(), description="calendar, UTC, by which shares, mean or median are the forecast"
    )
    majority: bool = Field(
        default=True, description="the same forecast for every row: shares of the classes, mean or median of a number"
    )
