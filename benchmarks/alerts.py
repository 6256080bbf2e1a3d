"""Alerting: seconds for one look by a thousand rules over a day, and what telling costs a replica in a burst."""

from __future__ import annotations

import json
import sqlite3
import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from random import Random
from typing import Any

from rich.table import Table

from ml.alerts.current import rules_in_force
from ml.alerts.look import look
from ml.records.event import Event
from ml.records.outbox import INSERT, SCHEMA
from ml.records.rollup import Rollup
from ml.serving.metrics import BOUNDS, Metrics
from ml.serving.telemetry import TelemetryWriter
from ml.store.alerts import AlertStore
from ml.store.telemetry import Telemetry

SEED = 20130301
_NOW = datetime(2026, 1, 5, 12, tzinfo=UTC)
_WINDOWS = ("1m", "5m", "15m", "1h", "6h", "24h")
_CODES = (101, 201, 202, 203, 401, 501, 601)
_USE_CASES = tuple(f"case_{number}" for number in range(10))


@dataclass(frozen=True)
class AlertBench:
    """What one look takes, and what telling takes.

    Attributes
    ----------
    look_seconds, look_cpu_seconds
        Median of looks by every rule: reading the rule file, reading the day, judging, writing.
    burst_rate
        Refused rows per second that were told of.
    burst_cpu_share
        Share of one processor that the telling thread took meanwhile, ``[0, 1]``.
    unaccounted
        Refused rows that are in no event and in no loss counter.
    """

    rules: int
    events: int
    rollups: int
    look_seconds: float
    look_cpu_seconds: float
    firing: int
    burst_rate: float
    burst_cpu_share: float
    unaccounted: int


def measure_alerts(
    folder: Path, say: Callable[[str], None], *, rules: int = 1_000, events: int = 100_000, seconds: int = 10
) -> AlertBench:
    """Look at a day of events by so many rules, five times; then tell of a burst of ten thousand rows a second."""
    folder = folder / "alerts"
    folder.mkdir(parents=True)
    url, path = f"sqlite:///{folder}/control.db", folder / "alerts.yaml"
    path.write_text(_rule_file(rules), encoding="utf-8")
    telemetry, store = Telemetry(url), AlertStore(url)
    say(f"a day of {events:,} events")
    telemetry.add_events(_events(events))
    measured = list(_rollups())
    telemetry.add_rollups(measured)
    walls, processors = [], []
    for number in range(5):
        say(f"look {number + 1} by {rules:,} rules")
        now = _NOW + number * timedelta(minutes=1)
        wall, processor = time.perf_counter(), time.process_time()
        in_force = rules_in_force(path, store=store, telemetry=telemetry, now=now)
        found = look(in_force.rules, store=store, telemetry=telemetry, now=now)
        walls.append(time.perf_counter() - wall)
        processors.append(time.process_time() - processor)
        if len(found.looked) != rules:
            raise RuntimeError(f"{len(found.looked)} of {rules} rules were looked at")
    firing = sum(state.active for state in store.book(_NOW).states.values())
    say("a burst of 10,000 refused rows a second")
    return AlertBench(
        rules,
        events,
        len(measured),
        statistics.median(walls),
        statistics.median(processors),
        firing,
        *_burst(folder, seconds=seconds),
    )


def draw_alerts(found: AlertBench) -> tuple[Table]:
    """Tables for people."""
    table = Table("alerting", "measured", "budget", box=None)
    day = f"one look: {found.rules:,} rules, {found.events:,} events, {found.rollups:,} rollups, {found.firing:,} fire"
    table.add_row(day, f"{found.look_seconds:.2f} s ({found.look_cpu_seconds:.2f} s of a processor)", "2 s")
    rate = f"telling of {found.burst_rate:,.0f} refused rows a second"
    table.add_row(rate, f"{found.burst_cpu_share:.1%} of a processor", "5%")
    table.add_row("rows neither told nor counted as lost", f"{found.unaccounted}", "0")
    return (table,)


def _rule_file(count: int) -> str:
    rng = Random(SEED)  # noqa: S311 - repeatable
    rules = [_rule(number, rng) for number in range(count)]
    return json.dumps({"channels": {"box": {"kind": "mailbox"}}, "rules": rules}, indent=1)  # JSON is YAML


def _rule(number: int, rng: Random) -> dict[str, Any]:
    where = {"codes": [rng.choice(_CODES)], "use_cases": rng.sample(_USE_CASES, 3)}
    requests = {"metric": "requests", "use_cases": rng.sample(_USE_CASES, 3)}
    conditions: tuple[dict[str, Any], ...] = (
        {"kind": "match", "where": where},
        {"kind": "count", "where": where, "above": rng.randrange(2_000)},
        {"kind": "rate", "where": where, "above": rng.random() * 10},
        {"kind": "absence", "where": where},
        {"kind": "ratio", "of": requests | {"labels": ["503"]}, "to": requests, "above": rng.random() / 5},
        {"kind": "quantile", "of": {"metric": "reply_seconds"}, "q": 0.99, "above": rng.choice(BOUNDS)},
        {"kind": "level", "of": {"metric": "memory_mb"}, "above": 200 + rng.randrange(400)},
        {"kind": "no_data", "of": {"metric": "memory_mb"}},
    )
    condition = conditions[number % len(conditions)]
    metric = "of" in condition
    by = rng.choice(([], ["use_case"], ["source"]) if not metric else ([], ["source"]))
    return {
        "name": f"rule_{number}",
        "description": f"rule {number}",
        "severity": "warning",
        "every": "1m",
        "actions": ["box"],
        "group_by": by,
        "condition": condition | {"within": rng.choice(_WINDOWS)},
    }


def _events(count: int) -> Iterator[Event]:
    rng = Random(SEED)  # noqa: S311 - repeatable
    for _ in range(count):
        code = rng.choice(_CODES)
        yield Event(
            time=_NOW - timedelta(seconds=rng.random() * 86_400),
            use_case=rng.choice(_USE_CASES),
            source=f"replica-{rng.randrange(4)}",
            code=code,
            name=f"code_{code}",
            severity="error",
            message="a row was refused for what it held in one of its columns",
            request_id=f"{rng.getrandbits(64):x}",
            model_version=rng.randrange(3),
        )


def _rollups() -> Iterator[Rollup]:
    """A day of two replicas: requests of each use case by status, a histogram and a gauge, every ten seconds."""
    rng = Random(SEED)  # noqa: S311 - repeatable
    for tick in range(8_640):
        moment = _NOW - timedelta(seconds=10 * (8_640 - tick))
        for number in range(2):
            of: dict[str, Any] = {"time": moment, "source": f"replica-{number}"}
            for use_case in rng.sample(_USE_CASES, 2):
                n = rng.randrange(1, 500)
                yield Rollup(**of, use_case=use_case, name="requests", label=rng.choice(("200", "503")), n=n, total=n)
            buckets = tuple(rng.randrange(50) for _ in range(len(BOUNDS) + 1))
            yield Rollup(**of, name="reply_seconds", n=sum(buckets), total=1.0, bounds=BOUNDS, buckets=buckets)
            yield Rollup(**of, name="memory_mb", n=1, total=200 + rng.random() * 300)


def _burst(folder: Path, *, seconds: int, rate: int = 10_000) -> tuple[float, float, int]:
    """Rate, share of a processor and unaccounted rows of a writer that looks at real counters and a real outbox."""
    outbox, spool, metrics = folder / "outbox.sqlite", folder / "spool.sqlite", Metrics()
    payload = json.dumps({"id": "x", "code": 202, "detail": "depth: must be at most 100, got 1e6", "model_version": 1})
    with closing(sqlite3.connect(outbox, isolation_level=None)) as db:
        db.execute("PRAGMA journal_mode = WAL")
        db.execute(SCHEMA)
        writer = TelemetryWriter("replica-0", metrics, outbox=outbox, spool=spool)
        spent, rolled = 0.0, time.time()
        for second in range(seconds):
            rows = [("q", "request", f"{second}-{number}", 0.0, payload.encode(), 1) for number in range(rate)]
            db.execute("BEGIN")
            db.executemany(INSERT, rows)
            db.execute("COMMIT")
            metrics.count_rows("q", 202, rate)
            began = time.thread_time()
            rolled = writer.look(rolled, last=second == seconds - 1)
            spent += time.thread_time() - began
    with closing(sqlite3.connect(spool)) as db:
        told = [json.loads(row[0]) for row in db.execute("SELECT payload FROM spooled WHERE kind = 'event'")]
    counted = sum(event["count"] for event in told)
    return float(rate), spent / seconds, seconds * rate - counted - metrics.telemetry_lost
