"""What a use case file may say, and its defaults.

Every model is frozen and refuses unknown keys. Numbers carry their unit in the name or the description;
the description of each field is what the published JSON Schema shows in an editor.
"""

from __future__ import annotations

import hashlib
import re
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, field_validator, model_validator

from ml.use_case.approval_options import Envelope
from ml.use_case.card_options import CardWords
from ml.use_case.duration import Duration, parse_duration
from ml.use_case.gate_columns import check_gate
from ml.use_case.gate_options import Gate
from ml.use_case.goals import Goal
from ml.use_case.retention_options import Retention, check_retention
from ml.use_case.serving_options import Serving, check_trials
from ml.use_case.training_options import Caps, Checks, Poison, Tuning


def _as_utc(moment: datetime) -> datetime:
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)


UtcTime = Annotated[datetime, AfterValidator(_as_utc)]
Name = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]{0,62}$")]
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


class _Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Feature(_Section):
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


class Target(_Section):
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


class Baselines(_Section):
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


class History(_Section):
    """The training data that exists before any traffic."""

    file: Path = Field(description="CSV or Parquet, relative to the installation's home")
    until: UtcTime | None = Field(default=None, description="event times from here on are not history")


class Candidate(_Section):
    """One estimator to try: a built-in name, or an import path, with parameters."""

    estimator: str
    parameters: dict[str, Any] = Field(default_factory=dict)
    space: dict[str, Annotated[list[bool | int | float | str | None], Field(min_length=1)]] = Field(
        default_factory=dict, description="parameter: values to try, within training.tuning"
    )


class Training(_Section):
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


class Persistence(_Section):
    """How many checks of the last few must be above their threshold."""

    alarms: int = Field(default=1, ge=1)
    of: int = Field(default=1, ge=1)

    @model_validator(mode="after")
    def _alarms_fit(self) -> Self:
        if self.alarms > self.of:
            raise ValueError(f"alarms must be at most of ({self.of}), got {self.alarms}")
        return self


class Monitoring(_Section):
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


class Triggers(_Section):
    """What may start a retraining; a manual one always may."""

    performance: bool = Field(default=True, description="live loss that a correction of the answers would have avoided")
    data_drift: bool = Field(default=True, description="a drift of features; it must pay as well")
    prediction_drift: bool = Field(default=True, description="a drift of answers; it must pay as well")
    challenger_ahead: bool = Field(default=True, description="a rejected challenger that has since been better")
    before_batch: bool = Field(default=True, description="a batch waits that would cost more than a retraining")
    periodic: Duration | None = Field(default=None, description="at the latest so long after the last one")


class Retraining(_Section):
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


class UseCase(_Section):
    """One prediction task with its columns and policies.

    Raises
    ------
    pydantic.ValidationError
        The content is not allowed; :func:`ml.use_case.load` turns it into one error with dotted paths.
    """

    name: Name
    description: str = ""
    owner: str = ""
    goal: str = ""
    goals: tuple[Goal, ...] = ()
    task: Literal["binary_classification", "multiclass_classification", "regression"]
    time_column: str
    entity_columns: tuple[str, ...] = ()
    features: dict[str, Feature] = Field(min_length=1)
    target: Target
    baselines: Baselines = Baselines()
    training: Training
    monitoring: Monitoring = Monitoring()
    retraining: Retraining = Retraining()
    gate: Gate = Gate()
    serving: Serving = Serving()
    retention: Retention = Retention()
    card: CardWords = CardWords()

    @model_validator(mode="before")
    @classmethod
    def _fill_in_what_a_regression_leaves_out(cls, content: Any) -> Any:
        """Defaults that differ from those of a classification."""
        if not isinstance(content, dict) or content.get("task") != "regression":
            return content
        gate, training = content.get("gate", {}), content.get("training")
        if isinstance(gate, dict):
            content = content | {"gate": {"metric": "squared_error"} | gate}
        if isinstance(training, dict) and "candidates" not in training:
            names = ("ridge", "random_forest", "gradient_boosting")
            content = content | {"training": training | {"candidates": {name: {"estimator": name} for name in names}}}
        return content

    @field_validator("goals")
    @classmethod
    def _goals_have_names_of_their_own(cls, goals: tuple[Goal, ...]) -> tuple[Goal, ...]:
        twice = sorted({goal.name for goal in goals if sum(other.name == goal.name for other in goals) > 1})
        if twice:
            raise ValueError(f"{', '.join(twice)} comes twice; a goal has a name of its own")
        return goals

    @field_validator("features")
    @classmethod
    def _features_have_names_of_their_own(cls, features: dict[str, Feature]) -> dict[str, Feature]:
        taken = [name for name in features if name in RESERVED_COLUMNS or re.fullmatch(r"p_\d+", name)]
        if taken:
            raise ValueError(f"{', '.join(taken)} is the name of a column that the lake adds; rename it")
        return features

    @model_validator(mode="after")
    def _sections_agree(self) -> Self:
        if self.target.column in self.features:
            raise ValueError(f"target.column {self.target.column!r} must not be a feature")
        if self.training.validation <= self.target.horizon:
            raise ValueError("training.validation must be longer than target.horizon, the gap that is left out of it")
        if "pca_reconstruction" in self.monitoring.multivariate and len(self.numbers) < 2:
            raise ValueError(
                f"monitoring.multivariate pca_reconstruction needs 2 number features, got {len(self.numbers)}"
            )
        if "domain_classifier" in self.monitoring.multivariate and len(self.features) < 2:
            raise ValueError("monitoring.multivariate domain_classifier needs 2 features, got 1")
        return self

    @model_validator(mode="after")
    def _training_fits_the_columns_and_the_task(self) -> Self:
        group = self.training.tuning.group
        if group is not None and group not in {*self.features, *self.entity_columns}:
            raise ValueError(f"training.tuning.group must be one of features or entity_columns, got {group!r}")
        if self.regression and (self.training.calibration, self.training.imbalance) != ("none", "none"):
            raise ValueError("training.calibration and training.imbalance are for classes, not for task regression")
        return self

    @model_validator(mode="after")
    def _the_task_fits_target_and_metric(self) -> Self:
        classes = len(self.target.classes)
        if self.task == "binary_classification" and classes != 2:
            raise ValueError(f"task binary_classification needs 2 target.classes, got {classes or 'none'}")
        if self.task == "multiclass_classification" and classes < 2:
            raise ValueError(f"task multiclass_classification needs 2 target.classes or more, got {classes or 'none'}")
        if self.regression and classes:
            raise ValueError(f"task regression has no target.classes, got {classes}")
        allowed = ("squared_error", "absolute_error") if self.regression else ("log_loss", "brier", "error_rate")
        if self.gate.metric not in allowed:
            raise ValueError(f"gate.metric of task {self.task} is {' or '.join(allowed)}, got {self.gate.metric}")
        if not self.regression and (self.target.range is not None or self.target.unit):
            raise ValueError("target.range and target.unit belong to task regression")
        return self

    @model_validator(mode="after")
    def _persistence_forecasts_the_target(self) -> Self:
        column = self.baselines.persistence
        if column is not None and column not in self.features:
            raise ValueError(f"baselines.persistence must be one of features, got {column!r}")
        if self.regression and column is not None and self.features[column].type != "number":
            raise ValueError(
                f"baselines.persistence of a regression must be a number, got a {self.features[column].type}"
            )
        return self

    @model_validator(mode="after")
    def _the_gate_fits_the_columns(self) -> Self:
        problems = check_gate(self)
        if problems:
            raise ValueError("; ".join(problems))
        return self

    @model_validator(mode="after")
    def _serving_fits_the_task(self) -> Self:
        problems = check_trials(self.serving, regression=self.regression, bounded=self.target.range is not None)
        if problems:
            raise ValueError("; ".join(problems))
        return self

    @model_validator(mode="after")
    def _the_envelope_fits_the_gate_and_the_candidates(self) -> Self:
        envelope = self.retraining.envelope
        if envelope.slice_worse_by is not None and not self.gate.slices.by:
            raise ValueError("retraining.envelope.slice_worse_by needs gate.slices.by, got no slice")
        unknown = [name for name in envelope.candidates if name not in self.training.candidates]
        if unknown:
            allowed = ", ".join(self.training.candidates)
            raise ValueError(f"retraining.envelope.candidates must be of {allowed}, got {', '.join(unknown)}")
        return self

    @model_validator(mode="after")
    def _retention_keeps_what_is_looked_at(self) -> Self:
        problems = check_retention(self.retention, needed=self.live_data_needed)
        if problems:
            raise ValueError("; ".join(problems))
        return self

    @model_validator(mode="after")
    def _contexts_exist(self) -> Self:
        usable = [name for name, feature in self.features.items() if feature.type != "number"]
        allowed = [*usable, *(name for name in CALENDAR_CONTEXTS if name not in self.features)]
        for name in self.monitoring.context:
            if name not in allowed:
                raise ValueError(
                    f"monitoring.context must be of {', '.join(allowed)} (a category or boolean feature, or the "
                    f"calendar), got {name!r}"
                )
        return self

    @property
    def live_data_needed(self) -> timedelta:
        """Length of live data, by event time, that checks and retraining look at."""
        checks = self.monitoring.window * self.monitoring.persistence.of
        return max(checks, self.retraining.evidence) + self.target.maturity

    @property
    def regression(self) -> bool:
        """Whether a number is predicted and not a class."""
        return self.task == "regression"

    @property
    def answers(self) -> tuple[str, ...]:
        """What a model answers with, in the order of its columns: a probability for each class, or one number."""
        return ("value",) if self.regression else self.target.class_names

    @property
    def numbers(self) -> tuple[str, ...]:
        """Features that enter the graph as float32, in file order; booleans are 0 and 1."""
        return tuple(name for name, f in self.features.items() if f.type != "category")

    @property
    def categories(self) -> tuple[str, ...]:
        """Features that enter the graph as text, in file order."""
        return tuple(name for name, f in self.features.items() if f.type == "category")

    @property
    def hash(self) -> str:
        """SHA-256 of the whole content with defaults, 64 hex digits; written into every artifact."""
        return hashlib.sha256(self.model_dump_json().encode()).hexdigest()
