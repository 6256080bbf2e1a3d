"""The folder of the ledger's key pair and its head, apart from the database that holds the entries.

``signing.pem``
    Private key, Ed25519, readable by its owner alone; made once, with the first entry.
``public.pem``
    Public key; who wants to verify without trusting this machine keeps a copy elsewhere.
``head.json``
    Number and link of the newest entry, signed: a ledger that lost its end disagrees with it.
"""

from __future__ import annotations

import fcntl
import json
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
)

from ml.errors import InputError
from ml.records.base import write_atomically
from ml.store.verify_ledger import GENESIS, canonical, head_content, load_key


class LedgerFolder:
    """Key pair and head of one ledger.

    Parameters
    ----------
    path
        Made with the key; nothing is written before the first entry.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    @cached_property
    def private_key(self) -> Ed25519PrivateKey:
        """Key that signs entries.

        Raises
        ------
        InputError
            It is absent, cannot be read, or is none.
        """
        key = self._load("signing.pem", lambda content: load_pem_private_key(content, password=None))
        if not isinstance(key, Ed25519PrivateKey):
            raise InputError("key of the ledger is not of Ed25519", where=str(self.path / "signing.pem"))
        return key

    def public_key(self) -> Ed25519PublicKey:
        """Key that verifies entries.

        Raises
        ------
        InputError
            It is absent, cannot be read, or is none.
        """
        key: Ed25519PublicKey = self._load("public.pem", load_key)
        return key

    def head(self) -> dict[str, Any] | None:
        """The signed head as it is kept; None when it is absent or no JSON."""
        try:
            found = json.loads((self.path / "head.json").read_bytes())
        except (OSError, ValueError):
            return None
        return found if isinstance(found, dict) else None

    def sign(self, content: bytes) -> str:
        """Signature in hex."""
        return self.private_key.sign(content).hex()

    def signed_head(self, number: int, link: str) -> dict[str, Any]:
        """Head of a ledger that ends with this entry."""
        return {"number": number, "link": link, "signature": self.sign(head_content(number, link))}

    def advance(self, head: dict[str, Any]) -> None:
        """Keep a head unless a newer one is kept already: writers come here in any order.

        A head that vanished since the entry was added stays away: the next writer and the verification say so.
        """
        with self._alone():
            kept = self.head()
            if kept is not None and kept.get("number", -1) < head["number"]:
                write_atomically(self.path / "head.json", canonical(head) + b"\n")

    def replace_head(self, head: dict[str, Any]) -> None:
        """Keep a head whatever is kept: a broken one is no reason to refuse it."""
        with self._alone():
            write_atomically(self.path / "head.json", canonical(head) + b"\n")

    def make(self) -> None:
        """Make the key pair and the head of an empty ledger, once; of several processes one makes them.

        Raises
        ------
        InputError
            The folder cannot be written.
        """
        try:
            with self._alone():
                if not (self.path / "signing.pem").exists():
                    self._make_key()
        except OSError as error:
            raise InputError(
                "key of the ledger cannot be made", where=str(self.path), got=error.strerror or str(error)
            ) from error

    def _make_key(self) -> None:
        """Private key last: as long as it is absent, nothing was signed, and the rest is made again."""
        key = Ed25519PrivateKey.generate()
        public = key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
        head = {"number": 0, "link": GENESIS, "signature": key.sign(head_content(0, GENESIS)).hex()}
        write_atomically(self.path / "public.pem", public)
        (self.path / "public.pem").chmod(0o644)
        write_atomically(self.path / "head.json", canonical(head) + b"\n")
        # mkstemp's mode is 600, and write_atomically moves that very file into place: it is never wider than that
        write_atomically(
            self.path / "signing.pem", key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        )

    @contextmanager
    def _alone(self) -> Iterator[None]:
        self.path.mkdir(parents=True, exist_ok=True)
        with (self.path / ".lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield

    def _load(self, name: str, parse: Any) -> Any:
        path = self.path / name
        try:
            return parse(path.read_bytes())
        except OSError as error:
            fact = "is absent" if isinstance(error, FileNotFoundError) else "cannot be read"
            raise InputError(
                f"key of the ledger {fact}",
                where=str(path),
                got=error.strerror or "",
                allowed="the key that signed the entries so far; a new one is made for an empty ledger only",
            ) from error
        except (ValueError, TypeError) as error:
            raise InputError("key of the ledger is no such key", where=str(path), got=str(error)) from error
