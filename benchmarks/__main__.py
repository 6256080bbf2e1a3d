"""``python -m benchmarks [PART ...]``: comparisons as tables, or as JSON for machines; all parts by default."""

from __future__ import annotations

import argparse
import dataclasses
import sys
import tempfile
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks.alerts import draw_alerts, measure_alerts
from benchmarks.audit import draw_audit, measure_audit
from benchmarks.batches import draw_batches, measure_batches
from benchmarks.classical import draw_classical, measure_classical
from benchmarks.detection import compare_detection
from benchmarks.drift import compare_drift
from benchmarks.envelope import draw_envelope, measure_envelope
from benchmarks.fuzz import draw_fuzz, measure_fuzz
from benchmarks.gate import draw_gate, measure_gate
from benchmarks.going_back import draw_going_back, measure_going_back
from benchmarks.kills import draw_kills, measure_kills
from benchmarks.ledger import draw_ledger, measure_ledger
from benchmarks.limits import draw_limits, measure_limits
from benchmarks.memory import compare_memory
from benchmarks.notice import draw_notice, measure_notice
from benchmarks.plot import plot_false_alarms
from benchmarks.poison import Clean, Poisoned, draw_poison, measure_poison
from benchmarks.releases import draw_releases, measure_releases
from benchmarks.replay import draw_replay, measure_replay
from benchmarks.reports import draw_reports, measure_reports
from benchmarks.scoring import draw_scoring, measure_scoring
from benchmarks.soak import SECONDS, draw_soak, measure_soak
from benchmarks.swaps import draw_swaps, measure_swaps
from benchmarks.table import draw, draw_detection
from benchmarks.telemetry import draw_telemetry, measure_telemetry
from benchmarks.years import compare_years
from ml.cli.output import print_json, progress_line, stderr, stdout
from ml.settings import settings

COMPARED = {"drift": compare_drift, "memory": compare_memory, "years": compare_years}


class Part(NamedTuple):
    """One part that is no comparison with peers: how it is measured, drawn for people and told to machines."""

    measure: Callable[[Path, Callable[[str], None]], Any]
    draw: Callable[[Any], Iterable[Any]]
    tell: Callable[[Any], object] = dataclasses.asdict


def _tell_poison(found: Mapping[str, tuple[Clean, tuple[Poisoned, ...]]]) -> object:
    return {
        name: {"clean": vars(clean), "attacks": [vars(row) for row in attacks]}
        for name, (clean, attacks) in found.items()
    }


MEASURED = {
    "scoring": Part(measure_scoring, draw_scoring),
    "batches": Part(measure_batches, draw_batches, lambda found: [dataclasses.asdict(one) for one in found]),
    "detection": Part(compare_detection, draw_detection),
    "poison": Part(lambda _, say: measure_poison(say), draw_poison, _tell_poison),
    "gate": Part(lambda _, say: measure_gate(say), draw_gate),
    "classical": Part(
        lambda _, say: measure_classical(say), draw_classical, lambda found: [vars(row) for row in found]
    ),
    "audit": Part(lambda _, say: measure_audit(say), draw_audit, lambda found: [vars(row) for row in found]),
    "ledger": Part(measure_ledger, draw_ledger),
    "envelope": Part(measure_envelope, draw_envelope),
    "alerts": Part(measure_alerts, draw_alerts),
    "limits": Part(measure_limits, draw_limits),
    "notice": Part(measure_notice, draw_notice),
    "telemetry": Part(measure_telemetry, draw_telemetry),
    "reports": Part(measure_reports, draw_reports),
    "kills": Part(measure_kills, draw_kills),
    "fuzz": Part(measure_fuzz, draw_fuzz),
    "soak": Part(measure_soak, draw_soak),
    "releases": Part(measure_releases, draw_releases),
    "replay": Part(measure_replay, draw_replay),
    "swaps": Part(measure_swaps, draw_swaps),
    "rollback": Part(measure_going_back, draw_going_back, lambda found: [dataclasses.asdict(one) for one in found]),
}
PARTS = (*COMPARED, *MEASURED)


def main(arguments: list[str]) -> None:
    """Run and print the parts that are asked for."""
    asked = parse(arguments)
    settings().quieten_this_process()
    with tempfile.TemporaryDirectory() as folder, progress_line("benchmarks") as say:
        compared = [row for name, part in COMPARED.items() if name in asked.parts for row in part(Path(folder), say)]
        measured = MEASURED | {"soak": Part(partial(measure_soak, seconds=asked.seconds), draw_soak)}
        found = {name: part.measure(Path(folder), say) for name, part in measured.items() if name in asked.parts}
    if "detection" in found and asked.plot:
        stderr.print(f"drawn: {plot_false_alarms(found['detection'], asked.plot)}")
    if asked.json:
        told: dict[str, object] = {"comparisons": [dataclasses.asdict(row) for row in compared]}
        print_json(told | {name: MEASURED[name].tell(one) for name, one in found.items()})
        return
    if compared:
        stdout.print(draw(compared))
    stdout.print(*(table for name, one in found.items() for table in MEASURED[name].draw(one)), sep="\n")


def parse(arguments: list[str]) -> argparse.Namespace:
    """Parts, ``json`` and ``plot`` of a command line; anything else ends with status 2 and what is allowed."""
    parser = argparse.ArgumentParser("python -m benchmarks", description="Ours beside peers.")
    parser.add_argument("parts", nargs="*", metavar="PART", help=f"one of {', '.join(PARTS)}; all when none is named")
    parser.add_argument("--json", action="store_true", help="one JSON object instead of tables")
    parser.add_argument("--plot", type=Path, metavar="FILE", help="draw the false alarms of the part detection")
    parser.add_argument("--seconds", type=float, default=SECONDS, help="length of the part soak; default %(default)g")
    asked = parser.parse_args(arguments)
    asked.parts = asked.parts or list(PARTS)
    unknown = [part for part in asked.parts if part not in PARTS]
    if unknown:
        parser.error(f"unknown part; got {', '.join(unknown)}; allowed: {', '.join(PARTS)}")
    if asked.plot and "detection" not in asked.parts:
        parser.error(f"--plot draws the part detection; got {', '.join(asked.parts)}")
    return asked


if __name__ == "__main__":
    main(sys.argv[1:])
