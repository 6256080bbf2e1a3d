"""What a use case file may say about serving."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from ml.use_case.duration import Duration, parse_duration
from ml.use_case.section import Section


class Canary(Section):
    """How a new version answers a part of the requests before it answers all of them."""

    share: float = Field(default=0.1, gt=0, le=0.5, description="of the requests, by the hash of their ids")
    minimum_requests: int = Field(default=300, ge=1, description="that it must have answered, at least")
    longest: Duration = Field(default=parse_duration("10m"), description="how long it may wait for them")
    too_little_traffic: Literal["release", "roll_back"] = Field(
        default="release", description="what becomes of it when fewer came"
    )
    level: float = Field(
        default=0.05, gt=0, lt=0.5, description="probability of ever rolling back a version that is no worse"
    )
    minimum_labels: int | None = Field(
        default=None, ge=1, description="requests of it whose truth must be known, at least; null: labels come too late"
    )


class Shadow(Section):
    """How a new version scores a copy of the requests, before any client gets an answer of its."""

    share: float = Field(default=1.0, gt=0, le=1, description="of the requests, by the hash of their ids")
    minimum_requests: int = Field(default=300, ge=1, description="that it must have scored, at least")
    longest: Duration = Field(default=parse_duration("10m"), description="how long it may wait for them")
    too_little_traffic: Literal["release", "roll_back"] = Field(
        default="release", description="what becomes of it when fewer came"
    )
    level: float = Field(
        default=0.05, gt=0, lt=0.5, description="probability of refusing a version that fails no more often"
    )
    most_disagreement: float | None = Field(
        default=None, ge=0, le=1, description="share of rows that it may decide otherwise; null: any"
    )
    most_difference: float | None = Field(
        default=None, ge=0, description="mean difference of probabilities, or of numbers in their unit; null: any"
    )


class Serving(Section):
    """What the scoring service does with rows that are not as declared, and how safely it records."""

    missing: Literal["impute", "refuse"] = Field(default="impute", description="for nullable features")
    out_of_range: Literal["refuse", "accept", "clip", "flag"] = Field(
        default="refuse", description="clip: the nearest allowed number is scored; flag: scored as it is, and told"
    )
    unknown_category: Literal["refuse", "accept", "impute", "flag"] = Field(
        default="refuse", description="impute: as if missing, for nullable features; flag: scored as it is, and told"
    )
    out_of_distribution: Literal["ignore", "flag", "abstain"] = Field(
        default="flag", description="of rows unlike the training data: abstain refuses them with code 204"
    )
    out_of_distribution_share: float = Field(
        default=0.25,
        gt=0,
        le=1,
        description="share of features beyond what training has seen that makes a row unlike it",
    )
    durability: Literal["process", "power"] = Field(
        default="process",
        description="what a record survives before its reply leaves: a killed process, or a power cut",
    )
    when_capture_fails: Literal["refuse", "answer"] = Field(
        default="refuse", description="answer: rows that cannot be recorded are answered, and counted as lost"
    )
    degraded: Literal["refuse", "last_good"] = Field(
        default="refuse",
        description="last_good: what the present version fails at (301, 401), or cannot be loaded for, is answered by "
        "the version that was confirmed before it, and says so; it is kept in memory as well",
    )
    latency_ms: float | None = Field(
        default=50.0, gt=0, description="median for one row in which a version must answer to be served; null: any"
    )
    memory_mb: int = Field(default=1024, ge=64, description="MiB that a version may take, the reading of it included")
    shadow: Shadow | None = Field(default=None, description="null: no new version is tried on a copy of the requests")
    canary: Canary | None = Field(default=None, description="null: all replicas switch at once")


def check_trials(serving: Serving, *, regression: bool, bounded: bool) -> list[str]:
    """What shadow and canary ask for that the task cannot tell.

    Parameters
    ----------
    bounded
        The target has a range.
    """
    problems = []
    if regression and serving.shadow is not None and serving.shadow.most_disagreement is not None:
        problems.append("serving.shadow.most_disagreement is for classes; use most_difference for task regression")
    labels = None if serving.canary is None else serving.canary.minimum_labels
    if regression and labels is not None and not bounded:
        problems.append("serving.canary.minimum_labels of task regression needs target.range, which bounds a loss")
    return problems
