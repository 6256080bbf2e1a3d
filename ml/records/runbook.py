"""Runbooks: what a repair found, did, saw afterwards, and took back."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from ml.records.base import Record, UtcTime

RunbookEnd = Literal["repaired", "not_needed", "limited", "reverted", "stuck"]


class RunbookStep(Record):
    """One step: pre-check, action, post-check or revert; ``ok`` is what was seen, not what was hoped."""

    name: Literal["pre_check", "action", "post_check", "revert"]
    ok: bool
    detail: str


class RunbookOrder(Record):
    """What is to be repaired by a process of its own, written before one is started.

    Attributes
    ----------
    key
        Of the notice that asks for it; the same key again is the same order.
    """

    runbook: str
    target: str
    actor: str
    reason: str
    evidence: str = ""
    key: str


class RunbookBegun(Record):
    """An action that is about to be taken, written before it: whoever is killed in it has left this.

    Attributes
    ----------
    before
        What a revert needs to know, as text by name.
    """

    runbook: str
    target: str
    actor: str
    reason: str
    before: dict[str, str] = Field(default_factory=dict)


class RunbookRun(Record):
    """How a runbook ended.

    Attributes
    ----------
    actor, reason, evidence
        Who had it run (a person, or an alert), why, and what was seen.
    end
        ``repaired`` (seen by its post-check), ``not_needed`` (its pre-check failed), ``limited`` (too many in an hour;
        of both nothing was done), ``reverted`` (the post-check failed and the action was taken back), ``stuck`` (it
        could not be taken back either).
    """

    runbook: str
    target: str
    actor: str
    reason: str
    evidence: str = ""
    end: RunbookEnd
    steps: tuple[RunbookStep, ...] = ()
    began: UtcTime
    seconds: float

    def tell(self) -> str:
        """One line."""
        last = self.steps[-1].detail if self.steps else ""
        return f"{self.runbook} {self.target}: {self.end}; {last}"
