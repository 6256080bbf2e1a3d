"""The one way in which the alias ``champion`` moves: first the ledger knows, then the registry is told.

Killed between the two, the ledger says more than the registry; the same move again ends both alike. The registry
keeps the ledger's signed head beside the model, where who can write to the control database cannot reach it.
"""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING

from ml.errors import ConflictError
from ml.records.governance import AliasMove
from ml.store.control import ControlStore
from ml.store.ledger import Entry

if TYPE_CHECKING:
    from ml.registry.port import Registry  # brings pandas, which who only reads the ledger has no need of

#: Kind of the records that say where the alias should be.
ALIAS = "alias"


def move_alias(
    move: AliasMove,
    *,
    key: str,
    registry: Registry,
    control: ControlStore,
    actor: str,
    now: datetime,
    as_of: datetime | None = None,
    back: bool = False,
) -> None:
    """Record a move of the alias and make it; the same key again makes it once.

    Parameters
    ----------
    as_of
        Virtual moment that it speaks of; now when it is None.
    back
        Allow a version whose data is older than the champion's.

    Raises
    ------
    InputError
        There is no such version.
    ConflictError
        The champion was trained on newer data, or the alias has moved on since this very move was recorded.
    BrokenLedgerError
        The ledger is broken; nothing moves.
    """
    if move.version is not None:
        registry.check_move(move.use_case, move.version, back=back)
    control.record(ALIAS, key, move, use_case=move.use_case, as_of=as_of or now, now=now, actor=actor)
    newest = newest_move(control, move.use_case)
    if newest is None or newest.key != key:
        got = "nothing" if newest is None else f"entry {newest.number}, {newest.key}"
        raise ConflictError("the alias has moved on", where=key, got=got, allowed="the newest move in the ledger")
    current = registry.champion(move.use_case)
    if (current.version if current else None) != move.version:
        registry.set_champion(move.use_case, move.version)
    keep_head(registry, control, move.use_case)


def keep_head(registry: Registry, control: ControlStore, use_case: str) -> None:
    """Let the registry keep the ledger's newest head."""
    head = control.ledger_folder.head()
    if head is not None:
        registry.keep_head(use_case, head)


def newest_move(control: ControlStore, use_case: str) -> Entry | None:
    """The entry that says where the alias should be; None before the first move."""
    found = control.ledger_entries(kinds=(ALIAS,), use_case=use_case, limit=1)
    return found[0] if found else None
