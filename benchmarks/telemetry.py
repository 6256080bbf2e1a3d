"""Telemetry: what it costs a scoring process in a burst of ten thousand events a second and more, and what it loses."""

from __future__ import annotations

import json
import os
import statistics
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from urllib.request import urlopen

import psutil
from rich.table import Table

from benchmarks.load import put_load
from benchmarks.release_scene import Scene, open_scene
from benchmarks.toy_models import toy_graph
from ml.store.telemetry import Telemetry

ROUNDS, SECONDS, CLIENTS = 9, 3.0, 16
#: Rows of a request: one that is answered, and so many that are refused for a missing value.
REFUSED = 5
_GOOD, _BAD = [10.0, 5.0, 3.0], [10.0, None, 3.0]


@dataclass(frozen=True)
class Round:
    """One round of a process that tells, and one of a process that does not, one after the other.

    Attributes
    ----------
    told, untold
        Requests per second.
    told_cpu, untold_cpu
        Processor seconds of the scoring process per thousand requests.
    """

    told: float
    untold: float
    told_cpu: float
    untold_cpu: float

    @property
    def lost(self) -> float:
        """Share of the throughput that telling costs; below zero where it was the faster one."""
        return 1 - self.told / self.untold

    @property
    def more_cpu(self) -> float:
        """Share of the processor time per request that telling adds."""
        return self.told_cpu / self.untold_cpu - 1


@dataclass(frozen=True)
class TelemetryBench:
    """What telling costs, and what becomes of what is told.

    Attributes
    ----------
    events_per_second
        Refused rows a second of the process that tells, median; each is an event.
    refused, told, lost
        Refused rows by the service's counter; those in events; those counted as lost.
    """

    rounds: tuple[Round, ...]
    events_per_second: float
    refused: int
    told: int
    lost: int
    load: float

    @property
    def unaccounted(self) -> int:
        """Rows that are in no event and in no loss counter."""
        return self.refused - self.told - self.lost


def measure_telemetry(
    folder: Path, say: Callable[[str], None], *, rounds: int = ROUNDS, seconds: float = SECONDS
) -> TelemetryBench:
    """Two real scoring processes, alike but for the telling, asked in turn by clients that never pause."""
    body = folder / "burst.json"
    body.write_text(json.dumps({"data": [_GOOD] + [_BAD] * REFUSED}), encoding="utf-8")
    found = []
    with ExitStack() as stack:
        scenes = {}
        for name, module in (("told", "ml.serving"), ("untold", "benchmarks.untold")):
            say(f"starting the process whose events are {name}")
            scenes[name] = stack.enter_context(open_scene(folder / name, module=module))
            scenes[name].register(toy_graph(0.1), judged=0.1)
            scenes[name].release()
        for number in range(rounds):
            say(f"round {number + 1} of {rounds}")
            order = ("told", "untold") if number % 2 else ("untold", "told")
            measured = {name: _ask(scenes[name], body, seconds) for name in order}
            (told, told_cpu), (untold, untold_cpu) = measured["told"], measured["untold"]
            found.append(Round(told, untold, told_cpu, untold_cpu))
        refused, lost = _counted(scenes["told"])
    rate = statistics.median(one.told for one in found) * REFUSED
    return TelemetryBench(tuple(found), rate, refused, _told(scenes["told"]), lost, os.getloadavg()[0])


def draw_telemetry(found: TelemetryBench) -> tuple[Table]:
    """Tables for people."""
    n, costs, cpus = len(found.rounds), [r.lost for r in found.rounds], [r.more_cpu for r in found.rounds]
    table = Table("telemetry in a burst", "measured", "budget", box=None, caption=f"load {found.load:.1f}")
    rate = f"{found.events_per_second:,.0f} events a second (median of {n} rounds)"
    table.add_row(f"throughput lost by telling of {rate}", _share(costs), "5%")
    table.add_row("processor time per request that telling adds", _share(cpus), "")
    table.add_row(f"of {found.refused:,} events neither told nor counted as lost", f"{found.unaccounted}", "0")
    table.add_row("events counted as lost", f"{found.lost}", "")
    return (table,)


def _share(found: list[float]) -> str:
    return f"{statistics.median(found):.1%} (from {min(found):.1%} to {max(found):.1%})"


def _ask(scene: Scene, body: Path, seconds: float) -> tuple[float, float]:
    """Requests per second, and processor seconds of the scoring process per thousand of them."""
    process = psutil.Process(scene.processes[-1].pid)
    path, before = f"/score/{scene.use_case.name}", process.cpu_times()
    found = put_load(scene.settings.scoring_port, path, body, seconds=seconds, clients=CLIENTS)
    after = process.cpu_times()
    if found.failures:
        raise RuntimeError(f"{found.failures} requests failed")
    spent = after.user + after.system - before.user - before.system
    return found.rate, spent / found.requests * 1_000


def _counted(scene: Scene) -> tuple[int, int]:
    """Refused rows and lost events, by the service's own counters, once it has been asked to end in order."""
    with urlopen(f"{scene.settings.scoring_url}/metrics", timeout=30) as reply:  # noqa: S310 - loopback
        lines = dict(line.rsplit(" ", 1) for line in reply.read().decode().splitlines() if not line.startswith("#"))
    scene.processes[-1].terminate()
    scene.processes[-1].wait(60)
    refused = lines[f'perennial_rows_total{{use_case="{scene.use_case.name}",code="201"}}']
    return int(refused), int(lines["perennial_telemetry_lost_total"])


def _told(scene: Scene) -> int:
    telemetry = Telemetry(scene.settings.control_url)
    telemetry.take_spool(scene.settings.telemetry / "replica-0.sqlite")
    return sum(event.count for event in telemetry.search(codes=[201], limit=1_000_000))
