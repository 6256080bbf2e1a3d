"""The drill: one fault after the other into the running stack, under traffic, watched from outside, and undone."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import IO

from ml.errors import PerennialError
from ml.records.drill import DrillResult, FaultResult
from ml.simulation.checked_traffic import CheckedTraffic, Oracle
from ml.stack.drill.fault import Fault
from ml.stack.drill.injection import Injected
from ml.stack.drill.letters import read_told
from ml.stack.drill.repairs import count_wrong_runs
from ml.stack.drill.rules import DrillRules
from ml.stack.drill.scene import Scene, wait_until
from ml.store.alerts import AlertStore
from ml.store.control import ControlStore

#: The alerting DAG is scheduled each minute: two ticks of that schedule.
LIMIT_SECONDS = 120.0
#: A repair that takes longer has failed.
REPAIR_SECONDS = 120.0
#: What the stack may take to be itself again once a fault is undone.
UNDONE_SECONDS = 180.0
_LOOK_SECONDS = 0.5

#: Told what is being done, and the share of the drill that is done.
Say = Callable[[str, float], None]


@dataclass(frozen=True)
class Patience:
    """How long things are waited for, seconds."""

    notice: float = LIMIT_SECONDS + 30.0
    repair: float = REPAIR_SECONDS
    undone: float = UNDONE_SECONDS
    quiet: float = 150.0


@dataclass(frozen=True)
class Drill:
    """What a drill works with."""

    scene: Scene
    rules: DrillRules
    traffic: CheckedTraffic
    oracle: Oracle
    log: IO[bytes]
    patience: Patience = Patience()


@dataclass
class _Seen:
    """What was seen of a fault until it was undone."""

    at: float
    alert: str = ""
    noticed: float | None = None
    repaired: float | None = None
    also: list[str] = field(default_factory=list)


def run_drill(scene: Scene, faults: Sequence[Fault], *, tick: timedelta, book: Path, say: Say) -> DrillResult:
    """Inject faults one after the other, each until it was noticed and repaired, or nobody can be expected to.

    Parameters
    ----------
    book
        Folder in which the result so far is kept after each fault, and what the injections say.

    Raises
    ------
    PerennialError
        The stack does not work to begin with, or alerting does not look.
    """
    if not scene.serves():
        raise PerennialError("the stack does not serve to begin with", where=scene.use_case.name, got="no answer")
    skipped = {fault.name: why for fault in faults if (why := fault.needs(scene))}
    wanted = [fault for fault in faults if fault.name not in skipped]
    book.mkdir(parents=True, exist_ok=True)
    started, results = datetime.now(UTC), list[FaultResult]()
    with _set_up(scene, tick, book) as drill:
        say("waiting for the first look by the drill's rules", 0.0)
        await_look(scene, seconds=UNDONE_SECONDS)
        found = _sum_up(drill, results, started, tick, skipped)
        for number, fault in enumerate(wanted):
            say(fault.name, number / len(wanted))
            results.append(drill_fault(drill, fault))
            found = _sum_up(drill, results, started, tick, skipped)
            found.write(book / "result.json")
    return found


@contextmanager
def _set_up(scene: Scene, tick: timedelta, book: Path) -> Iterator[Drill]:
    """The drill's rules in force, traffic on its way."""
    oracle, current = Oracle(scene.folder, scene.use_case, scene.rows), scene.settings
    moment, key = scene.moment, current.scoring_key
    with (
        DrillRules(current, tick=tick) as rules,
        CheckedTraffic(current.scoring_url, scene.use_case, scene.rows, oracle, event_time=moment, key=key) as traffic,
        (book / "injections.log").open("ab") as log,
    ):
        yield Drill(scene, rules, traffic, oracle, log)


def _sum_up(
    drill: Drill, results: Sequence[FaultResult], started: datetime, tick: timedelta, skipped: dict[str, str]
) -> DrillResult:
    heard = drill.traffic.heard
    return DrillResult(
        started_at=started,
        seconds=round((datetime.now(UTC) - started).total_seconds(), 1),
        tick=tick.total_seconds(),
        limit=LIMIT_SECONDS,
        faults=tuple(results),
        skipped=skipped,
        requests=heard.requests,
        answered=heard.answered,
        refused=dict(sorted(heard.refused.items())),
        unheard=heard.unheard,
        wrong=heard.wrong,
        first_wrong=tuple(heard.first_wrong),
    )


def await_look(scene: Scene, *, seconds: float) -> None:
    """Return when alerting has looked since now: whatever comes then is judged by the drill's rules."""
    heartbeat, now = scene.settings.heartbeat, time.time()
    wait_until(
        lambda: heartbeat.exists() and heartbeat.stat().st_mtime > now, "a look of the alerting DAG", seconds=seconds
    )


def drill_fault(drill: Drill, fault: Fault) -> FaultResult:
    """What becomes of one fault; what it left behind, if anything, is told in the result."""
    told = {"name": fault.name, "code": int(fault.code), "injects": fault.injects, "action": fault.repair}
    unknown = [name for name in fault.alerts if name not in drill.rules.names and name not in UNRULED]
    if len(unknown) == len(fault.alerts):
        return FaultResult.model_validate(told | {"problem": f"no such rule: {', '.join(unknown)}"})
    try:
        _wait_until_quiet(drill, fault)
        drill.rules.hold(fault.bounds(drill.scene))
        with Injected(fault.name, drill.scene.use_case.name, drill.log) as injected:
            facts = injected.facts
            if "same_as" in facts:
                drill.oracle.equate(facts["digest"], facts["same_as"])
            before = drill.scene.pids()
            seen = _watch(drill, fault, facts)
            wrong = count_strangers(before, drill.scene.pids(), fault)
    except PerennialError as error:
        return FaultResult.model_validate(told | {"problem": str(error)})
    for line in injected.wrong:
        drill.traffic.heard.note_wrong(line)
    undone_at = datetime.now(UTC)
    undone = injected.undone and _works_again(drill)
    wrong += _count_wrong_runs(drill, fault, seen, undone_at) if undone else 0  # else their records may be away
    return FaultResult.model_validate(told | _describe(fault, seen) | {"wrong_repair": wrong, "undone": undone})


#: Messages that no rule makes.
UNRULED = frozenset({"alerting_failed"})


def count_strangers(before: Mapping[str, int | None], after: Mapping[str, int | None], fault: Fault) -> int:
    """Services that were restarted although nothing was wrong with them."""
    return sum(after.get(name) != pid for name, pid in before.items() if name not in fault.touches)


def _count_wrong_runs(drill: Drill, fault: Fault, seen: _Seen, undone: datetime) -> int:
    """By the records of the control database, which answers again by now."""
    current = drill.scene.settings
    control = ControlStore(current.control_url, current.ledger)
    began, repaired = datetime.fromtimestamp(seen.at, UTC), seen.repaired is not None
    return count_wrong_runs(control, fault, began=began, undone=undone, repaired=repaired)


def _describe(fault: Fault, seen: _Seen) -> dict[str, object]:
    meant = bool(fault.repair)
    return {
        "noticed": seen.noticed is not None,
        "seconds_to_notice": None if seen.noticed is None else round(seen.noticed - seen.at, 1),
        "alert": seen.alert,
        "repaired": seen.repaired is not None if meant else None,
        "seconds_to_repair": None if seen.repaired is None else round(seen.repaired - seen.at, 1),
        "also": tuple(dict.fromkeys(seen.also)),
    }


def _watch(drill: Drill, fault: Fault, facts: Mapping[str, object]) -> _Seen:
    seen = _Seen(at=float(str(facts["at"])))
    while True:
        now = time.time()
        if seen.noticed is None:
            _look_for_notice(drill, fault, seen)
        repair = fault.repaired if fault.repair else None
        if repair is not None and seen.repaired is None and repair(drill.scene, dict(facts)):
            seen.repaired = time.time()
        noticed = seen.noticed is not None or now - seen.at > drill.patience.notice
        waited = now - (seen.noticed or seen.at) > drill.patience.repair
        if noticed and (repair is None or seen.repaired is not None or waited):
            return seen
        time.sleep(_LOOK_SECONDS)


def _look_for_notice(drill: Drill, fault: Fault, seen: _Seen) -> None:
    told = read_told(drill.scene.settings.mailbox, since=seen.at)
    mine = next((one for one in told if one.rule in fault.alerts), None)
    if mine is not None:
        seen.alert, seen.noticed = mine.rule, mine.at
    seen.also = [one.rule for one in told if one.rule not in fault.alerts]


def _wait_until_quiet(drill: Drill, fault: Fault) -> None:
    """Return when no alert about this fault fires: one that fires already would not fire because of it."""
    store = AlertStore(drill.scene.settings.control_url)

    def quiet() -> bool:
        states = store.book(datetime.now(UTC)).states.values()
        return not any(state.active and state.rule in fault.alerts for state in states)

    wait_until(quiet, f"an end of {', '.join(fault.alerts)}, which fires already", seconds=drill.patience.quiet)


def _works_again(drill: Drill) -> bool:
    """Whether the stack serves again, and alerting looks again: the next fault must find both as they should be."""
    try:
        wait_until(drill.scene.serves, "the stack", seconds=drill.patience.undone)
        await_look(drill.scene, seconds=drill.patience.undone)
    except PerennialError:
        return False
    return True
