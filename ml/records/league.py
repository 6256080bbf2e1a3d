"""The league of all models: how every registered version answers the newest labelled rows."""

from __future__ import annotations

from typing import Literal

from ml.records.base import Record, UtcTime
from ml.records.measure import Estimate, Window

#: ``champion``; ``ahead``: better than the champion beyond doubt; ``not_ahead``; ``undecidable``: too few rows that
#: neither was trained on, or nobody to compare with; ``unevaluable``: it cannot answer the rows.
Standing = Literal["champion", "ahead", "not_ahead", "undecidable", "unevaluable"]


class LeagueRow(Record):
    """One version in a review.

    Attributes
    ----------
    watermark
        Newest event time that it was trained on.
    loss
        Mean loss, lower is better, on the labelled rows that neither it nor the champion was trained on.
    gain
        By how much its loss is lower than the champion's on these rows, positive where it is better; each end of the
        interval is wrong at the league's level, for this version alone.
    p, adjusted
        One-sided p-value of being no better than the champion; corrected over all versions of the review (Holm).
    reason
        Why it stands where it stands.
    """

    version: int
    digest: str
    watermark: UtcTime
    standing: Standing
    loss: Estimate
    gain: Estimate
    p: float | None = None
    adjusted: float | None = None
    reason: str


class League(Record):
    """Every registered version on the newest labelled rows, the best first.

    Attributes
    ----------
    as_of
        Nothing that became known later was used.
    window
        Event times of the labelled rows; None where there are none.
    rows
        Labelled rows, each usable for some version.
    level
        At which a version is called ahead, all versions of a review together.
    bound
        By more than so much of the metric the champion must be beaten.
    """

    use_case: str
    as_of: UtcTime
    window: Window | None
    rows: int
    metric: str
    level: float
    bound: float
    champion_version: int | None
    standings: tuple[LeagueRow, ...]

    @property
    def key(self) -> str:
        """Identity of the review: a rerun of the same moment is the same review."""
        return f"{self.use_case}/{self.as_of.isoformat()}"

    @property
    def ahead(self) -> tuple[LeagueRow, ...]:
        """Versions that are better than the champion beyond doubt."""
        return tuple(row for row in self.standings if row.standing == "ahead")
