"""One drift check of a large file against a stored reference: ours beside peers and beside doing it by hand."""

from __future__ import annotations

import json
import statistics
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
from scipy import stats

from benchmarks.peers.environment import EVIDENTLY, FOLDER, NANNYML, Peer, prepare
from benchmarks.table import Comparison
from ml.drift.calibrate import DriftRule
from ml.drift.detect import check_drift
from ml.drift.file_profiles import profile_files, profile_live
from ml.drift.files import open_files

ROWS, NUMBERS, CATEGORIES, ROUNDS = 1_000_000, 14, 6, 5


def compare_drift(folder: Path, say: Callable[[str], None]) -> list[Comparison]:
    """Seconds of a check of one million live rows of twenty columns in a Parquet file, in interleaved rounds."""
    say(f"writing twice {ROWS:,} rows of {NUMBERS + CATEGORIES} columns")
    rng = np.random.default_rng(7)
    first, second = folder / "reference.parquet", folder / "live.parquet"
    for path, shift in ((first, 0.0), (second, 0.05)):
        _frame(rng, shift).to_parquet(path)
    stored = profile_files(open_files([first]))

    def ours() -> None:
        live = profile_live(open_files([second]), stored.whole)
        check_drift(stored, live, DriftRule())

    def make_profile() -> None:
        profile_live(open_files([second]), stored.whole)

    ways = {
        "Perennial, file to verdict": ours,
        "Perennial, file to profile": make_profile,
        "decoding the file": lambda: _decode(second),
        "PSI with NumPy by hand": lambda: _psi_by_hand(first, second),
        "KS with SciPy by hand": lambda: _ks_by_hand(first, second),
    }
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    for number in range(ROUNDS + 1):
        for name, way in ways.items():
            say(f"round {number} of {ROUNDS}: {name}")
            started = time.perf_counter()
            way()
            if number:  # the first round compiles and warms up
                seconds[name].append(time.perf_counter() - started)
    found = {name: statistics.median(values) for name, values in seconds.items()}
    own, profile = found.pop("Perennial, file to verdict"), found.pop("Perennial, file to profile")
    decode = found.pop("decoding the file")
    what = f"drift check, {ROWS:,} x {NUMBERS + CATEGORIES}, seconds"
    rows = [Comparison(what, "Perennial", own, name, peer, peer / own, n=ROUNDS) for name, peer in found.items()]
    rows.append(
        Comparison(
            "profile of the same, seconds", "Perennial", profile, "decoding it", decode, decode / profile, ROUNDS
        )
    )
    files = (first, second)
    return rows + _evidently(files, own, what, say) + _nannyml(files, own, what, say)


def _ask(peer: Peer, script: str, files: tuple[Path, Path], say: Callable[[str], None]) -> dict[str, float] | None:
    """What a peer's script prints of two files, in an environment of its own; None where it cannot run."""
    python = prepare(peer, say)
    if python is None:
        return None
    say(f"{peer.name} {peer.version} on the two files")
    command = [str(python), str(FOLDER / script), *map(str, files)]
    ran = subprocess.run(command, cwd=files[0].parent, capture_output=True, text=True, check=False)
    if ran.returncode:
        say(f"{peer.name} failed; it is left out")
        return None
    found: dict[str, float] = json.loads(ran.stdout.splitlines()[-1])
    return found


def _evidently(files: tuple[Path, Path], own: float, what: str, say: Callable[[str], None]) -> list[Comparison]:
    """The preset, once."""
    told = _ask(EVIDENTLY, "evidently_drift.py", files, say)
    if told is None:
        return []
    return [Comparison(what, "Perennial", own, "Evidently's preset", told["seconds"], told["seconds"] / own, n=1)]


def _nannyml(files: tuple[Path, Path], own: float, what: str, say: Callable[[str], None]) -> list[Comparison]:
    """Its fastest methods: from both files, and from the live one with a calculator that was fitted before, as ours."""
    told = _ask(NANNYML, "nannyml_drift.py", files, say)
    if told is None:
        return []
    return [
        Comparison(what, "Perennial", own, name, told[key], told[key] / own, n=int(told["rounds"]))
        for name, key in (("NannyML, both files", "seconds"), ("NannyML, fitted before", "fitted_seconds"))
    ]


def _decode(path: Path) -> None:
    pq.read_table(path)


def _numbers(first: Path, second: Path) -> tuple[pd.DataFrame, pd.DataFrame]:
    names = [f"x{i:02}" for i in range(NUMBERS)]
    return pd.read_parquet(first, columns=names), pd.read_parquet(second, columns=names)


def _psi_by_hand(first: Path, second: Path) -> None:
    """Fourteen numbers only."""
    frames = _numbers(first, second)
    for name in frames[0].columns:
        edges = np.unique(np.quantile(frames[0][name], np.linspace(0, 1, 11)))[1:-1]
        a, b = (np.bincount(np.searchsorted(edges, frame[name]), minlength=10) / len(frame) for frame in frames)
        np.sum((b - a) * np.log(b / a))


def _ks_by_hand(first: Path, second: Path) -> None:
    """Fourteen numbers only."""
    frames = _numbers(first, second)
    for name in frames[0].columns:
        stats.ks_2samp(frames[0][name], frames[1][name])


def _frame(rng: np.random.Generator, shift: float) -> pd.DataFrame:
    numbers = {f"x{i:02}": rng.normal(shift * (i < 3), 1 + i / 20, ROWS) for i in range(NUMBERS)}
    words = np.array([f"value {i}" for i in range(8)], dtype=object)
    return pd.DataFrame(numbers | {f"c{i}": words[rng.integers(0, 8, ROWS)] for i in range(CATEGORIES)})
