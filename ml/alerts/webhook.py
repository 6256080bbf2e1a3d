"""Notices as signed JSON over HTTP, to public addresses only unless a rule file allows others.

The name is resolved once and the connection goes to the address that was judged, so a name that points elsewhere a
moment later (DNS rebinding) leads nowhere. Redirects are not followed.
"""

from __future__ import annotations

import hashlib
import hmac
import http.client
import ipaddress
import json
import socket
import ssl
from datetime import datetime
from urllib.parse import urlsplit

from ml.alerts.deadline import cut_after
from ml.alerts.mail import digest_of
from ml.errors import InputError, ServiceAway
from ml.records.alert import Notice

TIMEOUT_SECONDS = 5.0

SIGNATURE = "X-Perennial-Signature"
TIMESTAMP = "X-Perennial-Timestamp"

_READ = 2_000


def send_webhook(notice: Notice, *, url: str, secret: str, allow_private: bool, now: datetime) -> str:
    """Post a notice; returns what was answered.

    The signature is ``sha256=`` and the HMAC-SHA-256 of ``{timestamp}.{body}`` by the secret, in hex. The header
    ``Idempotency-Key`` is the same for every try of a notice.

    Raises
    ------
    InputError
        The address is private and that is not allowed.
    ServiceAway
        Nobody answers, or not with 2xx.
    """
    parts = urlsplit(url)
    host, port = parts.hostname or "", parts.port or (443 if parts.scheme == "https" else 80)
    address = choose_address(host, port, allow_private=allow_private)
    body = json.dumps(
        notice.model_dump(mode="json", exclude={"format", "actions", "page", "pictures"}), ensure_ascii=False
    ).encode("utf-8", "replace")
    moment = str(int(now.timestamp()))
    headers = {
        "Content-Type": "application/json",
        "User-Agent": "perennial",
        "Idempotency-Key": digest_of(notice.key),
        TIMESTAMP: moment,
        SIGNATURE: sign(secret, moment, body),
    }
    target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    connection = _Pinned(host, port, address, encrypted=parts.scheme == "https")
    try:
        with cut_after(lambda: connection.sock):
            connection.request("POST", target, body, headers)
            reply = connection.getresponse()
            reply.read(_READ)
    except (OSError, http.client.HTTPException) as error:
        raise ServiceAway("webhook does not answer", where=f"{host}:{port}", got=_short(error)) from error
    finally:
        connection.close()
    if not 200 <= reply.status < 300:
        raise ServiceAway("webhook failed", where=f"{host}:{port}", got=f"HTTP {reply.status}", allowed="2xx")
    return f"{host}:{port} answered {reply.status}"


def sign(secret: str, moment: str, body: bytes) -> str:
    """Signature of a body sent at a moment.

    Examples
    --------
    >>> sign("plum", "0", b"{}")[:19]
    'sha256=7a8e99b1cdf4'
    """
    content = moment.encode() + b"." + body
    return "sha256=" + hmac.new(secret.encode(), content, hashlib.sha256).hexdigest()


def choose_address(host: str, port: int, *, allow_private: bool) -> str:
    """Address to connect to; every address of the name must be public, or none is.

    Raises
    ------
    InputError
        One of them is not public.
    ServiceAway
        The name has no address.
    """
    try:
        found = [str(info[4][0]) for info in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)]
    except (OSError, UnicodeError) as error:
        raise ServiceAway("webhook's name has no address", where=host, got=_short(error)) from error
    private = [address for address in found if not is_public(address)]
    if private and not allow_private:
        raise InputError(
            "webhook leads to a private address",
            where=host,
            got=", ".join(dict.fromkeys(private)),
            allowed="a public one, or allow_private: true in the rule file",
        )
    return found[0]


def is_public(address: str) -> bool:
    """Whether an address is of the public internet; IPv4 inside IPv6 counts as what it leads to.

    Examples
    --------
    >>> is_public("93.184.215.14"), is_public("169.254.169.254"), is_public("::ffff:127.0.0.1")
    (True, False, False)
    """
    found = ipaddress.ip_address(address.partition("%")[0])
    if isinstance(found, ipaddress.IPv6Address):
        inner = found.ipv4_mapped or found.sixtofour or (found.teredo[1] if found.teredo else None)
        if inner is not None:
            return is_public(str(inner))
        if found in _TRANSLATED:
            return is_public(str(ipaddress.IPv4Address(int(found) & 0xFFFFFFFF)))
        if found not in _UNICAST:  # site-local, IPv4-compatible, a translator's own prefix: nobody else's business
            return False
    return found.is_global and not found.is_multicast and not any(found in network for network in _NOBODY)


#: NAT64 (RFC 6052): the last four bytes are an IPv4 address.
_TRANSLATED = ipaddress.ip_network("64:ff9b::/96")
#: All that is given out for the public internet (IANA, RFC 4291).
_UNICAST = ipaddress.ip_network("2000::/3")
#: For documentation (RFC 9637), and the relays of 6to4 that are no more (RFC 7526).
_NOBODY = (ipaddress.ip_network("3fff::/20"), ipaddress.ip_network("192.88.99.0/24"))


class _Pinned(http.client.HTTPConnection):
    """A connection to one address, by the name for TLS and for the Host header."""

    def __init__(self, host: str, port: int, address: str, *, encrypted: bool) -> None:
        super().__init__(host, port, timeout=TIMEOUT_SECONDS)
        self.default_port = 443 if encrypted else 80
        self._address, self._encrypted = address, encrypted

    def connect(self) -> None:
        """Connect to the address that was judged."""
        self.sock = socket.create_connection((self._address, self.port), TIMEOUT_SECONDS)
        if self._encrypted:
            self.sock = ssl.create_default_context().wrap_socket(self.sock, server_hostname=self.host)


def _short(error: Exception) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"
