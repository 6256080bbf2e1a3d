"""What a drill found: each seeded fault, who noticed, what was done about it, and whether anybody was told nonsense."""

from __future__ import annotations

from pydantic import Field

from ml.records.base import Record, UtcTime


class FaultResult(Record):
    """What became of one seeded fault.

    Attributes
    ----------
    code
        Of the scoring service's table; 0 when none fits.
    problem
        Why it could not be injected or watched; empty when it was.
    noticed
        People were told of it, by an alert that is about it.
    seconds_to_notice
        From the fault until the notice was in the mailbox; None when there was none.
    alert
        Rule of that notice.
    action
        Who repaired it, or was to: a runbook, the supervisor, the next channel; empty where it takes a person.
    repaired
        The system works again before the drill undid anything; None where nobody is meant to repair it but a person.
    wrong_repair
        Repairs of what was not broken, and repairs that claim to have repaired and have not.
    also
        Other rules that told people meanwhile.
    undone
        After the drill has taken the fault back, everything works again.
    """

    name: str
    code: int
    injects: str
    problem: str = ""
    noticed: bool = False
    seconds_to_notice: float | None = None
    alert: str = ""
    action: str = ""
    repaired: bool | None = None
    seconds_to_repair: float | None = None
    wrong_repair: int = 0
    also: tuple[str, ...] = ()
    undone: bool = True


class DrillResult(Record):
    """A drill.

    Attributes
    ----------
    tick
        Seconds between two looks of the alerting DAG while it was drilled.
    limit
        Seconds in which each fault must be noticed: two runs of the alerting DAG, which is scheduled each minute.
    skipped
        Faults that do not apply here, with why.
    requests, answered, refused, unheard, wrong
        Of the traffic that ran all the time; ``wrong`` answers are not what the named model gives.
    """

    started_at: UtcTime
    seconds: float
    tick: float
    limit: float
    faults: tuple[FaultResult, ...]
    skipped: dict[str, str] = Field(default_factory=dict)
    requests: int
    answered: int
    refused: dict[int, int]
    unheard: int
    wrong: int
    first_wrong: tuple[str, ...] = ()

    @property
    def holds(self) -> bool:
        """Whether every fault was noticed in time and repaired where that is declared, and nothing wrong was done."""
        return bool(self.faults) and not self.wrong and all(self.is_mastered(fault) for fault in self.faults)

    def is_mastered(self, fault: FaultResult) -> bool:
        """Whether a fault was noticed in time, repaired if somebody is meant to, and harmed nothing else."""
        in_time = fault.seconds_to_notice is not None and fault.seconds_to_notice <= self.limit
        repaired = fault.repaired is not False and not fault.wrong_repair
        return not fault.problem and fault.noticed and in_time and repaired and fault.undone
