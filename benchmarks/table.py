"""The table of a run."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from rich.table import Table


@dataclass(frozen=True)
class Comparison:
    """Ours beside one peer.

    Attributes
    ----------
    what
        What was measured, with its unit.
    value, peer_value
        Medians of ``n`` rounds.
    times
        How many times better ours is; above 1 is better than the peer.
    """

    what: str
    ours: str
    value: float
    peer: str
    peer_value: float
    times: float
    n: int


def draw(found: Iterable[Comparison]) -> Table:
    """Table of comparisons."""
    table = Table("measured", "ours", "peer", "", "times better", "rounds", caption="medians of interleaved rounds")
    for row in found:
        table.add_row(row.what, f"{row.value:,.3g}", row.peer, f"{row.peer_value:,.3g}", f"{row.times:.1f}", str(row.n))
    return table
