"""The mailbox: one RFC 5322 message per alert, in a folder that any mail program opens."""

from __future__ import annotations

import hashlib
import re
from email.headerregistry import Address
from email.message import EmailMessage
from email.policy import SMTP
from email.utils import format_datetime
from pathlib import Path

from ml.errors import StackError
from ml.records.alert import Alert
from ml.records.base import write_atomically

#: Addresses of a reserved name (RFC 2606): nothing is ever delivered to them by accident.
SENDER = Address("Perennial", "perennial", "perennial.invalid")
READERS = Address("Operators", "operators", "perennial.invalid")

_IMPORTANCE = {"info": "low", "warning": "normal", "error": "high"}

_LONGEST_HEADER = 500
_NO_WORD = re.compile(r"[^A-Za-z0-9]+")


def post_alert(alert: Alert, mailbox: Path) -> Path:
    """Write an alert's message into the mailbox folder once; returns its path.

    A message appears whole or not at all. The first alert with a key stays; later ones change nothing.

    Raises
    ------
    StackError
        The folder cannot be written.
    """
    path = mailbox / file_name(alert.key)
    try:
        if not path.exists():
            write_atomically(path, compose_message(alert).as_bytes())
    except OSError as error:
        raise StackError(
            "mailbox cannot be written", where=str(path), got=error.strerror or str(error), allowed="a writable folder"
        ) from error
    return path


def compose_message(alert: Alert) -> EmailMessage:
    r"""Message of an alert; no text of the alert can add a header or end the headers.

    Examples
    --------
    >>> from datetime import UTC, datetime
    >>> alert = Alert(key="k", use_case=None, time=datetime(2013, 3, 8, tzinfo=UTC), severity="error",
    ...               subject="disk full\nBcc: everybody@example.org", text="Make room.")
    >>> compose_message(alert)["Subject"]
    'disk full Bcc: everybody@example.org'
    """
    message = EmailMessage(policy=SMTP)
    message["From"] = SENDER
    message["To"] = READERS
    message["Date"] = format_datetime(alert.time)
    message["Message-ID"] = f"<{_digest(alert.key)}@{SENDER.domain}>"
    message["Subject"] = _line(alert.subject)
    message["Importance"] = _IMPORTANCE[alert.severity]
    message["X-Perennial-Severity"] = alert.severity
    message["X-Perennial-Key"] = _line(alert.key)
    if alert.use_case is not None:
        message["X-Perennial-Use-Case"] = _line(alert.use_case)
    message.set_content(_encodable(alert.text))
    return message


def file_name(key: str) -> str:
    """Name of a key's message file: its words for people, its digest for identity.

    Examples
    --------
    >>> file_name("monitor/harbour_weather/2013-03-08")
    'monitor-harbour-weather-2013-03-08-1f3e6c282b1f.eml'
    """
    words = _NO_WORD.sub("-", key).strip("-")[:80]
    return f"{words or 'alert'}-{_digest(key)[:12]}.eml"


def _line(text: str) -> str:
    """Text as one printable line: a line break in a header would begin another header."""
    printable = "".join(character if character.isprintable() else " " for character in _encodable(text))
    return " ".join(printable.split())[:_LONGEST_HEADER]


def _encodable(text: str) -> str:
    return text.encode("utf-8", "replace").decode("utf-8")


def _digest(key: str) -> str:
    return hashlib.sha256(key.encode("utf-8", "surrogatepass")).hexdigest()
