"""What a use case file may say about keeping."""

from __future__ import annotations

from datetime import timedelta

from pydantic import Field, field_validator

from ml.use_case.duration import Duration, format_duration, parse_duration
from ml.use_case.section import Section

#: The installation keeps these for so long, whatever a use case says: rollups for as long as a person looks back.
EVENTS_KEPT, ROLLUPS_KEPT = parse_duration("400d"), parse_duration("35d")


class Retention(Section):
    """How long data is kept, counted from its receipt; null is until somebody deletes it."""

    requests: Duration | None = Field(default=None, description="answers and refusals in the lake")
    labels: Duration | None = Field(default=None, description="labels in the lake; not shorter than requests")
    quarantine: Duration | None = Field(default=None, description="captured rows that were not understood")
    events: Duration | None = Field(default=None, description="events of this use case; the installation keeps 400d")
    rollups: Duration | None = Field(default=None, description="rollups of this use case; the installation keeps 35d")

    @property
    def declared(self) -> dict[str, timedelta]:
        """What is not kept for ever, by part."""
        named = {name: getattr(self, name) for name in type(self).model_fields}
        return {name: keep for name, keep in named.items() if keep is not None}

    @field_validator("*")
    @classmethod
    def _something_is_kept(cls, keep: timedelta | None) -> timedelta | None:
        if keep is not None and keep < timedelta(hours=1):
            raise ValueError(f"must be an hour or more, got {format_duration(keep)}")
        return keep


def check_retention(retention: Retention, *, needed: timedelta) -> list[str]:
    """What is wrong with it.

    Parameters
    ----------
    needed
        Length of live data that checks and retraining look at.
    """
    problems = []
    if retention.requests is not None and retention.requests < needed:
        why = "what retraining.evidence and monitoring look at, with target.maturity"
        problems.append(f"retention.requests must be {format_duration(needed)} or more, {why}")
    longest = retention.requests or timedelta.max
    if retention.labels is not None and retention.labels < longest:
        problems.append("retention.labels must not be shorter than retention.requests: an answer would lose its truth")
    for name, bound in (("events", EVENTS_KEPT), ("rollups", ROLLUPS_KEPT)):
        keep = getattr(retention, name)
        if keep is not None and keep > bound:
            problems.append(f"retention.{name} must be {format_duration(bound)} or less: no more is kept anyway")
    return problems
