"""What a use case file may say about serving."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field


class Serving(BaseModel):
    """What the scoring service does with rows that are not as declared, and how safely it records."""

    model_config = ConfigDict(frozen=True, extra="forbid")

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
