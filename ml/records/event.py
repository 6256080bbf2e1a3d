"""Events: what happened, in one line, for people and rules."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from ml.records.base import Record, UtcTime

Severity = Literal["info", "warning", "error"]


class Event(Record):
    """Something that happened in one of the stages.

    Attributes
    ----------
    time
        When it became known, wall clock.
    use_case
        Whose; None when it concerns the installation.
    source
        Stage, replica or command that says so, such as ``monitor`` or ``replica-0``.
    code
        Code of the scoring service's table, 0 when none fits. A name that happens to be a number: it has no size.
    name
        What happened, a stable word for rules: ``drift_found``.
    request_id
        Request that it is about; empty when there is none, or when the event stands for many.
    key
        Which one of its kind: the same key again is the same thing said again; empty where that makes no difference.
    count
        How often it happened: bursts are told once with their number.
    """

    format: int = 2
    time: UtcTime
    use_case: str | None
    source: str
    code: int = 0
    name: str
    severity: Severity
    message: str
    request_id: str = ""
    model_version: int | None = None
    key: str = ""
    count: int = Field(default=1, ge=1)
