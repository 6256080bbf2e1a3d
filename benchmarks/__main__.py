"""``python -m benchmarks [PART ...]``: comparisons as tables, or as JSON for machines; all parts by default."""

from __future__ import annotations

import argparse
import dataclasses
import sys
import tempfile
from pathlib import Path

from benchmarks.detection import compare_detection
from benchmarks.drift import compare_drift
from benchmarks.gate import GateBench, draw_gate, measure_gate
from benchmarks.ledger import LedgerBench, draw_ledger, measure_ledger
from benchmarks.memory import compare_memory
from benchmarks.plot import plot_false_alarms
from benchmarks.poison import Clean, Poisoned, draw_poison, measure_poison
from benchmarks.scoring import compare_scoring
from benchmarks.table import Comparison, Detection, draw, draw_detection
from benchmarks.years import compare_years
from ml.cli.output import print_json, progress_line, stderr, stdout
from ml.settings import settings

COMPARED = {"drift": compare_drift, "memory": compare_memory, "years": compare_years, "scoring": compare_scoring}
PARTS = (*COMPARED, "detection", "poison", "gate", "ledger")


def main(arguments: list[str]) -> None:
    """Run and print the parts that are asked for."""
    asked = parse(arguments)
    settings().quieten_this_process()
    detection: Detection | None = None
    poison: tuple[Clean, tuple[Poisoned, ...]] | None = None
    gate: GateBench | None = None
    ledger: LedgerBench | None = None
    with tempfile.TemporaryDirectory() as folder, progress_line("benchmarks") as say:
        compared = [row for name, part in COMPARED.items() if name in asked.parts for row in part(Path(folder), say)]
        if "detection" in asked.parts:
            detection = compare_detection(Path(folder), say)
        if "poison" in asked.parts:
            poison = measure_poison(say)
        if "gate" in asked.parts:
            gate = measure_gate(say)
        if "ledger" in asked.parts:
            ledger = measure_ledger(Path(folder), say)
    if detection and asked.plot:
        stderr.print(f"drawn: {plot_false_alarms(detection, asked.plot)}")
    if asked.json:
        print_json(_as_dictionary(compared, detection, poison, gate, ledger))
        return
    if compared:
        stdout.print(draw(compared))
    tables = (
        *(draw_detection(detection) if detection else ()),
        *(draw_poison(*poison) if poison else ()),
        *(draw_gate(gate) if gate else ()),
        *(draw_ledger(ledger) if ledger else ()),
    )
    stdout.print(*tables, sep="\n")


def _as_dictionary(
    compared: list[Comparison],
    detection: Detection | None,
    poison: tuple[Clean, tuple[Poisoned, ...]] | None,
    gate: GateBench | None,
    ledger: LedgerBench | None,
) -> dict[str, object]:
    told: dict[str, object] = {"comparisons": [dataclasses.asdict(row) for row in compared]}
    if detection:
        told["detection"] = dataclasses.asdict(detection)
    if poison:
        told["poison"] = {"clean": vars(poison[0]), "attacks": [vars(row) for row in poison[1]]}
    if gate:
        told["gate"] = dataclasses.asdict(gate)
    if ledger:
        told["ledger"] = dataclasses.asdict(ledger)
    return told


def parse(arguments: list[str]) -> argparse.Namespace:
    """Parts, ``json`` and ``plot`` of a command line; anything else ends with status 2 and what is allowed."""
    parser = argparse.ArgumentParser("python -m benchmarks", description="Ours beside peers.")
    parser.add_argument("parts", nargs="*", metavar="PART", help=f"one of {', '.join(PARTS)}; all when none is named")
    parser.add_argument("--json", action="store_true", help="one JSON object instead of tables")
    parser.add_argument("--plot", type=Path, metavar="FILE", help="draw the false alarms of the part detection")
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
