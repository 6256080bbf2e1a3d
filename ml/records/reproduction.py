"""Whether a model, made again from what is on record, is the same."""

from __future__ import annotations

from ml.records.base import Record


class Compared(Record):
    """One thing that must be the same: what is on record, and what was found or made here."""

    what: str
    recorded: str
    found: str

    @property
    def same(self) -> bool:
        """Character by character."""
        return self.recorded == self.found


class Reproduction(Record):
    """A model made again.

    Attributes
    ----------
    equal
        Everything in ``compared`` is the same.
    candidate
        The one that was fitted again; the others have lost, and are not part of the model.
    compared
        Data, use case file, graph, package and metrics; a difference in one of them ends the comparison where what
        comes later needs it.
    circumstances
        What may explain a difference: code, libraries and processor, where they are not as they were.
    """

    use_case: str
    version: int
    equal: bool
    candidate: str
    compared: tuple[Compared, ...]
    circumstances: tuple[Compared, ...]
    seconds: float
