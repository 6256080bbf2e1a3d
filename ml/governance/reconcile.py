"""The ledger against the registry: aliases, versions, artifacts, and the head that the registry keeps."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from ml.errors import DataError, InputError
from ml.records.governance import CHAMPION, AliasMove, VersionMade
from ml.registry.alias import newest_move
from ml.registry.manifest import MODEL, PACKAGE, digest_file
from ml.registry.port import ModelVersion, Registry
from ml.store.control import ControlStore
from ml.store.ledger import Entry
from ml.store.verify_ledger import Finding

#: Kind of the records of versions.
VERSION = "version"

#: Longest time between an entry in the ledger and the registry's answer, in either order.
UNDER_WAY = timedelta(seconds=20)


def known_use_cases(control: ControlStore, others: tuple[str, ...] = ()) -> tuple[str, ...]:
    """Use cases that the ledger knows, and others."""
    return tuple(sorted((control.ledger_use_cases() | set(others)) - {""}))


def registry_heads(registry: Registry, use_cases: tuple[str, ...]) -> dict[str, Any]:
    """Heads of the ledger that the registry keeps, by where; what is none is None."""
    found = {}
    for name in use_cases:
        text = registry.kept_head(name)
        if text is not None:
            found[f"{name} ledger_head"] = _parse(text)
    return found


def reconcile(
    control: ControlStore, registry: Registry, use_cases: tuple[str, ...], *, now: datetime
) -> Iterator[Finding]:
    """What the registry says otherwise than the ledger.

    A move or a version of the last :data:`UNDER_WAY` may not be in both yet and is left out.

    Parameters
    ----------
    now
        UTC, of the world.

    Raises
    ------
    ServiceAway
        The registry does not answer.
    """
    made = control.ledger_entries(kinds=(VERSION,))
    for name in use_cases:
        yield from _alias(control, registry, name, now)
        yield from _versions([entry for entry in made if entry.use_case == name], registry, name, now)
        if registry.kept_head(name) is None and newest_move(control, name) is not None:
            yield Finding(f"{name} ledger_head", "the registry keeps no head of the ledger")


def _alias(control: ControlStore, registry: Registry, name: str, now: datetime) -> Iterator[Finding]:
    """An alias that is not where the newest recorded move left it."""
    where = f"{name} alias {CHAMPION}"
    try:
        champion = registry.champion(name)
    except InputError as error:
        yield Finding(where, f"points to what is no version of ours: {error}")
        return
    found, entry = champion.version if champion else None, newest_move(control, name)
    if entry is None:
        if found is not None:
            yield Finding(where, f"points to version {found}; the ledger knows of no move")
        return
    wanted = AliasMove.model_validate_json(entry.payload).version
    if found != wanted and not timedelta(0) <= now - entry.time < UNDER_WAY:
        told = f"by entry {entry.number} of the ledger ({entry.actor}) it should be {_name(wanted)}"
        yield Finding(where, f"points to {_name(found)}; {told}")


def _versions(made: list[Entry], registry: Registry, name: str, now: datetime) -> Iterator[Finding]:
    """Versions that are gone, were never recorded, or hold other bytes."""
    known = {}
    for entry in made:
        told = VersionMade.model_validate_json(entry.payload)
        known[told.version] = told
    for number, told in sorted(known.items()):
        where = f"{name} version {number}"
        try:
            version = registry.version(name, number)
        except InputError as error:
            yield Finding(where, f"is not in the registry as it was: {error}")
            continue
        yield from (Finding(where, problem) for problem in _changes(told, version, registry))
    for version in registry.versions(name):
        fresh = now - version.created_at < UNDER_WAY
        if known and version.version > min(known) and version.version not in known and not fresh:
            yield Finding(f"{name} version {version.version}", "was registered; the ledger does not know of it")


def _changes(told: VersionMade, version: ModelVersion, registry: Registry) -> Iterator[str]:
    """What a version says, and what its files are, otherwise than recorded."""
    for what in ("digest", "package_digest", "data_version", "fingerprint", "watermark", "use_case_hash"):
        if getattr(version, what) != getattr(told, what):
            yield f"its tag {what} is {getattr(version, what)}; recorded was {getattr(told, what)}"
    with tempfile.TemporaryDirectory() as scratch:
        try:
            folder = registry.fetch(version, Path(scratch) / "package")
        except (DataError, OSError) as error:
            yield f"its artifacts cannot be read: {error}"
            return
        for file, digest in ((MODEL, told.digest), (PACKAGE, told.package_digest)):
            if not (folder / file).is_file():
                yield f"its artifact {file} is absent"
            elif digest_file(folder / file) != digest:
                yield f"its artifact {file} was changed: digest {digest_file(folder / file)}, recorded was {digest}"


def _parse(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return None


def _name(number: int | None) -> str:
    return "no version" if number is None else f"version {number}"
