"""Moves of the alias ``champion`` that the ledger does not know: somebody moved it in the registry itself.

Each is a wish like any other, and is released by the same steps; whether it may be served, the release asks the ledger
(:mod:`ml.governance.authorise`), which then knows of it, as a person's move or as one that was taken back.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from ml.records.governance import AliasMove
from ml.registry.alias import ALIAS, newest_move
from ml.store.control import ControlStore

#: A move of ours is in the ledger first; so long it may take until it is seen in the registry.
IN_TRANSIT = timedelta(seconds=10)


@dataclass(frozen=True)
class UnknownMove:
    """The alias of a use case points to a version that the ledger did not send it to.

    Attributes
    ----------
    after
        Number of the newest move's entry in the ledger; 0 when it knows none.
    in_transit
        It may be the place from which a move of ours is just about to take the alias away.
    """

    use_case: str
    version: int
    after: int
    in_transit: bool = False

    @property
    def key(self) -> str:
        """Identity of this move among those of its use case: letters, digits, ``_``."""
        return f"alias__v{self.version}__after_{self.after}"


class UnknownMoves:
    """Looks again and again; as long as neither the aliases nor the ledger have moved, for one short question."""

    def __init__(self, control: ControlStore) -> None:
        self._control = control
        self._agreed: tuple[int, dict[str, int]] | None = None
        self._arrived: dict[str, int] = {}  # newest move that was seen where it had sent the alias, by use case

    def find(self, champions: Mapping[str, int], *, now: datetime) -> tuple[UnknownMove, ...]:
        """Moves that the ledger does not know.

        Parameters
        ----------
        champions
            Where the aliases point, by use case; read between ``now`` and this call, since a move of ours is in the
            ledger before it is made.

        Raises
        ------
        ServiceAway
            The control database does not answer.
        """
        newest = self._control.ledger_entries(kinds=(ALIAS,), limit=1)
        seen = (newest[0].number if newest else 0, dict(champions))
        if seen == self._agreed:
            return ()
        looked = [self._look(name, version, now) for name, version in champions.items()]
        found = [move for move in looked if move is not None]
        self._agreed = None if found else seen
        return tuple(move for move in found if not move.in_transit)

    def _look(self, use_case: str, version: int, now: datetime) -> UnknownMove | None:
        newest = newest_move(self._control, use_case)
        if newest is None:
            return UnknownMove(use_case, version, after=0)
        move = AliasMove.model_validate_json(newest.payload)
        if move.version == version:
            if newest.time <= now:  # else it may have been there before ours takes it away, and back
                self._arrived[use_case] = newest.number
            return None
        young = now - newest.time < IN_TRANSIT and self._arrived.get(use_case) != newest.number
        return UnknownMove(use_case, version, after=newest.number, in_transit=young and move.previous == version)
