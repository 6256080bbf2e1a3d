"""What was pruned, for who asks later why it is not there."""

from __future__ import annotations

from typing import Literal

from ml.records.base import Record, UtcTime

PrunedPartName = Literal["requests", "labels", "quarantine", "events", "rollups"]


class PrunedPart(Record):
    """One part of a use case's data.

    Attributes
    ----------
    keep_days
        Declared in the use case file.
    before
        What was received earlier is expired.
    removed
        Expired rows that were removed.
    needed
        Expired rows that checks or retraining still need; they stay until they do not.
    left
        Rows that were there afterwards, those needed included.
    """

    part: PrunedPartName
    keep_days: float
    before: UtcTime
    removed: int
    needed: int
    left: int


class Pruned(Record):
    """One pruning of a use case's data.

    Attributes
    ----------
    needed_from
        Rows whose event is not earlier are needed; None when there is no row.
    training_versions
        Versions of the training data, which are kept for reproduction and hold copies of the rows in them.
    """

    use_case: str
    at: UtcTime
    needed_from: UtcTime | None
    parts: tuple[PrunedPart, ...]
    training_versions: int
