"""Replicas and ingesters are killed with SIGKILL under traffic: every answer is in the lake once, or it is counted.

Two replicas share a port, eight clients ask without a pause, ingesters carry rows to the lake, and one process after
the other is killed: at a random moment, or at a step that was drawn. A killed one is started again, as the supervisor
would. What clients were told is compared with the lake in the end, value by value.
"""

from __future__ import annotations

import json
import math
import multiprocessing
import os
import signal
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from multiprocessing.process import BaseProcess
from pathlib import Path
from random import Random
from typing import Any
from urllib.parse import unquote

from benchmarks.fleet import PATIENCE, Caller, Clients, Fleet, ferry_row
from benchmarks.marked import BETWEEN, INGESTER, REPLICA, Mark, ingest
from ml.records.event import Event
from ml.records.outbox import Captured
from ml.serving.telemetry import Spool
from ml.store.collect import collect_spools
from ml.store.telemetry import Need, Telemetry

KILLS, CLIENTS, SEED = 500, 8, 2013

#: Drawn twice as often as the other steps.
COMMIT = "in the Delta commit"

#: Where a seeded fault shows: kills are aimed there, so that few are enough.
AIMED = {
    "forgets what it has appended": ("committed, not yet deleted", "deleting from the outbox"),
    "deletes before it appends": ("decoding", COMMIT),
}

#: Rows of every fifth request; the others ask about one, or tell a label.
BATCH = 5

#: A client's pause between two requests, seconds: the lake is to be read through in the end.
_PAUSE = 0.03


@dataclass
class Book:
    """What clients sent and were told, by id.

    Attributes
    ----------
    answered
        Probability that an answer gave.
    refused, labelled
        Rows refused for what they hold, labels accepted: told, so on record.
    unanswered
        Sent, and the connection broke: whether they are on record is open.
    turned_away
        Replies by status that promise no record.
    """

    answered: dict[str, float] = field(default_factory=dict)
    refused: set[str] = field(default_factory=set)
    labelled: set[str] = field(default_factory=set)
    unanswered: set[str] = field(default_factory=set)
    turned_away: Counter[int] = field(default_factory=Counter)


@dataclass(frozen=True)
class Kills:
    """What became of all rows.

    Attributes
    ----------
    places
        Kills by the step at which the process died.
    told
        Answers, refusals and labels that clients were told of.
    lost, doubled, changed, invented
        Of those: not in the lake or in its quarantine, in it more than once, with another answer; rows nobody sent.
    unheard, unheard_kept
        Rows and labels whose connection broke, and how many of them are on record all the same.
    events, events_lost, events_doubled
        Telemetry rows through the killed collectors.
    orphans
        Data files that no commit names: of writers that died between the two, or were overtaken by another.
    upper
        Bound of the share of kills that lose or double a row, 95 %, one-sided; undefined (1) after the first that did.
    """

    kills: int
    places: dict[str, int]
    told: int
    lost: int
    doubled: int
    changed: int
    invented: int
    unheard: int
    unheard_kept: int
    turned_away: dict[int, int]
    events: int
    events_lost: int
    events_doubled: int
    left_in_outboxes: int
    orphans: int
    seconds: float
    upper: float


class Traffic(Clients):
    """Clients that ask on until told to stop: answers, refusals and labels, each with an id of its own."""

    def __init__(self, port: int) -> None:
        super().__init__(CLIENTS)
        self.book, self._port = Book(), port

    def _ask(self, client: int) -> None:
        caller, number = Caller(self._port), 0
        while not self._stop.wait(_PAUSE):
            number += 1
            self._ask_once(caller, f"{client}-{number}", number)
            if number % 10 == 0:
                caller.close()  # the kernel deals out connections: else a replica that came back would get none
        caller.close()

    def _ask_once(self, caller: Caller, name: str, number: int) -> None:
        if number % 5 == 4:
            path, names = "/labels/ferry", [f"label-{name}"]
            content: dict[str, Any] = {"labels": [{"id": names[0], "class": "late"}]}
        else:
            path, names = "/score/ferry", [f"{name}-{i}" for i in range(BATCH if number % 5 == 2 else 1)]
            rows = [
                ferry_row(float((number + i) % 300), wind=20.0 if (number + i) % 7 else 999.0) for i in range(BATCH)
            ]
            content = {"rows": rows[: len(names)], "ids": names}
        found = caller.post(path, json.dumps(content).encode())
        if found is None:
            self.book.unanswered.update(names)
            time.sleep(0.02)
        elif found[0] in {200, 207}:
            self._note(json.loads(found[1])["predictions"])
        elif found[0] in {202, 422}:
            (self.book.labelled if found[0] == 202 else self.book.refused).update(names)
        else:
            self.book.turned_away[found[0]] += 1

    def _note(self, predictions: list[dict[str, Any]]) -> None:
        for told in predictions:
            if "error" in told:
                self.book.refused.add(told["id"])
            else:
                self.book.answered[told["id"]] = told["probabilities"][1]


class Arena:
    """A fleet whose processes are marked, and the ingesters beside it."""

    def __init__(self, folder: Path, rng: Random, fault: str = "") -> None:
        self.fleet, self.rng, self.fault = Fleet(folder), rng, fault
        self.marks = {number: Mark(folder / f"replica-{number}.mark") for number in (0, 1)}
        self.url, self.telemetry = self.fleet.settings.control_url, Telemetry(self.fleet.settings.control_url)
        self.spool, self.told_events = Spool(self.fleet.settings.telemetry / "bench.sqlite"), 0
        self.places: Counter[str] = Counter()
        # Processes that start in milliseconds: the heavy imports are done once, before the fork.
        self._forks = multiprocessing.get_context("forkserver")
        self._forks.set_forkserver_preload(["ml.store.lake", "ml.store.telemetry", "ml.store.collect"])

    def start_replica(self, number: int) -> None:
        """Start a replica that says where it is."""
        self.marks[number].clear()
        fault = self.fault if self.fault.startswith("replies") else "no fault"
        mark = str(self.fleet.folder / f"replica-{number}.mark")
        self.fleet.start(number, ("-m", "benchmarks.marked", mark, fault))

    def start_ingester(self, name: str, place: str = BETWEEN, delay: float = 0.0) -> tuple[BaseProcess, Mark]:
        """Start an ingester, armed for a place unless that is elsewhere."""
        path = self.fleet.folder / f"{name}.mark"
        mark = Mark(path)
        mark.clear()
        if place != BETWEEN:
            mark.arm(place, delay)
        # Small ones too, but not so many that rows come faster than they are taken, each commit being forced to disk.
        options = {"batch_rows": round(20 * 250 ** self.rng.random()), "fault": self.fault}
        process = self._forks.Process(
            target=ingest, args=(path, self.fleet.settings.outbox, self.fleet.lake, self.url), kwargs=options
        )
        process.start()
        return process, mark

    def tell_events(self, n: int = 5) -> None:
        """Append events to a spool, each with a message of its own."""
        messages = [f"event {self.told_events + i}" for i in range(n)]
        of: dict[str, Any] = {"time": datetime.now(UTC), "use_case": None, "source": "bench", "name": "told"}
        events = [Event(**of, severity="info", message=message) for message in messages]
        if self.spool.append([("event", event.model_dump_json()) for event in events]):
            self.told_events += n

    def kill_ingester(self) -> bool:
        """Whether an ingester was killed; one that ended before its turn was not."""
        aimed = [place for place in AIMED.get(self.fault, ()) if place in INGESTER]
        place = self.rng.choice(aimed or (BETWEEN, *INGESTER, COMMIT))
        self.tell_events()
        beside = self.start_ingester("beside")[0] if self.rng.random() < 0.2 else None
        process, mark = self.start_ingester("victim", place, 0.0 if aimed else self._delay(0.02))
        if place == BETWEEN:
            process.join(self.rng.uniform(0.02, 0.4))
            if process.is_alive():
                os.kill(process.pid or 0, signal.SIGKILL)
        for one in (process, beside):
            if one is not None:
                one.join(PATIENCE)
                if one.exitcode not in {0, -signal.SIGKILL}:
                    raise RuntimeError(f"an ingester ended with {one.exitcode}")
        if process.exitcode == 0:
            return False
        self.places[mark.place] += 1
        return True

    def kill_replica(self) -> bool:
        """Whether a replica was killed; it is started again."""
        number, place = self.rng.randint(0, 1), self.rng.choice((BETWEEN, *REPLICA))
        for one in self.marks:  # there is always one that answers
            self.fleet.await_ready(one)
        if place == BETWEEN:
            time.sleep(self.rng.uniform(0.0, 0.05))
            self.fleet.processes[number].kill()
        else:
            self.marks[number].arm(place, self._delay(0.0002))
        self.fleet.processes[number].wait(PATIENCE)
        self.places[self.marks[number].place if place != BETWEEN else "a replica, at a random moment"] += 1
        self.start_replica(number)
        return True

    def _delay(self, longest: float) -> float:
        return self.rng.choice((0.0, self.rng.uniform(0.0, longest)))

    def finish(self) -> None:
        """Stop the replicas in order and take what is left."""
        for number in self.marks:
            self.fleet.await_ready(number)
        self.fleet.stop()
        self.fleet.lake.ingest(self.fleet.settings.outbox)
        collect_spools(self.telemetry, self.fleet.settings.telemetry)


def measure_kills(
    folder: Path, say: Callable[[str], None], *, kills: int = KILLS, seed: int = SEED, fault: str = ""
) -> Kills:
    """Kill so many processes, two ingesters for each replica, and compare what was told with the lake.

    Parameters
    ----------
    fault
        One of :mod:`benchmarks.marked`, seeded to show that it would be seen.
    """
    started, rng = time.monotonic(), Random(seed)  # noqa: S311 - repeatable, not secret
    arena, done = Arena(folder / "kills", rng, fault), 0
    try:
        for number in arena.marks:
            arena.start_replica(number)
        with Traffic(arena.fleet.settings.scoring_port) as traffic:
            while done < kills:
                say(f"{done} of {kills} kills, {len(traffic.book.answered)} answers")
                done += arena.kill_replica() if rng.random() < 1 / 3 else arena.kill_ingester()
        arena.finish()
    finally:
        arena.fleet.end()
    return _judge(arena, traffic.book, done, time.monotonic() - started)


def _judge(arena: Arena, book: Book, kills: int, seconds: float) -> Kills:
    lake = arena.fleet.lake
    rows = lake._requests.read(["id", "outbox", "seq", "probabilities"]).to_pylist()  # noqa: SLF001 - all, any window
    labels = lake._labels.read(["id", "outbox", "seq"]).to_pylist()  # noqa: SLF001
    kept = Counter(row["id"] for row in (*rows, *labels))
    origins = Counter((row["outbox"], row["seq"]) for row in (*rows, *labels))
    answers = {row["id"]: row["probabilities"] for row in rows}
    told = book.answered.keys() | book.refused | book.labelled
    lost = len(told - kept.keys()) + len(lake.quarantined())
    doubled = sum(n > 1 for n in kept.values()) + sum(n > 1 for n in origins.values())
    messages = Counter(
        row.message
        for row in arena.telemetry.read_events(
            [Need(datetime.fromtimestamp(0, UTC), frozenset({"told"}))], until=datetime(2100, 1, 1, tzinfo=UTC)
        )
    )
    return Kills(
        kills=kills,
        places=dict(arena.places.most_common()),
        told=len(told),
        lost=lost,
        doubled=doubled,
        changed=sum(not _same(answers.get(name), value) for name, value in book.answered.items() if name in kept),
        invented=len(kept.keys() - told - book.unanswered),
        unheard=len(book.unanswered),
        unheard_kept=len(book.unanswered & kept.keys()),
        turned_away=dict(book.turned_away),
        events=arena.told_events,
        events_lost=arena.told_events - len(messages),
        events_doubled=sum(n > 1 for n in messages.values()),
        left_in_outboxes=sum(captured.rows for captured in _left(arena.fleet)),
        orphans=sum(_orphans(arena.fleet.settings.lake / "ferry" / name) for name in ("requests", "labels")),
        seconds=seconds,
        upper=1 - math.pow(0.05, 1 / kills) if lost + doubled == 0 else 1.0,
    )


def _orphans(table: Path) -> int:
    """Data files that no commit has ever named; those which compaction has replaced were named once."""
    commits = (path.read_bytes() for path in (table / "_delta_log").glob("*.json"))
    actions = (json.loads(line) for text in commits for line in text.splitlines())
    named = {unquote(action["add"]["path"]) for action in actions if "add" in action}
    return len(
        {str(path.relative_to(table)) for path in table.rglob("*.parquet") if path.parent.name != "_delta_log"} - named
    )


def _same(kept: list[float] | None, told: float) -> bool:
    return kept is not None and abs(kept[1] - told) < 1e-9


def _left(fleet: Fleet) -> Iterator[Captured]:
    from ml.store.outbox import Outbox

    for path in sorted(fleet.settings.outbox.glob("*.sqlite")):
        with Outbox(path) as outbox:
            for batch in outbox.batches("ferry", up_to=outbox.newest("ferry")):
                yield from batch


def draw_kills(found: Kills) -> Iterator[str]:
    """What was found, in lines."""
    yield f"kills: {found.kills} with SIGKILL in {found.seconds:.0f} s, under {CLIENTS} clients and 2 replicas"
    yield from (f"  {n:4d} {place}" for place, n in found.places.items())
    yield f"  data files without a commit: {found.orphans}"
    yield f"told to clients: {found.told} answers, refusals and labels"
    yield f"rows lost: {found.lost}, doubled: {found.doubled}, changed: {found.changed}, invented: {found.invented}"
    yield f"rows cut off by a kill: {found.unheard}, of which {found.unheard_kept} are on record, once"
    yield f"turned away: {found.turned_away or 'none'}; left in outboxes: {found.left_in_outboxes}"
    yield f"telemetry: {found.events} events, lost {found.events_lost}, doubled {found.events_doubled}"
    yield f"share of kills that lose or double a row: at most {100 * found.upper:.2f} % (95 %, one-sided, exact)"
