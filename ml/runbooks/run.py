"""One run of a runbook: alone, within its limit, checked before and after, taken back when it has not helped.

The action is on record before it is taken. Who is killed in it leaves that record; the same order again does not act a
second time: it looks whether the action has helped, and takes it back when it has not. A killed process of the same
machine is known to be gone, so its lease need not run out first.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta

from ml.errors import ConflictError, PerennialError
from ml.records.event import Event
from ml.records.runbook import RunbookBegun, RunbookEnd, RunbookRun, RunbookStep
from ml.runbooks.holder import is_gone, name_holder
from ml.runbooks.runbook import Before, Runbook, Seen, World

#: One repair at a time in the whole installation; longer than any of them takes.
LEASE, LEASE_TTL = "runbook", timedelta(minutes=10)
HOUR = timedelta(hours=1)
BEGUN, ENDED = "runbook_begun", "runbook"
#: Records of runbooks are of the installation, not of a use case.
OF_ALL = ""

_POLL_SECONDS = 0.25
_LONGEST_HISTORY = 1_000


@dataclass(frozen=True)
class Order:
    """Who wants what repaired, and why; the same key again is the same order."""

    target: str
    actor: str
    reason: str
    evidence: str = ""
    key: str = ""


def run_runbook(runbook: Runbook, order: Order, world: World) -> RunbookRun:
    """Carry out an order; an order that was carried out before is answered with its record.

    Raises
    ------
    ConflictError
        Another repair is going on; nothing was done.
    ServiceAway
        The control database does not answer: what cannot be recorded is not done.
    """
    holder, now = name_holder(), world.clock()
    _free_lease_of_the_dead(world)
    if not world.control.acquire_lease(LEASE, holder, now=now, ttl=LEASE_TTL):
        raise ConflictError("another repair is going on", where=runbook.name, got=order.target, allowed="one at a time")
    try:
        return _Run(runbook, order, world, now).carry_out()
    finally:
        world.control.release_lease(LEASE, holder)


def key_of(name: str, key: str) -> str:
    """Key of an order's records."""
    return f"{name}/{key}"[:500]


def _free_lease_of_the_dead(world: World) -> None:
    """Give back what a killed process of this machine holds; of several who do so at once, one gets it."""
    held = world.control.lease(LEASE)
    if held is not None and is_gone(held.holder):
        world.control.release_lease(LEASE, held.holder)


def runs(world: World, *, limit: int = 100) -> tuple[RunbookRun, ...]:
    """Newest runs first."""
    found = world.control.history(OF_ALL, ENDED, limit)
    return tuple(RunbookRun.model_validate_json(stored.payload) for stored in found)


def actions_since(world: World, name: str, since: datetime) -> int:
    """How often a runbook has acted since a moment, those included that were killed in it."""
    found = world.control.history(OF_ALL, BEGUN, _LONGEST_HISTORY)
    recent = (RunbookBegun.model_validate_json(one.payload) for one in found if one.as_of > since)
    return sum(begun.runbook == name for begun in recent)


class _Run:
    """One order while it is carried out."""

    def __init__(self, runbook: Runbook, order: Order, world: World, began: datetime) -> None:
        self._runbook, self._order, self._world, self._began = runbook, order, world, began
        self._key = key_of(runbook.name, order.key or began.isoformat())
        self._steps: list[RunbookStep] = []

    def carry_out(self) -> RunbookRun:
        """From the pre-check to the record."""
        control, name = self._world.control, self._runbook.name
        if (done := control.find(ENDED, self._key)) is not None:
            return RunbookRun.model_validate_json(done.payload)
        if (begun := control.find(BEGUN, self._key)) is not None:
            self._note("action", ok=False, detail="an earlier process was killed in it")
            return self._prove(RunbookBegun.model_validate_json(begun.payload).before, patient=True)
        found = self._look(lambda: self._runbook.pre_check(self._order.target, self._world))
        self._note("pre_check", ok=found.ok, detail=found.detail)
        if not found.ok:
            return self._end("not_needed")
        acted = actions_since(self._world, name, self._began - HOUR)
        if acted >= self._runbook.per_hour:
            self._note("action", ok=False, detail=f"{acted} times within the hour, {self._runbook.per_hour} allowed")
            return self._end("limited")
        return self._act()

    def _act(self) -> RunbookRun:
        try:
            before = self._runbook.remember(self._order.target, self._world)
        except PerennialError as error:
            self._note("pre_check", ok=False, detail=str(error))
            return self._end("not_needed")
        told = self._order
        begun = RunbookBegun(
            runbook=self._runbook.name, target=told.target, actor=told.actor, reason=told.reason, before=dict(before)
        )
        self._record(BEGUN, begun)
        try:
            self._note("action", ok=True, detail=self._runbook.act(told.target, self._world, before))
        except Exception as error:  # whatever it was, the action is to be taken back
            self._note("action", ok=False, detail=_tell(error))
        return self._prove(before, patient=self._steps[-1].ok)

    def _prove(self, before: Before, *, patient: bool) -> RunbookRun:
        """The post-check decides, whatever the action says of itself; an action that raised is looked at once."""
        deadline = self._world.clock() + timedelta(seconds=self._world.patience)
        while True:
            seen = self._look(lambda: self._runbook.post_check(self._order.target, self._world, before))
            if seen.ok or self._world.clock() >= deadline or not patient:
                break
            self._world.sleep(_POLL_SECONDS)
        self._note("post_check", ok=seen.ok, detail=seen.detail)
        if seen.ok:
            return self._end("repaired")
        try:
            self._note("revert", ok=True, detail=self._runbook.revert(self._order.target, self._world, before))
        except Exception as error:
            self._note("revert", ok=False, detail=_tell(error))
            return self._end("stuck")
        return self._end("reverted")

    def _end(self, end: RunbookEnd) -> RunbookRun:
        told, now = self._order, self._world.clock()
        run = RunbookRun(
            runbook=self._runbook.name,
            target=told.target,
            actor=told.actor,
            reason=told.reason,
            evidence=told.evidence[:2000],
            end=end,
            steps=tuple(self._steps),
            began=self._began,
            seconds=round((now - self._began).total_seconds(), 3),
        )
        self._tell_people(run)  # first, and once by its key: who is killed here tells again, and loses nothing
        self._record(ENDED, run)
        return run

    def _tell_people(self, run: RunbookRun) -> None:
        """A repair is told of; one that did not help, or may not be tried again, is an error that asks for a person."""
        good = run.end == "repaired"
        if run.end == "not_needed" or (good and self._runbook.routine):
            return
        event = Event(
            time=self._world.clock(),
            use_case=None,
            source=f"runbook/{run.runbook}"[:100],
            name="runbook_repaired" if good else "runbook_failed",
            severity="info" if good else "error",
            message=run.tell()[:2000],
            key=self._key,
        )
        self._world.telemetry.add_events([event])

    def _record(self, kind: str, record: RunbookBegun | RunbookRun) -> None:
        now, actor = self._world.clock(), self._order.actor
        self._world.control.record(kind, self._key, record, use_case=OF_ALL, as_of=now, now=now, actor=actor)

    def _look(self, check: Callable[[], Seen]) -> Seen:
        """What a check saw; one that could not look has seen nothing good."""
        try:
            return check()
        except Exception as error:
            return Seen(False, _tell(error))

    def _note(self, name: str, *, ok: bool, detail: str) -> None:
        self._steps.append(RunbookStep.model_validate({"name": name, "ok": ok, "detail": detail[:1000]}))


def _tell(error: Exception) -> str:
    return str(error) if isinstance(error, PerennialError) else f"{type(error).__name__}: {str(error)[:300]}"
