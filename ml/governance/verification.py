"""Is everything as it was written: the ledger's chain, the records behind it, and the registry."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from datetime import datetime
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from ml.governance.reconcile import known_use_cases, reconcile, registry_heads
from ml.registry.port import Registry
from ml.store.control import ControlStore
from ml.store.ledger import BrokenLedgerError
from ml.store.verify_ledger import NEWEST, Finding, Verification, verify_lines


def verify_ledger(
    control: ControlStore,
    *,
    key: Ed25519PublicKey | None = None,
    newest: int | None = NEWEST,
    heads: Mapping[str, Any] | None = None,
) -> Verification:
    """Chain, records, signatures and heads of the ledger; an installation without any record is sound.

    Parameters
    ----------
    key
        Public key from a source that is trusted; the installation's own when it is None.
    heads
        Signed heads that others keep, by who.

    Raises
    ------
    InputError
        The public key is absent although there are entries.
    """
    kept = control.ledger_folder.head()  # before the entries: one that is added meanwhile is no contradiction
    if kept is None and not heads and not control.ledger_use_cases():
        return Verification(0, ())
    public = key or control.ledger_folder.public_key()
    try:
        found = verify_lines(control.ledger_lines(), public, heads={"kept head": kept, **(heads or {})}, newest=newest)
    except ValueError as error:  # a moment in the database that is none
        return Verification(0, (Finding("control database", f"cannot be read: {error}"),))
    return _with(found, (Finding(name, "record is not in the ledger") for name in control.unrecorded()))


def verify_all(
    control: ControlStore,
    registry: Registry,
    use_cases: tuple[str, ...],
    *,
    now: datetime,
    key: Ed25519PublicKey | None = None,
    newest: int | None = NEWEST,
) -> Verification:
    """The ledger, and what the registry says otherwise.

    Parameters
    ----------
    use_cases
        Those that are known beside those in the ledger.

    Raises
    ------
    InputError
        The public key is absent although there are entries.
    ServiceAway
        The registry does not answer.
    """
    names = known_use_cases(control, use_cases)
    found = verify_ledger(control, key=key, newest=newest, heads=registry_heads(registry, names))
    try:
        return _with(found, tuple(reconcile(control, registry, names, now=now)))
    except (BrokenLedgerError, ValueError) as error:  # pydantic's refusal of a record is a ValueError
        return _with(found, (Finding("registry", f"cannot be compared, a record is unreadable: {error}"),))


def _with(found: Verification, more: Iterable[Finding]) -> Verification:
    return replace(found, findings=(*found.findings, *more))
