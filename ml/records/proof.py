"""Whether the gate stops what it must stop, and lets pass what it must let pass."""

from __future__ import annotations

from ml.records.base import Record, UtcTime


class MutantResult(Record):
    """What became of one model with a seeded fault, or of a good one.

    Attributes
    ----------
    good
        Whether it has no fault and must pass.
    killed
        Whether some stage stopped it.
    by
        Stages and rules that did; empty where none did.
    evidence
        What they said.
    """

    name: str
    good: bool
    killed: bool
    by: tuple[str, ...]
    evidence: str

    @property
    def right(self) -> bool:
        """Whether that is as it must be."""
        return self.killed != self.good


class GateProof(Record):
    """What became of every mutant and of every good model.

    Attributes
    ----------
    skipped
        Mutants that the use case has no place for, with the reason.
    """

    use_case: str
    as_of: UtcTime
    rows: int
    mutants: tuple[MutantResult, ...]
    skipped: dict[str, str]
    seconds: float

    @property
    def holds(self) -> bool:
        """Every mutant was killed, no good model was, and there were some of both."""
        kinds = {mutant.good for mutant in self.mutants}
        return kinds == {True, False} and all(mutant.right for mutant in self.mutants)

    @property
    def survivors(self) -> tuple[str, ...]:
        """Mutants that nobody stopped."""
        return tuple(m.name for m in self.mutants if not m.good and not m.killed)

    @property
    def false_kills(self) -> tuple[str, ...]:
        """Good models that were stopped."""
        return tuple(m.name for m in self.mutants if m.good and m.killed)
