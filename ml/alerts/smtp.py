"""Notices by SMTP; the server's address, with its account, is a secret of the installation."""

from __future__ import annotations

import smtplib
import ssl
from urllib.parse import unquote, urlsplit

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
        with _connect(found.hostname, found.port or port, encrypted=encrypted) as client:
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


def _connect(host: str, port: int, *, encrypted: bool) -> smtplib.SMTP:
    if encrypted:
        return smtplib.SMTP_SSL(host, port, timeout=TIMEOUT_SECONDS, context=ssl.create_default_context())
    return smtplib.SMTP(host, port, timeout=TIMEOUT_SECONDS)


def _short(error: Exception) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"
