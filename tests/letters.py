"""Messages of a mailbox, read as a mail program reads them."""

from __future__ import annotations

from email import message_from_bytes
from email.message import EmailMessage
from email.policy import default
from pathlib import Path


def read_letters(mailbox: Path, beginning: str = "") -> list[str]:
    """Texts of the messages whose files' names begin so."""
    texts = []
    for path in sorted(mailbox.glob(f"{beginning}*.eml")):
        message = message_from_bytes(path.read_bytes(), policy=default)
        assert isinstance(message, EmailMessage)
        texts.append(message.get_body(("plain",)).get_content())
    return texts
