"""What the demo tells: one record per replayed week, and the whole story."""

from __future__ import annotations

from typing import Literal

from ml.records.base import Record, UtcTime


class StoryWeek(Record):
    """One replayed window: what was measured, decided and served.

    Attributes
    ----------
    model_version
        Version that answered the window's requests (the newest one, had it changed within).
    log_loss_live
        Mean log loss of the answers that were served; None when no label came.
    log_loss_first
        The same rows, had the first model stayed.
    challenger
        How the retraining of this week ended; None when there was none.
    deployed
        Version that serves from now on, when it changed.
    requests, failed_requests
        HTTP requests to the service during the window and its pipeline runs; policy refusals are not failures.
    """

    week: int
    as_of: UtcTime
    drift_score: float | None
    threshold: float | None
    decision: Literal["wait", "alert", "retrain"]
    challenger: str | None
    deployed: int | None
    model_version: int
    log_loss_live: float | None
    log_loss_first: float | None
    rows: int
    requests: int
    refused_requests: int
    failed_requests: int
    seconds: float


class Story(Record):
    """The story so far, ``{var}/demo/result.json``.

    Attributes
    ----------
    beginning
        ``clean`` or ``continued``.
    first_version
        Version that the comparison ``log_loss_first`` is made with.
    retrainings
        Drift-triggered retrainings that were won and deployed.
    complete
        At least one such retraining, and at least one week in which the system rightly did nothing.
    """

    use_case: str
    beginning: Literal["clean", "continued"]
    first_version: int
    weeks: tuple[StoryWeek, ...]
    retrainings: int
    log_loss_live: float | None
    log_loss_first: float | None
    failed_requests: int
    seconds: float
    urls: dict[str, str]

    @property
    def complete(self) -> bool:
        """Whether the story has what it is told for."""
        return self.retrainings > 0 and any(week.decision == "wait" for week in self.weeks)
