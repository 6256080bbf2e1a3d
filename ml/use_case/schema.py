"""What a use case file may say, and its defaults.

Every model is frozen and refuses unknown keys. Numbers carry their unit in the name or the description;
the description of each field is what the published JSON Schema shows in an editor.
"""

from __future__ import annotations

import hashlib
import re
from datetime import timedelta
from typing import Any, Literal, Self

from pydantic import Field, field_validator, model_validator

from ml.use_case.card_options import CardWords
from ml.use_case.columns import RESERVED_COLUMNS, Baselines, Feature, Target
from ml.use_case.gate_columns import check_gate
from ml.use_case.gate_options import Gate
from ml.use_case.goals import Goal
from ml.use_case.monitoring_options import CALENDAR_CONTEXTS, Monitoring
from ml.use_case.retention_options import Retention, check_retention
from ml.use_case.retraining_options import Retraining
from ml.use_case.section import Name, Section
from ml.use_case.serving_options import Serving, check_trials
from ml.use_case.training_options import Training


class UseCase(Section):
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
