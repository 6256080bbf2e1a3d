"""Blocks of new rows that were put aside, and the person who let one back in."""

from __future__ import annotations

from ml.records.base import Record, UtcTime


class SuspiciousBlock(Record):
    """A block of new rows that no model sees until a person releases it.

    Attributes
    ----------
    block
        Its name: the start of its time, and who told its labels where that is known.
    rows
        Rows when it was put aside; later ones of the same block stay outside as well.
    reason
        Which screens it did not pass, with their numbers.
    """

    block: str
    rows: int
    reason: str


class QuarantineRelease(Record):
    """A person's word that a block is sound.

    Attributes
    ----------
    actor
        Who released it.
    """

    use_case: str
    block: str
    actor: str
    reason: str
    time: UtcTime
