"""Peak memory of the drift command: a file of one million rows and one ten times as long."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from benchmarks.table import Comparison
from ml.settings import PROJECT

MILLION, TIMES = 1_000_000, 10
NUMBERS, CATEGORIES = 14, 6
_PERENNIAL = "from ml.cli.main import run; run()"
#: Started by a small process: a new one takes over the size of the one that it was forked from.
_MEASURE = """
import resource, subprocess, sys
subprocess.run(sys.argv[1:], check=True, stdout=subprocess.DEVNULL)
print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)
"""
_PANDAS = "import sys, pandas; pandas.read_parquet(sys.argv[1])"


def compare_memory(folder: Path, say: Callable[[str], None]) -> list[Comparison]:
    """Megabytes that the real command takes at its peak, beside pandas and beside itself on a tenth of the rows."""
    short, long, profile = folder / "million.parquet", folder / "ten.parquet", folder / "million.json"
    say(f"writing {TIMES * MILLION:,} rows of {NUMBERS + CATEGORIES} columns")
    write_rows(short, 1)
    write_rows(long, TIMES)
    say("peak memory of a drift check")
    peak_megabytes(_PERENNIAL, "profile", str(short), "--output", str(profile))
    check = ("drift", "--reference", str(profile), "--live")
    few, many = (peak_megabytes(_PERENNIAL, *check, str(path)) for path in (short, long))
    pandas = peak_megabytes(_PANDAS, str(short))
    long.unlink()
    what = "drift check, {:,} x " + str(NUMBERS + CATEGORIES) + ", peak MB"
    return [
        Comparison(what.format(MILLION), "Perennial", few, "pandas reads the file", pandas, pandas / few, n=1),
        Comparison(what.format(TIMES * MILLION), "Perennial", many, f"{MILLION:,} rows", few, few / many, n=1),
    ]


def write_rows(path: Path, millions: int) -> None:
    """Row groups of a million independent rows."""
    rng = np.random.default_rng(7)
    words = pa.array([f"value {i}" for i in range(8)])
    writer: pq.ParquetWriter | None = None
    for _ in range(millions):
        columns = {f"x{i:02}": pa.array(rng.normal(size=MILLION)) for i in range(NUMBERS)}
        columns |= {f"c{i}": words.take(pa.array(rng.integers(0, 8, MILLION))) for i in range(CATEGORIES)}
        table = pa.table(columns)
        writer = writer or pq.ParquetWriter(path, table.schema)
        writer.write_table(table, row_group_size=MILLION)
    if writer is not None:
        writer.close()


def peak_megabytes(code: str, *arguments: str) -> float:
    """Largest resident size of a Python process that runs some code to its end.

    Raises
    ------
    subprocess.CalledProcessError
        It failed.
    """
    command = [sys.executable, "-c", _MEASURE, sys.executable, "-c", code, *arguments]
    told = subprocess.run(command, cwd=PROJECT, capture_output=True, text=True, check=True).stdout
    return int(told) / (1024 if sys.platform == "linux" else 1024**2)
