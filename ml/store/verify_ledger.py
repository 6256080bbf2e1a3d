r"""The ledger's format, and its verifier, in one file that needs Python 3.11 and ``cryptography``, nothing of ours.

``python verify_ledger.py EXPORT --key PUBLIC_KEY``: exit code 0 sound, 1 broken, 2 bad input.

An export is JSON, one object a line: first ``{"head", "ledger"}``, then ``{"entry", "payload", "signature"}`` for each
entry, oldest first. The product writes and verifies with this same code.

Canonical form
    Keys sorted, no space, only ``"``, ``\`` and control characters escaped, UTF-8: RFC 8785 for texts and whole
    numbers below 2**53, which is all that an entry holds.
Signature
    Ed25519 (RFC 8032) over the canonical entry, 128 lower-case hex digits.
Link
    SHA-256 over the signature's text and the canonical entry. ``previous`` of the next entry is this one's link, so
    that an entry vouches for every entry and every signature before it.
Head
    Number and link of the newest entry, signed, kept outside the database: what is cut off its end disagrees with it.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import re
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import load_pem_public_key

FORMAT = "perennial/1"

#: ``previous`` of the first entry, and link of the head of an empty ledger.
GENESIS = "0" * 64

#: Kind of the entry by which a person let a broken ledger go on.
RESUMED = "ledger_resumed"

#: Newest entries whose own signatures are checked, less than half a second; the chain vouches for those of older ones.
NEWEST = 2_000

_TEXTS = ("actor", "as_of", "key", "kind", "payload_sha256", "previous", "time", "use_case")
_FIELDS = {"number", *_TEXTS}
_HEX_SIGNATURE = re.compile(r"[0-9a-f]{128}")


@dataclass(frozen=True)
class Line:
    """One entry as it was found, with its signature and the record that it is about.

    Attributes
    ----------
    payload
        The record's JSON; None when the record is absent.
    problem
        What is wrong with the line before anything is verified.
    """

    entry: Mapping[str, Any]
    signature: str
    payload: str | None
    problem: str = ""


@dataclass(frozen=True)
class Finding:
    """Something that is not as it was written.

    Attributes
    ----------
    record
        Number of the entry, or the name of what is not in the ledger.
    """

    record: int | str
    problem: str


@dataclass(frozen=True)
class Verification:
    """What a verification found; ``head`` is number and link of the last entry read."""

    records: int
    findings: tuple[Finding, ...]
    number: int = 0
    link: str = GENESIS
    resumed: int = 0

    @property
    def ok(self) -> bool:
        """Whether nothing was found."""
        return not self.findings

    @property
    def standing(self) -> tuple[Finding, ...]:
        """Findings that no person has answered by letting the ledger go on."""
        return tuple(f for f in self.findings if not isinstance(f.record, int) or f.record > self.resumed)


def canonical(content: Mapping[str, Any]) -> bytes:
    r"""Bytes of an object of texts and whole numbers that every implementation agrees on.

    Examples
    --------
    >>> canonical({"b": "é\n", "a": 1})
    b'{"a":1,"b":"\xc3\xa9\\n"}'
    """
    return json.dumps(content, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()


def link_of(signature: str, entry: bytes) -> str:
    """What the next entry's ``previous`` has to be: SHA-256 over the signature's text and the canonical entry."""
    return hashlib.sha256(signature.encode() + entry).hexdigest()


def digest_of(payload: str) -> str:
    """SHA-256 of a record's JSON."""
    return hashlib.sha256(payload.encode()).hexdigest()


def head_content(number: int, link: str) -> bytes:
    """What a head's signature is over."""
    return canonical({"head": number, "link": link})


def is_signed(key: Ed25519PublicKey, signature: str, content: bytes) -> bool:
    """Whether a signature in lower-case hex is the key's, over exactly this content."""
    if not isinstance(signature, str) or not _HEX_SIGNATURE.fullmatch(signature):
        return False
    try:
        key.verify(bytes.fromhex(signature), content)
    except InvalidSignature:
        return False
    return True


def verify_lines(
    lines: Iterable[Line], key: Ed25519PublicKey, *, heads: Mapping[str, Any] | None = None, newest: int | None = NEWEST
) -> Verification:
    """Check numbers, chain, payloads, signatures and heads.

    Where nothing else is found, signatures of the ``newest`` entries are checked: each older one, and its signature,
    is part of the links that those sign. Where something is found, every signature is checked, to tell which entries
    were not written by the holder of the key.

    Parameters
    ----------
    heads
        Signed heads from outside the database, by where they were found.
    newest
        None checks every signature.
    """
    chain = _Chain()
    for line in lines:
        chain.read(line)
    chain.check_heads(key, heads or {})
    chain.check_signatures(key, None if chain.findings else newest)
    findings = tuple(sorted(chain.findings, key=lambda f: (isinstance(f.record, str), str(f.record).zfill(20))))
    return Verification(len(chain.signed), findings, chain.number, chain.link, chain.resumed)


@dataclass
class _Chain:
    """What was read so far."""

    number: int = 0
    link: str = GENESIS
    resumed: int = 0
    findings: list[Finding] = field(default_factory=list)
    signed: list[tuple[int, str, bytes]] = field(default_factory=list)
    links: dict[int, str] = field(default_factory=dict)

    def read(self, line: Line) -> None:
        """Take the next line; what is wrong with it becomes a finding."""
        shape = _shape_problem(line.entry, line.signature)
        if line.problem or shape:
            self.note(self.number + 1, line.problem or shape)
        if shape:
            self.number += 1
            self.link = "unreadable"
            self.signed.append((self.number, "", b""))
            return
        entry, number = line.entry, int(line.entry["number"])
        if number != self.number + 1:
            self.note(number, f"follows entry {self.number}: {_gap(self.number, number)}")
        if entry["previous"] != self.link:
            self.note(number, f"does not continue the entry before it: previous {entry['previous'][:12]}…")
        if line.payload is None:
            self.note(number, f"its record is absent: {entry['kind']} {entry['key']}")
        elif digest_of(line.payload) != entry["payload_sha256"]:
            self.note(number, f"its record was changed: {entry['kind']} {entry['key']}")
        content = canonical(entry)
        self.number, self.link = number, link_of(line.signature, content)
        self.links[number] = self.link
        self.signed.append((number, line.signature, content))
        if entry["kind"] == RESUMED:
            self.resumed = number
            self.note(number, f"the ledger was broken before it; {entry['actor']} let it go on")

    def check_heads(self, key: Ed25519PublicKey, heads: Mapping[str, Any]) -> None:
        """Compare with what was kept elsewhere."""
        for name, head in heads.items():
            problem = self._head_problem(key, head)
            if problem:
                number = head.get("number") if isinstance(head, dict) else None
                answered = isinstance(number, int) and number < self.resumed
                self.note(number if answered and number else name, problem)

    def _head_problem(self, key: Ed25519PublicKey, head: Any) -> str:
        if not isinstance(head, dict) or not isinstance(head.get("number"), int):
            return "is no head of a ledger"
        number, link = head["number"], str(head.get("link"))
        if not is_signed(key, head.get("signature", ""), head_content(number, link)):
            return "head is not signed by the ledger's key"
        if number > self.number:
            return f"says that the ledger has entry {number}; it ends at entry {self.number}"
        if (self.links.get(number) if number else GENESIS) != link:
            return f"says that entry {number} is another one"
        return ""

    def check_signatures(self, key: Ed25519PublicKey, newest: int | None) -> None:
        """Check the newest signatures, or all."""
        for number, signature, content in self.signed if newest is None else self.signed[-newest:]:
            if content and not is_signed(key, signature, content):
                self.note(number, "is not signed by the ledger's key")

    def note(self, record: int | str, problem: str) -> None:
        """Keep a finding."""
        self.findings.append(Finding(record, problem))


def _shape_problem(entry: Mapping[str, Any], signature: object) -> str:
    if not isinstance(entry, dict) or set(entry) != _FIELDS:
        return "is no entry: its fields are not those of one"
    if type(entry["number"]) is not int or not 0 < entry["number"] < 2**53:
        return "is no entry: its number is none"
    if not isinstance(signature, str) or not all(isinstance(entry[name], str) for name in _TEXTS):
        return "is no entry: a field is no text"
    return ""


def _gap(before: int, number: int) -> str:
    if number <= before:
        return "out of order, or there twice"
    missing = number - before - 1
    return f"{missing} missing between them" if missing > 1 else f"entry {before + 1} is missing"


def read_export(content: bytes) -> tuple[Any, Iterator[Line]]:
    """Head and lines of an export.

    Raises
    ------
    ValueError
        The content is no export.
    """
    first, *rest = content.split(b"\n")
    header = _parse(first)
    if not isinstance(header, dict) or set(header) != {"head", "ledger"} or header["ledger"] != FORMAT:
        raise ValueError(f"no export of a ledger: the first line does not name the format {FORMAT}")
    return header["head"], (_read_line(text) for text in (rest[:-1] if rest and rest[-1] == b"" else [*rest, b""]))


def _read_line(text: bytes) -> Line:
    found = _parse(text)
    if not isinstance(found, dict) or set(found) != {"entry", "payload", "signature"}:
        return Line({}, "", None, problem="line is no entry of a ledger")
    if not _is_canonical(found, text):
        return Line({}, "", None, problem="line is not in canonical form")
    payload = found["payload"] if isinstance(found["payload"], str) else None
    return Line(found["entry"], found["signature"], payload)


def _is_canonical(found: Mapping[str, Any], text: bytes) -> bool:
    """Whether the text is the only one that this content has: nothing can hide in how it is written."""
    try:
        return canonical(found) == text
    except UnicodeEncodeError:  # half of a surrogate pair has no UTF-8
        return False


def _parse(text: bytes) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None


def load_key(content: bytes) -> Ed25519PublicKey:
    """Public key of its PEM text.

    Raises
    ------
    ValueError
        It is none, or not of Ed25519.
    """
    key = load_pem_public_key(content)
    if not isinstance(key, Ed25519PublicKey):
        raise ValueError("not a key of Ed25519")  # noqa: TRY004 - bad input, not a wrong call
    return key


def main(
    arguments: list[str], say: Callable[[str], object] = print, complain: Callable[[str], object] = sys.stderr.write
) -> int:
    """Verify an export; returns the exit code."""
    parser = argparse.ArgumentParser("verify_ledger.py", description="Verify an exported ledger of Perennial.")
    parser.add_argument("export", type=Path, help="ledger.jsonl, as `perennial ledger export` writes it")
    parser.add_argument("--key", type=Path, required=True, help="public key, PEM; from a source that you trust")
    parser.add_argument("--head", type=Path, help="a signed head that was kept elsewhere, JSON")
    parser.add_argument(
        "--every-signature", action="store_true", help=f"not only those of the newest {NEWEST:,} entries"
    )
    parser.add_argument("--json", action="store_true", help="one JSON object instead of lines")
    asked = parser.parse_args(arguments)
    try:
        key = load_key(asked.key.read_bytes())
        head, lines = read_export(asked.export.read_bytes())
        heads = {"head of the export": head}
        if asked.head:
            heads[str(asked.head)] = _parse(asked.head.read_bytes())
        found = verify_lines(lines, key, heads=heads, newest=None if asked.every_signature else NEWEST)
    except (OSError, ValueError) as error:
        complain(f"error: {error}\n")
        return 2
    told = [{"record": finding.record, "problem": finding.problem} for finding in found.findings]
    if asked.json:
        say(json.dumps({"ok": found.ok, "records": found.records, "findings": told}, indent=1, ensure_ascii=False))
        return 0 if found.ok else 1
    for finding in found.findings:
        say(f"{finding.record}: {finding.problem}")
    say(f"{'sound' if found.ok else 'BROKEN'}: {found.records} entries, {len(found.findings)} findings")
    return 0 if found.ok else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
