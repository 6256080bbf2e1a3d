"""Options of ``gate`` in a use case file: the rules that a challenger must keep, and their bounds."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from ml.use_case.duration import Duration, parse_duration
from ml.use_case.section import Section

#: With a strategy that keeps all history, what may be lost of it.
FORGOTTEN = 0.5

Value = bool | int | float | str | None


class Slices(Section):
    """Parts of the holdout on which a challenger may not be worse."""

    by: dict[str, Literal["each"] | Annotated[int, Field(ge=2, le=20)]] = Field(
        default_factory=dict,
        description="column, or hour_of_day, day_of_week, month: each of its values, or so many quantile bins",
    )
    minimum_rows: int = Field(default=50, ge=2, description="smaller slices and groups are told, not judged")
    margin: float = Field(default=0.0, ge=0, description="by so much of the metric a slice may be worse")


class Fairness(Section):
    """Bounds on how decisions differ between the groups of each protected feature."""

    worse_by: float = Field(default=0.05, ge=0, le=1, description="how far a gap may exceed the champion's")
    demographic_parity: float | None = Field(
        default=None, ge=0, le=1, description="largest difference between groups in the share of positive decisions"
    )
    equalized_odds: float | None = Field(
        default=None, ge=0, le=1, description="largest difference between groups in true or false positive rate"
    )


class Calibration(Section):
    """How much worse probabilities may be calibrated than the champion's."""

    brier: float | None = Field(default=0.0, ge=0, description="Brier score worse by at most; null judges nothing")
    expected_error: float | None = Field(
        default=0.02, ge=0, le=1, description="expected calibration error worse by at most; null judges nothing"
    )
    bins: int = Field(default=10, ge=2, le=100, description="of equal numbers of rows")


class OldRegime(Section):
    """What may be forgotten of the past."""

    worse_by: Annotated[float, Field(ge=0)] | Literal["any"] | None = Field(
        default=None,
        description="share of the majority forecast's loss by which earlier rows may be answered worse; by default 0.5 "
        "with strategy all_history, and any with a strategy that is meant to forget",
    )
    rows: int = Field(default=5000, ge=1, description="earlier rows that are replayed, at most")


class GoldenRow(Section):
    """A row whose answer is known to people: minimum functionality."""

    name: str = Field(min_length=1)
    row: dict[str, Value]
    answer: str | float = Field(description="name of the class, or the number")
    at_least: float = Field(default=0.5, ge=0, le=1, description="probability of the class")
    within: float = Field(default=0.0, ge=0, description="distance from the number")


class Behaviour(Section):
    """A change of a row after which the answer must move in a known direction, or not at all."""

    name: str = Field(min_length=1)
    add: dict[str, float] = Field(default_factory=dict, description="number feature: what is added")
    put: dict[str, Value] = Field(default_factory=dict, description="feature: value that it gets")
    expect: Literal["same", "rises", "falls"]
    of: str | None = Field(default=None, description="class whose probability is meant; the positive one by default")
    tolerance: float = Field(default=0.01, ge=0, description="movement that counts as none")
    share: float = Field(default=0.99, gt=0, le=1, description="of the holdout's rows in which it must hold")

    @model_validator(mode="after")
    def _something_changes(self) -> Self:
        if not (self.add or self.put):
            raise ValueError("add or put must name a feature, got nothing to change")
        return self


class Gate(Section):
    """What a challenger must show."""

    metric: Literal["log_loss", "brier", "error_rate", "squared_error", "absolute_error"] = Field(
        default="log_loss", description="the latter two for a regression, whose default is squared_error"
    )
    rows: Literal["in_time", "independent"] = Field(
        default="in_time",
        description="neighbours in time may resemble each other, or each row is a draw of its own",
    )
    test: Literal["superiority", "non_inferiority"] = Field(
        default="superiority", description="better by more than margin, or not worse by more than margin"
    )
    level: float = Field(
        default=0.05, gt=0, lt=0.5, description="of ever promoting what is no better, in a champion's whole life"
    )
    spend: bool = Field(default=True, description="false gives the whole level to every challenger")
    margin: float = Field(default=0.0, ge=0, description="in units of the metric")
    block: Duration = Field(default=parse_duration("1d"), description="rows of one block count as one draw")
    minimum_rows: int = Field(default=100, ge=1, description="fewer labelled hold-out rows are undecidable")
    harm_level: float = Field(
        default=0.01, gt=0, lt=0.5, description="one-sided level at which a rule must prove that something is worse"
    )
    slices: Slices = Slices()
    fairness: Fairness = Fairness()
    calibration: Calibration = Calibration()
    roc_auc: float | None = Field(
        default=None, ge=0, le=1, description="area under the ROC curve lower by at most, two classes; null: any"
    )
    old_regime: OldRegime = OldRegime()
    golden: tuple[GoldenRow, ...] = ()
    behaviour: tuple[Behaviour, ...] = ()
    churn: float | None = Field(
        default=None, ge=0, le=1, description="share of decisions in which it may differ from the champion; null: any"
    )
    parity_flips: int = Field(default=0, ge=0, description="decisions in which ONNX may differ from scikit-learn")
    latency_ms: float | None = Field(default=50.0, gt=0, description="median for one row, one thread; null: any")
    size_mb: float | None = Field(default=200.0, gt=0, description="of the graph, MB; null: any")

    @property
    def independent(self) -> bool:
        """Whether each row is a draw of its own."""
        return self.rows == "independent"

    @model_validator(mode="after")
    def _a_margin_is_needed_to_be_not_worse_by_it(self) -> Self:
        if self.test == "non_inferiority" and not self.margin:
            raise ValueError("test non_inferiority needs a margin above 0")
        return self

    @model_validator(mode="after")
    def _names_differ(self) -> Self:
        for key in ("golden", "behaviour"):
            names = [entry.name for entry in getattr(self, key)]
            if len(set(names)) != len(names):
                raise ValueError(f"{key} must not name one thing twice, got {names}")
        return self
