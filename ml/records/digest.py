"""The weekly digest: what its readers are told, before it becomes a message."""

from __future__ import annotations

from pydantic import Field

from ml.records.alert import AlertState
from ml.records.base import Record, UtcTime
from ml.records.measure import Window
from ml.records.pipeline import PipelineHealth


class Change(Record):
    """Something that changed what is served, or by which rules, as the ledger has it.

    Attributes
    ----------
    what
        One line.
    """

    time: UtcTime
    use_case: str
    what: str
    actor: str
    reason: str = ""


class OverrideCount(Record):
    """Answers of a use case that people decided otherwise, as last counted in the week; None where unknown."""

    use_case: str
    overridden: int
    answered: int
    person_right: int
    known: int


class NoisyRule(Record):
    """A rule that has only produced noise for long."""

    rule: str
    noise: int
    fired: int
    since: UtcTime


class Link(Record):
    """Where more is to be seen."""

    title: str
    address: str


class WeeklyDigest(Record):
    """One week of an installation.

    Attributes
    ----------
    name
        ISO year and week, such as ``2026-W02``.
    weeks
        The week before, and those before it, as far as they were measured; oldest first, this one last.
    changes
        Oldest first.
    alerts
        That fire at the end of the week, the oldest first.
    """

    name: str
    window: Window
    health: PipelineHealth
    weeks: tuple[PipelineHealth, ...]
    changes: tuple[Change, ...] = ()
    overrides: tuple[OverrideCount, ...] = ()
    alerts: tuple[AlertState, ...] = ()
    noisy: tuple[NoisyRule, ...] = ()
    links: tuple[Link, ...] = Field(default=())
