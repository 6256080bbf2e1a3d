"""The mailbox: one RFC 5322 message per notice, in a folder that any mail program opens."""

from __future__ import annotations

import re
from pathlib import Path

from ml.alerts.mail import compose_message, digest_of
from ml.errors import StackError
from ml.records.alert import Notice
from ml.records.base import write_atomically

_NO_WORD = re.compile(r"[^A-Za-z0-9]+")


def post_notice(notice: Notice, mailbox: Path) -> Path:
    """Write a notice's message into the mailbox folder once; returns its path.

    A message appears whole or not at all. The first notice with a key stays; later ones change nothing.

    Raises
    ------
    StackError
        The folder cannot be written.
    """
    path = mailbox / file_name(notice.key)
    try:
        if not path.exists():
            write_atomically(path, compose_message(notice).as_bytes())
    except OSError as error:
        raise StackError(
            "mailbox cannot be written", where=str(path), got=error.strerror or str(error), allowed="a writable folder"
        ) from error
    return path


def file_name(key: str) -> str:
    """Name of a key's message file: its words for people, its digest for identity.

    Examples
    --------
    >>> file_name("monitor/harbour_weather/2013-03-08")
    'monitor-harbour-weather-2013-03-08-1f3e6c282b1f.eml'
    """
    words = _NO_WORD.sub("-", key).strip("-")[:80]
    return f"{words or 'notice'}-{digest_of(key)[:12]}.eml"
