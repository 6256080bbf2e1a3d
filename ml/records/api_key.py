"""Keys of the scoring service's clients, as they lie on disk: hashed, with what each allows."""

from __future__ import annotations

import hashlib
from typing import Literal

from ml.records.base import Record, UtcTime

Scope = Literal["score", "label", "read"]
SCOPES: tuple[Scope, ...] = ("score", "label", "read")


class ApiKey(Record):
    """One client's key.

    Attributes
    ----------
    digest
        SHA-256 of the token, 64 hex digits. A token has 256 random bits, so that nobody finds it by trying: a slow
        hash would only slow the service down.
    scopes
        ``score`` rows, send a ``label``, ``read`` status, metrics and descriptions.
    """

    name: str
    digest: str
    scopes: tuple[Scope, ...]
    created_at: UtcTime
    revoked_at: UtcTime | None = None


class KeyRing(Record):
    """All keys of an installation, ``{var}/keys.json``; revoked ones stay, for the record."""

    keys: tuple[ApiKey, ...] = ()

    def live(self) -> tuple[ApiKey, ...]:
        """Keys that are not revoked."""
        return tuple(key for key in self.keys if key.revoked_at is None)


def digest_token(token: str) -> str:
    """SHA-256 of a token, as it is kept.

    Examples
    --------
    >>> digest_token("plum")[:8]
    '04672556'
    """
    return hashlib.sha256(token.encode()).hexdigest()
