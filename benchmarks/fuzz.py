"""Hostile requests against a real replica: no 5xx, no crash, no hang, every refusal a problem document and on record.

Hypothesis makes the requests (:mod:`benchmarks.cases`) and shrinks what fails; Schemathesis, in an environment of its
own, asks by the OpenAPI document that the service makes of itself. Meanwhile an honest client asks on.
"""

from __future__ import annotations

import json
import socket
import sqlite3
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from hypothesis import HealthCheck, Phase, given, seed, settings

from benchmarks.cases import Case, Strategy, kinds
from benchmarks.fleet import Caller, Fleet, ferry_row, late_probability
from benchmarks.peers.environment import Peer, prepare
from ml.records.codes import CODES

CASES, SEED = 100_000, 2013
#: Whoever has no answer by then hangs, seconds.
HANG = 20.0

SCHEMATHESIS = Peer("Schemathesis", "4.32.5", ("schemathesis==4.32.5",))
#: Of an operation of the OpenAPI document; there are twenty or so.
SCHEMA_EXAMPLES = 1_000
#: What a schema cannot say (as many ids as rows) is refused all the same, so that is not among them.
SCHEMA_CHECKS = (
    *("not_a_server_error", "status_code_conformance", "content_type_conformance", "response_schema_conformance"),
    "unsupported_method",
)

SCORED = ("/score/ferry", "/invocations/ferry", "/v2/models/ferry/infer")

#: What the use case's policies do with bad values is other code: half of the cases each.
POLICIES = {
    "refusing": "{}",
    "lenient": "{out_of_range: clip, unknown_category: impute, out_of_distribution: flag}",
}


@dataclass(frozen=True)
class Kind:
    """Cases of one kind.

    Attributes
    ----------
    statuses
        Replies by HTTP status; 0 is a connection that was closed without one.
    finding
        The smallest case that broke a promise, and which one; empty when none did.
    """

    name: str
    cases: int
    statuses: dict[int, int]
    slowest: float
    finding: str


@dataclass(frozen=True)
class Fuzz:
    """What became of all cases.

    Attributes
    ----------
    crashes
        Replicas that ended, or wrote a traceback.
    unrecorded
        Scoring requests that were answered or refused and are not on record.
    quarantined
        Records that ingestion did not understand.
    honest, honest_wrong, honest_slowest
        Requests of the honest client, those that were not answered rightly, and its longest wait in seconds.
    schema
        Cases of Schemathesis; None where it cannot be installed.
    """

    kinds: tuple[Kind, ...]
    crashes: int
    unrecorded: int
    quarantined: int
    honest: int
    honest_wrong: int
    honest_slowest: float
    schema: int | None
    schema_failures: str
    seconds: float

    @property
    def cases(self) -> int:
        """All of them."""
        return sum(kind.cases for kind in self.kinds) + (self.schema or 0)

    @property
    def findings(self) -> tuple[str, ...]:
        """What broke a promise, smallest cases."""
        told = [f"{kind.name}: {kind.finding}" for kind in self.kinds if kind.finding]
        return tuple(told + ([f"schema: {self.schema_failures}"] if self.schema_failures else []))


class Broken(AssertionError):  # noqa: N818 - a finding
    """A promise that a reply does not keep."""


class Target:
    """A replica that is asked case by case, and judged."""

    def __init__(self, fleet: Fleet) -> None:
        self.fleet, self.port = fleet, fleet.settings.scoring_port
        self.caller = Caller(self.port, timeout=HANG)
        self.recorded: set[str] = set()
        self.statuses: dict[int, int] = {}
        self.cases, self.slowest = 0, 0.0

    def ask(self, case: Case) -> None:
        """Send a case and look at its reply.

        Raises
        ------
        Broken
            The reply breaks a promise.
        """
        self.cases += 1
        started = time.monotonic()
        status = self._send_raw(case) if case.raw else self._send(case)
        spent = time.monotonic() - started
        self.slowest = max(self.slowest, spent)
        self.statuses[status] = self.statuses.get(status, 0) + 1
        if spent >= HANG:
            raise Broken(f"no reply within {HANG:g} s")
        if status >= 500:
            raise Broken(f"status {status}")

    def _send(self, case: Case) -> int:
        identity = f"case-{self.cases}"
        headers = {"X-Request-Id": identity} | case.headers
        found = self.caller.ask(case.method, case.path, case.body, headers)
        if found is None:
            raise Broken("connection was closed without a reply")
        status, content = found
        if case.path in SCORED and case.method == "POST" and headers["X-Request-Id"] == identity:
            self.recorded.add(identity)
        if status >= 400 and case.method != "HEAD":
            _check_problem(status, content, case.path)
        elif status in {200, 202, 207} and case.method == "POST" and "Inference-Header" not in str(case.headers):
            json.loads(content)
        return status

    def _send_raw(self, case: Case) -> int:
        with socket.create_connection(("127.0.0.1", self.port), timeout=HANG) as client:
            told = b""
            try:
                client.sendall(case.raw)
                client.shutdown(socket.SHUT_WR)
                while part := client.recv(65536):
                    told += part
            except TimeoutError:
                pass  # seen by the clock
            except OSError:
                return 0
        statuses = [int(part[:3]) for part in told.split(b"HTTP/1.1 ")[1:] if part[:3].isdigit()]
        return max(statuses, default=0)


def _check_problem(status: int, content: bytes, path: str) -> None:
    try:
        problem = json.loads(content)
    except ValueError as error:
        raise Broken(f"status {status} with {content[:80]!r}") from error
    if problem["status"] != status or problem["code"] not in {int(code) for code in CODES} or not problem["detail"]:
        raise Broken(f"status {status} with {problem}")
    for begin, member in (("/v2/", "error"), ("/invocations/", "error_code")):
        if path.startswith(begin) and member not in problem:
            raise Broken(f"no {member} in {problem}")


class Honest:
    """A client with nothing wrong, beside the hostile ones."""

    def __init__(self, port: int) -> None:
        self.asked = self.wrong = 0
        self.slowest = 0.0
        self._port, self._stop = port, threading.Event()
        self._thread = threading.Thread(target=self._ask)

    def __enter__(self) -> Honest:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join(HANG)

    def _ask(self) -> None:
        caller = Caller(self._port, timeout=HANG)
        while not self._stop.wait(0.05):
            load, started = float(self.asked % 100), time.monotonic()
            found = caller.post("/score/ferry", json.dumps({"rows": [ferry_row(load)]}).encode())
            self.slowest = max(self.slowest, time.monotonic() - started)
            self.asked += 1
            told = None if found is None else json.loads(found[1]).get("predictions", [{}])[0].get("probabilities")
            self.wrong += told is None or abs(told[1] - late_probability(load)) > 1e-6
        caller.close()


def measure_fuzz(
    folder: Path, say: Callable[[str], None], *, cases: int = CASES, start: int = SEED, schema: bool = True
) -> Fuzz:
    """Ask so many hostile requests, by all kinds and policies alike, and Schemathesis's beside them."""
    started, found = time.monotonic(), []
    sums = {"crashes": 0, "unrecorded": 0, "quarantined": 0, "honest": 0, "honest_wrong": 0}
    slowest, told = 0.0, (None, "") if not schema else ("", "")
    for policy, serving in POLICIES.items():
        fleet = Fleet(folder / f"fuzz-{policy}", serving=serving, replicas=1)
        with fleet.running([0]), Honest(fleet.settings.scoring_port) as honest:
            target = Target(fleet)
            strategies = kinds(fleet.use_case)
            for name, strategy in strategies.items():
                say(f"{policy}: {name}")
                found.append(_fuzz(f"{name}, {policy}", target, strategy, cases // len(strategies) // 2, start))
                start += 1
            if schema and policy == "refusing":
                told = run_schemathesis(fleet, say)
            target.caller.close()
        sums["crashes"] += fleet.processes[0].returncode not in {-9} or "Traceback" in fleet.log(0).read_text()
        sums["unrecorded"] += len(target.recorded - _on_record(fleet))
        fleet.lake.ingest(fleet.settings.outbox)
        sums["quarantined"] += len(fleet.lake.quarantined())
        sums["honest"] += honest.asked
        sums["honest_wrong"] += honest.wrong
        slowest = max(slowest, honest.slowest)
    return Fuzz(
        kinds=tuple(found),
        **sums,
        honest_slowest=slowest,
        schema=told[0] if isinstance(told[0], int) else None,
        schema_failures=told[1],
        seconds=time.monotonic() - started,
    )


def _fuzz(name: str, target: Target, strategy: Strategy[Case], cases: int, start: int) -> Kind:
    before = target.cases
    target.statuses, target.slowest, finding = {}, 0.0, ""

    @seed(start)
    @settings(
        max_examples=cases,
        deadline=None,
        database=None,
        phases=[Phase.generate, Phase.shrink],
        suppress_health_check=list(HealthCheck),
        print_blob=False,
    )
    @given(strategy)
    def ask(case: Case) -> None:
        target.ask(case)

    try:
        ask()
    except (Broken, ValueError, OSError, ExceptionGroup) as error:
        notes = " ".join(getattr(error, "__notes__", []))
        finding = f"{error} {notes}"[:1500]
    return Kind(name, target.cases - before, dict(sorted(target.statuses.items())), target.slowest, finding)


def _on_record(fleet: Fleet) -> set[str]:
    with closing(sqlite3.connect(fleet.settings.outbox / "replica-0.sqlite")) as db:
        return {row[0] for row in db.execute("SELECT DISTINCT request_id FROM captured")}


def run_schemathesis(fleet: Fleet, say: Callable[[str], None]) -> tuple[int | None, str]:
    """Cases of Schemathesis by the service's OpenAPI document, and its findings; None where it is not installed."""
    python = prepare(SCHEMATHESIS, say)
    if python is None:
        return None, ""
    say("Schemathesis")
    report = fleet.folder / "schema.ndjson"
    command = [str(python.with_name("schemathesis")), "run", f"{fleet.settings.scoring_url}/openapi.json"]
    command += ["--checks", ",".join(SCHEMA_CHECKS)]
    command += ["--max-examples", str(SCHEMA_EXAMPLES), "--seed", str(SEED), "--report", "ndjson"]
    command += ["--report-ndjson-path", str(report), "--no-color", "--request-timeout", str(HANG)]
    done = subprocess.run(command, cwd=fleet.folder, capture_output=True, text=True, check=False)
    return _count_cases(report), "" if done.returncode == 0 else done.stdout[-3000:]


def _count_cases(report: Path) -> int:
    with report.open(encoding="utf-8") as lines:
        ended = (json.loads(line).get("ScenarioFinished") for line in lines if line.startswith('{"ScenarioFinished"'))
        return sum(len(one.get("recorder", {}).get("cases", ())) for one in ended if one)


def draw_fuzz(found: Fuzz) -> Iterator[str]:
    """What was found, in lines."""
    yield f"hostile requests: {found.cases} in {found.seconds:.0f} s"
    for kind in found.kinds:
        statuses = ", ".join(f"{status}: {n}" for status, n in kind.statuses.items())
        yield f"  {kind.cases:6d} {kind.name} ({statuses}), slowest {kind.slowest:.2f} s"
    yield f"  {'none' if found.schema is None else found.schema:>6} Schemathesis, by the OpenAPI document"
    broken = sum(n for kind in found.kinds for status, n in kind.statuses.items() if status >= 500)
    yield f"5xx: {broken}, crashes: {found.crashes}, promises broken: {len(found.findings)}"
    yield from (f"  {finding}" for finding in found.findings)
    yield f"scoring requests not on record: {found.unrecorded}; records not taken by ingestion: {found.quarantined}"
    yield (
        f"an honest client beside them: {found.honest} requests, {found.honest_wrong} not answered rightly, "
        f"longest wait {found.honest_slowest:.2f} s"
    )
