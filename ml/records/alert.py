"""Alerts: what a person should know and do something about."""

from __future__ import annotations

from typing import Literal

from ml.records.base import Record, UtcTime


class Alert(Record):
    """A message to the people who own a use case.

    Attributes
    ----------
    key
        Identity; the same key again is the same alert, whatever it says.
    use_case
        Whose; None when it concerns the installation.
    time
        When it became known.
    subject
        One line.
    text
        What happened, and what to do about it.
    """

    key: str
    use_case: str | None
    time: UtcTime
    severity: Literal["info", "warning", "error"]
    subject: str
    text: str
