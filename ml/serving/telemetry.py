"""What a replica tells of itself: events each second, rollups every ten, into its spool, beside the hot path.

A thread reads the counters that the replica keeps anyway and writes what has changed: an answer costs nothing more
for being told of. Of refused rows the number is exact; request and detail of the first few of each second are looked
up in the outbox. What is logged as a warning or worse is an event, too. What cannot be kept is counted as lost.
"""

from __future__ import annotations

import logging
import re
import shutil
import sqlite3
import threading
import time
import uuid
from collections import Counter, deque
from collections.abc import Mapping
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

import psutil

from ml.records.codes import CODES, Code, code_name
from ml.records.event import Event
from ml.records.outbox import COUNT_ROWS
from ml.records.rollup import ROLLUP_SECONDS, Rollup
from ml.records.row_record import read_refusals
from ml.records.spool import SCHEMA
from ml.serving.metrics import Metrics
from ml.serving.repeats import say_repeated

LOOK_SECONDS = 1.0

#: Refused rows of one use case and code that are told with request and detail, per look; the others are a number.
SAMPLES = 20
#: Newest rows of the outbox that are searched for them.
SEARCHED_ROWS = 2_000
#: Rows that wait for the collector, a day and more; beyond them new ones are lost, and counted.
SPOOLED_ROWS = 200_000
#: Log lines that wait for the next look.
NOTED_LINES = 1_000

#: Refusals that are the client's doing are no error of ours.
_OURS = frozenset(code for code, (_, status) in CODES.items() if status >= 500) - {
    Code.ARTIFACT_NOT_FOUND,  # also before the first release
    Code.OVERLOADED,
}

_NOTED_CODES = {"capture_failed": int(Code.CAPTURE_FAILED), "release_refused": int(Code.RELEASE_REFUSED)}
#: Rows that were answered; rows whose request the log names.
_TOLD_OTHERWISE = frozenset({Code.OK, Code.CAPTURE_FAILED})
#: Counted by rows, with their code; the log has the trace.
_COUNTED = frozenset({"inference_failed", "preprocessing_failed"})
_FIELD = re.compile(r"\b(use_case|code|request_id|count)=(\S+)")

log = logging.getLogger(__name__)


class Sample(NamedTuple):
    """A refused row as the outbox has it."""

    use_case: str
    code: int
    request_id: str
    model_version: int | None
    detail: str


class Spool:
    """The writing end: appends rows, or counts them as lost; one thread at a time."""

    def __init__(self, path: Path, *, limit: int = SPOOLED_ROWS) -> None:
        self.path, self.limit, self.lost = path, limit, 0

    def append(self, rows: list[tuple[str, str]], *, again: bool = False) -> bool:
        """Whether the rows, kind and JSON, are on disk; a spool that is full or cannot be written loses them.

        Parameters
        ----------
        again
            Whether they are told again when they are not on disk: then all are kept or none, and none is lost.
        """
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with closing(sqlite3.connect(self.path, timeout=LOOK_SECONDS, isolation_level=None)) as db:
                for statement in ("PRAGMA journal_mode = WAL", "PRAGMA synchronous = NORMAL", "BEGIN IMMEDIATE"):
                    db.execute(statement)
                for statement in SCHEMA:
                    db.execute(statement)
                db.execute("INSERT OR IGNORE INTO spool VALUES (1, ?)", (uuid.uuid4().hex,))
                (waiting,) = db.execute("SELECT count(*) FROM spooled").fetchone()
                kept = rows[: max(0, self.limit - waiting)]
                kept = [] if again and len(kept) < len(rows) else kept
                db.executemany("INSERT INTO spooled (kind, payload) VALUES (?, ?)", [(k, p.encode()) for k, p in kept])
                db.execute("COMMIT")
        except (OSError, sqlite3.Error):
            kept = []
        self.lost += 0 if again else len(rows) - len(kept)
        return len(kept) == len(rows)


class Notes(logging.Handler):
    """Warnings and errors of this service's log, as events; messages begin ``what happened: key=value ...``."""

    def __init__(self, source: str) -> None:
        super().__init__(logging.WARNING)
        self._source, self.lost, self.exceptions = source, 0, 0
        self._events: deque[Event] = deque()

    def emit(self, record: logging.LogRecord) -> None:
        """Keep a line until the next look."""
        text = record.getMessage()
        name = re.sub(r"[^a-z]+", "_", text.partition(":")[0].lower()).strip("_")[:100] or "logged"
        fields = dict(reversed(_FIELD.findall(text)))  # the first of a name is ours, whatever the rest holds
        code, told = fields.get("code", ""), fields.get("count", "")
        count = max(1, int(told)) if told.isdecimal() else 1
        self.exceptions += count if record.exc_info else 0
        if name in _COUNTED:
            return
        if len(self._events) >= NOTED_LINES:
            self.lost += count
            return
        self._events.append(
            Event(
                time=datetime.fromtimestamp(record.created, UTC),
                use_case=fields.get("use_case") or None,
                source=self._source,
                code=int(code) if code.isdecimal() else _NOTED_CODES.get(name, 0),
                name=name,
                severity="error" if record.levelno >= logging.ERROR else "warning",
                message=" ".join(text.split())[:2000],
                request_id=fields.get("request_id", "")[:200],
                count=count,
            )
        )

    def take(self) -> list[Event]:
        """What was logged since the last look."""
        return [self._events.popleft() for _ in range(len(self._events))]


class TelemetryWriter:
    """Looks at a replica's counters each second, in a thread of its own.

    Parameters
    ----------
    replica
        Name of the replica; the source of what is told.
    outbox
        File of its outbox.
    spool
        File of its spool.
    """

    def __init__(self, replica: str, metrics: Metrics, *, outbox: Path, spool: Path) -> None:
        self._replica, self._metrics, self._outbox = replica, metrics, outbox
        self._spool, self._notes = Spool(spool), Notes(replica)
        self._seen, self._rolled = metrics.totals(), metrics.totals()
        self._noted = 0
        self._reached = _newest(outbox)
        self._stop = threading.Event()
        self._process = psutil.Process()
        self._thread = threading.Thread(target=self._run, name="telemetry", daemon=True)

    def start(self) -> None:
        """Begin to look."""
        logging.getLogger("ml.serving").addHandler(self._notes)
        self._process.cpu_percent(None)
        self._gauges()  # known from the start
        self._thread.start()

    def stop(self) -> None:
        """Look once more and end."""
        self._stop.set()
        self._thread.join(timeout=2 * LOOK_SECONDS)
        logging.getLogger("ml.serving").removeHandler(self._notes)

    def _run(self) -> None:
        rolled = time.time()
        while not self._stop.wait(LOOK_SECONDS):
            rolled = self.look(rolled)
        self.look(rolled, last=True)

    def look(self, rolled: float, *, last: bool = False) -> float:
        """Tell what is new; returns when the rollup that runs now began."""
        now = time.time()
        say_repeated(float("inf") if last else time.monotonic())
        try:
            events = [("event", event.model_dump_json()) for event in self._events(now)]
            if events:
                self._spool.append(events)
            if last or now - rolled >= ROLLUP_SECONDS:
                rolled = now if self._roll_up(rolled, now) else rolled
            self._metrics.telemetry_lost = self._spool.lost + self._notes.lost
            self._metrics.exceptions = self._notes.exceptions
        except Exception:  # the look goes on, whatever it meets
            log.exception("telemetry failed: source=%s", self._replica)
        return rolled

    def _events(self, now: float) -> list[Event]:
        before, self._seen = self._seen, self._metrics.totals()
        new = _more(self._seen.rows, before.rows)
        refused = {key: n for key, n in new.items() if key[1] not in _TOLD_OTHERWISE}
        samples = self._samples() if refused else []
        degraded = tell_degraded(_more(self._seen.degraded, before.degraded), source=self._replica, now=now)
        return [*tell_refusals(refused, samples, source=self._replica, now=now), *degraded, *self._notes.take()]

    def _samples(self) -> list[Sample]:
        query = (
            "SELECT seq, use_case, request_id, payload, rows FROM captured"
            " WHERE kind = 'request' AND seq > ? ORDER BY seq DESC LIMIT ?"
        )
        found: list[tuple[int, str, str, bytes, int]] = []
        searched = 0
        try:
            with closing(sqlite3.connect(f"{self._outbox.resolve().as_uri()}?mode=ro", uri=True)) as db:
                for record in db.execute(query, (self._reached, SEARCHED_ROWS)):
                    found.append(record)
                    searched += record[-1]
                    if searched >= SEARCHED_ROWS:  # a record of many rows is large
                        break
        except sqlite3.Error:
            return []  # the numbers are told all the same
        if found:
            self._reached = found[0][0]
        return [
            Sample(use_case, code, request_id, version, detail)
            for _, use_case, request_id, payload, rows in reversed(found)
            for code, version, detail in read_refusals(payload, rows)
        ]

    def _roll_up(self, begin: float, now: float) -> bool:
        """Whether what was counted since then is kept; on a full disk it is told when there is room again."""
        before = self._rolled, self._noted
        kept = self._spool.append(
            [("rollup", rollup.model_dump_json()) for rollup in self._rollups(begin, now - begin)], again=True
        )
        if not kept:
            self._rolled, self._noted = before
        return kept

    def _rollups(self, begin: float, seconds: float) -> list[Rollup]:
        before, self._rolled = self._rolled, self._seen
        now, start = self._rolled, datetime.fromtimestamp(begin, UTC)
        of = {"time": start, "seconds": seconds, "source": self._replica}
        rollups = [
            Rollup(**of, use_case=use_case or None, name=name, label=str(label), n=n, total=n)
            for name, counted in (
                ("requests", _more(now.replies, before.replies)),
                ("rows", _more(now.rows, before.rows)),
                ("degraded_rows", _more(now.degraded, before.degraded)),
            )
            for (use_case, label), n in counted.items()
        ]
        buckets = tuple(a - b for a, b in zip(now.buckets, before.buckets, strict=True))
        if any(buckets):
            spent = max(0.0, now.seconds - before.seconds)
            bounds = self._metrics.bounds
            rollups.append(
                Rollup(**of, name="reply_seconds", n=sum(buckets), total=spent, bounds=bounds, buckets=buckets)
            )
        exceptions, self._noted = self._notes.exceptions - self._noted, self._notes.exceptions
        if exceptions:
            rollups.append(Rollup(**of, name="exceptions", n=exceptions, total=exceptions))
        gauges, deepest = self._gauges(), self._metrics.take_deepest()
        rollups.append(Rollup(**of, name="queue_depth", n=1, total=self._metrics.depth(), high=deepest))
        rollups += [
            Rollup(**of, use_case=use_case, name="capture_lost_rows", n=1, total=n, high=n)
            for (use_case, _), n in _more(now.lost, before.lost).items()
        ]
        return rollups + [Rollup(**of, name=name, n=1, total=value, high=value) for name, value in gauges.items()]

    def _gauges(self) -> dict[str, float]:
        with self._process.oneshot():
            memory, spent = self._process.memory_info().rss, self._process.cpu_times()
        disk = shutil.disk_usage(self._outbox.parent)
        self._metrics.measured = {
            "cpu_seconds": spent.user + spent.system,
            "memory_bytes": memory,
            "open_files": self._process.num_fds(),
            "disk_free_share": disk.free / disk.total,
        }
        return {
            "cpu_share": self._process.cpu_percent(None) / 100,
            "memory_mb": memory / 2**20,
            "open_files": self._metrics.measured["open_files"],
            "disk_free_share": self._metrics.measured["disk_free_share"],
            "outbox_rows": float(_count(self._outbox)),
            "telemetry_lost": float(self._spool.lost + self._notes.lost),
        }


def tell_refusals(
    refused: Mapping[tuple[str, int], int], samples: list[Sample], *, source: str, now: float
) -> list[Event]:
    """Events of refused rows; their counts sum up to the number of rows, by use case and code.

    Parameters
    ----------
    refused
        Rows by use case and code.
    samples
        Rows that are known in detail; those beyond the number, or of other codes, are left out.
    """
    moment, events = datetime.fromtimestamp(now, UTC), []
    for (use_case, code), n in refused.items():
        known = [s for s in samples if (s.use_case, s.code) == (use_case, code)][: min(n, SAMPLES)]
        of: dict[str, Any] = {
            "time": moment,
            "use_case": use_case or None,
            "source": source,
            "code": code,
            "name": code_name(code),
            "severity": "error" if code in _OURS else "warning",
        }
        events += [
            Event(**of, message=s.detail, request_id=s.request_id[:200], model_version=s.model_version) for s in known
        ]
        if n > len(known):
            title = CODES[Code(code)][0]
            more = "more" if known else "rows"
            events.append(Event(**of, message=f"{title}: {n - len(known)} {more}", count=n - len(known)))
    return events


def tell_degraded(degraded: Mapping[tuple[str, int], int], *, source: str, now: float) -> list[Event]:
    """Events of rows that the last good version answered, each with the code with which the present one failed."""
    moment = datetime.fromtimestamp(now, UTC)
    return [
        Event(
            time=moment,
            use_case=use_case,
            source=source,
            code=code,
            name="answered_by_last_good",
            severity="error",
            message=f"{CODES[Code(code)][0]}; the last good version answered {n} rows",
            count=n,
        )
        for (use_case, code), n in degraded.items()
    ]


def _more(now: Mapping[Any, int], before: Mapping[Any, int]) -> Counter[Any]:
    return Counter({key: n - before.get(key, 0) for key, n in now.items() if n > before.get(key, 0)})


def _newest(outbox: Path) -> int:
    return _ask(outbox, "SELECT coalesce(max(seq), 0) FROM captured")


def _count(outbox: Path) -> int:
    return _ask(outbox, COUNT_ROWS)


def _ask(outbox: Path, query: str) -> int:
    try:
        with closing(sqlite3.connect(f"{outbox.resolve().as_uri()}?mode=ro", uri=True)) as db:
            return int(db.execute(query).fetchone()[0])
    except sqlite3.Error:
        return 0
