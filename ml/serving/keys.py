"""Who may do what: a bearer token is looked up by its hash, in a file that may change while the replica runs."""

from __future__ import annotations

import ipaddress
import logging
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Literal

from ml.errors import DataError, StackError
from ml.records.api_key import KeyRing, Scope, digest_token
from ml.records.codes import Code
from ml.serving.problem import RequestRefused

#: How old the keys that are asked may be, seconds: so long works a key that was just revoked.
LOOK_SECONDS = 1.0

log = logging.getLogger(__name__)


class Keys:
    """Keys of a replica's clients.

    Parameters
    ----------
    path
        Of the key ring; None when nobody is asked for a key.

    Raises
    ------
    StackError
        There is no key ring with a live key.
    """

    def __init__(self, path: Path | None) -> None:
        self._path = path
        self._scopes: dict[str, frozenset[Scope]] = {}
        self._looked, self._seen = -LOOK_SECONDS, (0, 0)
        if path is not None and not self._read(path):
            raise StackError("no key would be let in", where=str(path), got="no live key", allowed="perennial key new")

    def check(self, headers: Mapping[bytes, bytes], scope: Scope) -> None:
        """Return when the headers hold a key that allows the scope.

        Raises
        ------
        RequestRefused
            There is none (401), or it allows other scopes only (403).
        """
        if self._path is None:
            return
        now = time.monotonic()
        if now - self._looked > LOOK_SECONDS:
            self._read(self._path)
        kind, _, token = headers.get(b"authorization", b"").decode("latin-1").partition(" ")
        scopes = self._scopes.get(digest_token(token.strip())) if kind.lower() == "bearer" else None
        if scopes is None:
            raise RequestRefused(Code.NOT_ALLOWED, "a key is needed: the header Authorization: Bearer and the key")
        if scope not in scopes:
            detail = f"the key does not allow scope {scope}; it allows {', '.join(sorted(scopes))}"
            raise RequestRefused(Code.NOT_ALLOWED, detail, status=403)

    def _read(self, path: Path) -> bool:
        """Whether the file lets a key in; one that is gone lets nobody in, a broken one changes nothing."""
        self._looked = time.monotonic()
        try:
            stat = path.stat()
        except OSError:
            self._scopes, self._seen = {}, (0, 0)
            return False
        if (stat.st_mtime_ns, stat.st_ino) != self._seen:
            try:
                ring = KeyRing.read(path)
            except DataError as error:
                log.error("keys not understood; those before stay: %s", error)  # noqa: TRY400 - it says all
                return bool(self._scopes)
            self._seen = (stat.st_mtime_ns, stat.st_ino)
            self._scopes = {key.digest: frozenset(key.scopes) for key in ring.live()}
        return bool(self._scopes)


def needs_keys(asked: Literal["auto", "required", "off"], host: str) -> bool:
    """Whether clients are asked for a key: ``auto`` is yes wherever others than this machine can connect.

    Examples
    --------
    >>> needs_keys("auto", "127.0.0.1"), needs_keys("auto", "0.0.0.0"), needs_keys("off", "0.0.0.0")
    (False, True, False)
    """
    if asked != "auto":
        return asked == "required"
    try:
        return not ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host != "localhost"
