"""Events: what happened, in one line, for people and rules."""

from __future__ import annotations

from typing import Literal

from ml.records.base import Record, UtcTime


class Event(Record):
    """Something that happened in one of the stages.

    Attributes
    ----------
    time
        When it happened.
    use_case
        Whose; None when it concerns the installation.
    source
        Stage or service that says so, such as ``monitor`` or ``serving``.
    code
        Code of the scoring service's table, 0 when none fits.
    name
        What happened, a stable word for rules: ``drift_found``.
    """

    time: UtcTime
    use_case: str | None
    source: str
    code: int = 0
    name: str
    severity: Literal["info", "warning", "error"]
    message: str
