"""A shadow: what a version answered to a copy of the requests, beside what their clients got."""

from __future__ import annotations

from pydantic import Field

from ml.records.base import Record, UtcTime
from ml.records.measure import Estimate
from ml.records.release import ReleaseManifest


class ShadowRun(Record):
    """A shadow that has begun; kept, so that a killed release goes on with the one that it was in.

    Attributes
    ----------
    version, digest
        Of the version that is tried.
    beside
        The manifest that serves meanwhile.
    began
        Requests that were received since then are copied, UTC.
    """

    use_case: str
    version: int
    digest: str
    beside: ReleaseManifest
    began: UtcTime

    @property
    def key(self) -> str:
        """Identity of the run: its answers bear it."""
        return f"{self.version}/{self.beside.sequence}/{self.began.isoformat()}"


class ShadowFailures(Record):
    """Requests by who left at least one of their rows without an answer."""

    both: int = 0
    champion_alone: int = 0
    candidate_alone: int = 0


class ShadowSeconds(Record):
    """Median seconds for a single row, both versions asked one after the other in one process."""

    champion: float | None
    candidate: float | None
    n: int


class ShadowComparison(Record):
    """What was found in the answers of a shadow.

    Attributes
    ----------
    requests, rows
        That were copied and scored.
    compared
        Rows that both versions answered.
    disagreement
        Share of them with another class; undefined of a regression.
    difference
        Mean over them of the largest difference of a probability, or of the numbers' difference.
    largest_difference
        Of any row.
    failures_by
        Rows that the candidate alone left without an answer, by what was said.
    loss
        Mean by which the champion's loss exceeds the candidate's, on rows whose truth is known: positive where the
        candidate is the better one.
    """

    requests: int
    rows: int
    compared: int
    failures: ShadowFailures
    failures_by: dict[str, int] = Field(default_factory=dict)
    disagreement: Estimate
    difference: Estimate
    largest_difference: float | None
    seconds: ShadowSeconds
    loss: Estimate


class ShadowVerdict(Record):
    """How a shadow ended.

    Attributes
    ----------
    accepted
        The release goes on.
    seconds
        Since it began.
    """

    use_case: str
    version: int
    beside: int
    run: str
    accepted: bool
    reason: str
    seconds: float
    comparison: ShadowComparison
