"""Memory of the drift command does not grow with the file."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from ml.settings import PROJECT

GROUP = 1_000_000
LIMIT_MB = 450  # eight bytes for each row of a group are its hashes

#: Started by a small process: a new one takes over the size of the one that it was forked from.
MEASURE = """
import resource, subprocess, sys
subprocess.run(sys.argv[1:], check=True, stdout=subprocess.DEVNULL)
print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)
"""


def write_groups(path: Path, table: pa.Table, groups: int) -> Path:
    """The table's rows again and again, a row group each."""
    with pq.ParquetWriter(path, table.schema) as writer:
        for _ in range(groups):
            writer.write_table(table, row_group_size=GROUP)
    return path


def peak_megabytes(*words: str) -> float:
    """Largest resident size of the real command in a process of its own."""
    command = [sys.executable, "-c", "from ml.cli.main import run; run()", *words]
    told = subprocess.run([sys.executable, "-c", MEASURE, *command], cwd=PROJECT, capture_output=True, check=True)
    return int(told.stdout) / 1024


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="ru_maxrss is in kilobytes on Linux only")
def test_the_peak_of_memory_is_the_same_for_one_million_rows_and_for_six(rng, tmp_path):
    """Fourteen numbers and six categories; a profile is made, and checked against."""
    words = pa.array([f"value {i}" for i in range(8)])
    table = pa.table(
        {f"x{i:02}": rng.normal(size=GROUP) for i in range(14)}
        | {f"c{i}": words.take(pa.array(rng.integers(0, 8, GROUP))) for i in range(6)}
    )
    few, many = write_groups(tmp_path / "few.parquet", table, 1), write_groups(tmp_path / "many.parquet", table, 6)
    reference = str(tmp_path / "reference.json")

    profiled = [peak_megabytes("profile", str(path), "--output", reference) for path in (few, many)]
    checked = [peak_megabytes("drift", "--reference", reference, "--live", str(path)) for path in (few, many)]

    for small, large in (profiled, checked):
        print(small, large)
        assert large < LIMIT_MB
        assert large < 1.1 * small
