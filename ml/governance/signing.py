"""Signatures under the change envelope: made by a person, kept by the ledger, void when the file changes.

The ledger's key signs unless ``retraining.envelope.signers`` names people with keys of their own; then only those
count. The signature is over the hash of the whole use case file: a looser gate would make the envelope looser, too.
"""

from __future__ import annotations

import json
from datetime import datetime
from pathlib import Path

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_private_key

from ml.errors import InputError
from ml.governance.authorise import check_reviewer
from ml.records.approval import EnvelopeSignature
from ml.records.governance import AliasMove
from ml.registry.alias import ALIAS
from ml.store.control import ControlStore
from ml.store.verify_ledger import is_signed
from ml.use_case import UseCase

ENVELOPE = "envelope"

#: Moves of the alias that nobody was asked about.
BY_ITSELF = ("gate", "envelope")


def sign_envelope(
    use_case: UseCase,
    *,
    control: ControlStore,
    actor: str,
    reason: str,
    now: datetime,
    key: Ed25519PrivateKey | None = None,
) -> EnvelopeSignature:
    """Sign the envelope as it is in the file, and record the signature.

    Parameters
    ----------
    key
        The person's own; the ledger's when it is None.

    Raises
    ------
    InputError
        The mode is not ``envelope``, the person or their key may not sign, or the ledger's key is absent.
    BrokenLedgerError
        The ledger is broken; nothing is signed.
    """
    check_reviewer(use_case, actor)
    if use_case.retraining.mode != "envelope":
        raise InputError(
            "there is no envelope to sign",
            where=f"{use_case.name} retraining.mode",
            got=use_case.retraining.mode,
            allowed="envelope",
        )
    if not control.ledger_entries(limit=1):
        control.ledger_folder.make()  # this may be the first entry
    signing = key or control.ledger_folder.private_key
    unsigned = EnvelopeSignature(
        use_case=use_case.name,
        use_case_hash=use_case.hash,
        signed_by=actor,
        reason=reason,
        signed_at=now,
        expires_at=now + use_case.retraining.envelope.valid,
        public_key=_hex(signing.public_key()),
    )
    _check_signer(unsigned, use_case, control)
    signed = unsigned.model_copy(update={"signature": signing.sign(_content(unsigned)).hex()})
    name = use_case.name
    control.record(ENVELOPE, f"{name}/{now.isoformat()}", signed, use_case=name, as_of=now, now=now, actor=actor)
    return signed


def find_signature(use_case: UseCase, control: ControlStore, *, now: datetime) -> tuple[str, str]:
    """Who has signed the envelope as it is now, and why no signature holds; one of the two is empty.

    Raises
    ------
    InputError
        The ledger's public key cannot be read.
    """
    newest = control.ledger_entries(kinds=(ENVELOPE,), use_case=use_case.name, limit=1)
    if not newest:
        return "", f"nobody has signed it: perennial policy sign {use_case.name} --reason ..."
    try:
        signature = EnvelopeSignature.model_validate_json(newest[0].payload)
    except ValueError:
        return "", f"the signature of entry {newest[0].number} is unreadable"
    fault = check_signature(signature, use_case, control, now=now)
    return ("", fault) if fault else (signature.signed_by, "")


def check_signature(signature: EnvelopeSignature, use_case: UseCase, control: ControlStore, *, now: datetime) -> str:
    """Why a signature does not hold; empty where it does."""
    by = f"the signature of {signature.signed_by}"
    try:
        key = Ed25519PublicKey.from_public_bytes(bytes.fromhex(signature.public_key))
        _check_signer(signature, use_case, control)
    except InputError as error:
        return f"{by} does not count: {error}"
    except (ValueError, UnsupportedAlgorithm):
        return f"{by} has no usable public key"
    if not is_signed(key, signature.signature, _content(signature)):
        return f"{by} was edited: it does not fit what it signs"
    if (signature.use_case, signature.use_case_hash) != (use_case.name, use_case.hash):
        return f"the use case file was changed since {signature.signed_by} signed it"
    if not signature.signed_at <= now < signature.expires_at:
        return f"{by} holds from {signature.signed_at:%Y-%m-%d %H:%M} to {signature.expires_at:%Y-%m-%d %H:%M} UTC"
    return ""


def count_by_itself(control: ControlStore, use_case: str) -> int:
    """Promotions since a person's last word: an approval, a move by hand, a signature under the envelope."""
    count = 0
    for entry in control.ledger_entries(kinds=(ALIAS, ENVELOPE), use_case=use_case):
        if entry.kind == ENVELOPE:
            break
        by = AliasMove.model_validate_json(entry.payload).by
        if by in BY_ITSELF:
            count += 1
        elif by != "roll_back":
            break
    return count


def load_private_key(path: Path) -> Ed25519PrivateKey:
    """A person's own key of a PEM file.

    Raises
    ------
    InputError
        It cannot be read, or is no private key of Ed25519 without a password.
    """
    try:
        key = load_pem_private_key(path.read_bytes(), password=None)
    except (OSError, ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise InputError("no private key", where=str(path), got=str(error), allowed="a PEM file of Ed25519") from error
    if not isinstance(key, Ed25519PrivateKey):
        raise InputError("no private key", where=str(path), got=type(key).__name__, allowed="a PEM file of Ed25519")
    return key


def _check_signer(signature: EnvelopeSignature, use_case: UseCase, control: ControlStore) -> None:
    signers = use_case.retraining.envelope.signers
    expected = signers.get(signature.signed_by) if signers else _hex(control.ledger_folder.public_key())
    if signature.public_key != expected:
        raise InputError(
            "not a key that may sign the envelope",
            where=f"{use_case.name} retraining.envelope.signers",
            got=f"{signature.signed_by} {signature.public_key[:16]}",
            allowed=", ".join(f"{name} {key[:16]}" for name, key in signers.items()) or "the ledger's key",
        )


def _content(signature: EnvelopeSignature) -> bytes:
    told = signature.model_dump(mode="json", exclude={"signature"})
    return json.dumps(told, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()


def _hex(key: Ed25519PublicKey) -> str:
    return key.public_bytes(Encoding.Raw, PublicFormat.Raw).hex()
