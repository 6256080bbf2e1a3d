"""``python -m benchmarks``: every comparison, one table; ``--json`` for machines."""

from __future__ import annotations

import dataclasses
import sys
import tempfile
from pathlib import Path

from benchmarks.drift import compare_drift
from benchmarks.scoring import compare_scoring
from benchmarks.table import draw
from ml.cli.output import print_json, progress_line, stdout
from ml.settings import settings


def main(arguments: list[str]) -> None:
    """Run and print every comparison."""
    settings().quieten_this_process()
    with tempfile.TemporaryDirectory() as folder, progress_line("benchmarks") as say:
        found = [*compare_drift(Path(folder), say), *compare_scoring(Path(folder), say)]
    if "--json" in arguments:
        print_json({"comparisons": [dataclasses.asdict(row) for row in found]})
    else:
        stdout.print(draw(found))


if __name__ == "__main__":
    main(sys.argv[1:])
