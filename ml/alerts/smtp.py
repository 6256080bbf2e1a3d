"""Notices by SMTP; the server's address, with its account, is a secret of the installation."""

from __future__ import annotations

import smtplib
import ssl
from typing import Any
from urllib.parse import unquote, urlsplit

from typing_extensions import override

from ml.alerts.deadline import cut_after
from ml.alerts.mail import compose_message
from ml.errors import InputError, ServiceAway
from ml.records.alert import Notice

TIMEOUT_SECONDS = 10.0

#: Scheme: (port, encrypted from the start, encrypted before anything is said)
_SCHEMES = {"smtp": (587, False, True), "smtps": (465, True, False), "smtp+plain": (25, False, False)}


def send_mail(notice: Notice, *, server: str, sender: str, to: tuple[str, ...]) -> str:
    """Hand a notice's message to a server; returns what was said.

    Parameters
    ----------
    server
        ``smtp://user:password@host:587`` (STARTTLS, or nothing is sent), ``smtps://`` (TLS), ``smtp+plain://``
        (neither, for a server on this machine).

    Raises
    ------
    InputError
        The address is none.
    ServiceAway
        The server does not answer, or takes the message for nobody or not for everybody.
    """
    found = urlsplit(server)
    if found.scheme not in _SCHEMES or not found.hostname:
        allowed = ", ".join(f"{scheme}://" for scheme in _SCHEMES)
        raise InputError("SMTP server is not understood", where="alert_secrets", got=found.scheme, allowed=allowed)
    port, encrypted, upgraded = _SCHEMES[found.scheme]
    where = f"{found.hostname}:{found.port or port}"
    try:
        with (
            _connect(found.hostname, found.port or port, encrypted=encrypted) as client,
            cut_after(lambda: client.sock),
        ):
            if upgraded:
                client.starttls(context=ssl.create_default_context())
            if found.username is not None:
                client.login(unquote(found.username), unquote(found.password or ""))
            refused = client.send_message(compose_message(notice, sender=sender, to=to), sender, list(to))
    except (OSError, smtplib.SMTPException) as error:
        raise ServiceAway("SMTP server does not take the message", where=where, got=_short(error)) from error
    if refused:
        raise ServiceAway("SMTP server refused readers", where=where, got=", ".join(sorted(refused)))
    return f"{where} took it for {', '.join(to)}"


class _Plain(smtplib.SMTP):
    """A client that waits for a greeting no longer than for everything else."""

    @override
    def connect(self, *arguments: Any, **options: Any) -> tuple[int, bytes]:
        """Connect and read the greeting."""
        with cut_after(lambda: self.sock):
            return super().connect(*arguments, **options)


class _Encrypted(_Plain, smtplib.SMTP_SSL):
    """The same by TLS from the start."""


def _connect(host: str, port: int, *, encrypted: bool) -> smtplib.SMTP:
    if encrypted:
        return _Encrypted(host, port, timeout=TIMEOUT_SECONDS, context=ssl.create_default_context())
    return _Plain(host, port, timeout=TIMEOUT_SECONDS)


def _short(error: Exception) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"
