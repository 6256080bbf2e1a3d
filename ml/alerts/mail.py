"""A notice as an RFC 5322 message, text and HTML; no text of a notice can add a header or end the headers."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Sequence
from email.headerregistry import Address
from email.message import EmailMessage
from email.policy import SMTP
from email.utils import format_datetime
from functools import cache

from jinja2 import Environment, PackageLoader, StrictUndefined, Template

from ml.records.alert import Notice

#: Addresses of a reserved name (RFC 2606): nothing is ever delivered to them by accident.
SENDER = "perennial@perennial.invalid"
READERS = "operators@perennial.invalid"

_IMPORTANCE = {"info": "low", "warning": "normal", "error": "high"}
_COLOURS = {"info": "#2e7d32", "warning": "#f9a825", "error": "#c62828"}

_LONGEST_HEADER = 500


def compose_message(notice: Notice, *, sender: str = SENDER, to: Sequence[str] = (READERS,)) -> EmailMessage:
    r"""Message of a notice; the same notice has the same Message-ID, so a mail program shows it once.

    Examples
    --------
    >>> from datetime import UTC, datetime
    >>> notice = Notice(key="k", use_case=None, time=datetime(2013, 3, 8, tzinfo=UTC), severity="error",
    ...                 subject="disk full\nBcc: everybody@example.org", text="Make room.")
    >>> compose_message(notice)["Subject"]
    'disk full Bcc: everybody@example.org'
    """
    message = EmailMessage(policy=SMTP)
    message["From"] = _address("Perennial", sender)
    message["To"] = tuple(_address("Operators" if address == READERS else "", address) for address in to)
    message["Date"] = format_datetime(notice.time)
    message["Message-ID"] = f"<{digest_of(notice.key)}@{sender.rpartition('@')[2]}>"
    message["Subject"] = one_line(notice.subject)
    message["Importance"] = _IMPORTANCE[notice.severity]
    message["X-Perennial-Severity"] = notice.severity
    message["X-Perennial-Key"] = one_line(notice.key)
    if notice.use_case is not None:
        message["X-Perennial-Use-Case"] = one_line(notice.use_case)
    text = f"{notice.text}\n\n{notice.link}\n" if notice.link else notice.text
    message.set_content(encodable(text))
    message.add_alternative(encodable(notice.page or draw_page(notice)), subtype="html")
    _show_pictures(message, notice)
    return message


def _show_pictures(message: EmailMessage, notice: Notice) -> None:
    """Put a notice's pictures beside its page: mail programs show what a message brings along, and fetch nothing."""
    for part in [part for part in message.iter_parts() if part.get_content_type() == "text/html"]:
        for picture in notice.pictures:
            image, name = base64.b64decode(picture.png), picture.name
            part.add_related(image, "image", "png", cid=f"<{name}>", filename=f"{name}.png", disposition="inline")


def draw_page(notice: Notice) -> str:
    """HTML of a notice; its texts are escaped and never a template themselves."""
    return str(_template().render(notice=notice, colour=_COLOURS[notice.severity]))


def one_line(text: str) -> str:
    """Text as one printable line: a line break in a header would begin another header."""
    printable = "".join(character if character.isprintable() else " " for character in encodable(text))
    return " ".join(printable.split())[:_LONGEST_HEADER]


def encodable(text: str) -> str:
    """Text without what UTF-8 cannot hold."""
    return text.encode("utf-8", "replace").decode("utf-8")


def digest_of(key: str) -> str:
    """Identity of a notice as 64 hex digits."""
    return hashlib.sha256(key.encode("utf-8", "surrogatepass")).hexdigest()


def _address(name: str, address: str) -> Address:
    return Address(name, addr_spec=address)


@cache
def _template() -> Template:
    loader = PackageLoader("ml.alerts", "templates")
    return Environment(loader=loader, autoescape=True, undefined=StrictUndefined).get_template("notice.html")
