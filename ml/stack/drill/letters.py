"""What people were told, read from the mailbox: a witness that no faulty control database can silence."""

from __future__ import annotations

from dataclasses import dataclass
from email import message_from_binary_file
from email.policy import default
from pathlib import Path


@dataclass(frozen=True)
class Told:
    """A notice that an alert fires.

    Attributes
    ----------
    at
        When it was in the mailbox, seconds since the epoch.
    """

    rule: str
    key: str
    at: float


def read_told(mailbox: Path, *, since: float) -> list[Told]:
    """Notices of alerts that fired, of messages that came since a moment, in order."""
    found = []
    for path in mailbox.glob("[!.]*.eml"):
        try:
            at = path.stat().st_mtime
            if at < since:
                continue
            with path.open("rb") as file:
                key = str(message_from_binary_file(file, policy=default)["X-Perennial-Key"])
        except OSError:  # moved away meanwhile
            continue
        if key.endswith("/fired"):
            found.append(Told(key.partition("/")[0], key, at))
    return sorted(found, key=lambda told: told.at)
