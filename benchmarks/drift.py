"""One drift check of a large window: ours beside SciPy and NumPy by hand, which keep no reference and no record."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import numpy as np
import pandas as pd
from scipy import stats

from benchmarks.table import Comparison
from ml.drift.detect import check_drift
from ml.drift.profile import build_profile
from ml.drift.reference import build_reference
from ml.records.measure import Window
from ml.use_case import UseCase

ROWS, REFERENCE_ROWS, COLUMNS, ROUNDS = 1_000_000, 100_000, 20, 5
START = datetime(2024, 1, 1, tzinfo=UTC)


def compare_drift(say: Callable[[str], None]) -> list[Comparison]:
    """Seconds of a check of one million live rows of twenty numbers, in interleaved rounds."""
    say(f"drawing {ROWS:,} rows of {COLUMNS} columns")
    rng = np.random.default_rng(7)
    reference, live = _frame(rng, REFERENCE_ROWS), _frame(rng, ROWS)
    use_case = _use_case(list(reference.columns.drop("event_time")))
    stored = build_reference(reference, use_case, fingerprint="")
    window = Window(start=START, end=START + timedelta(days=60))

    def ours() -> None:
        profile = build_profile(live, use_case, window=window, edges=stored.whole)
        check_drift(stored, profile, use_case=use_case, window=window, model_version=1)

    def psi_by_hand() -> None:
        for name in use_case.features:
            edges = np.unique(np.quantile(reference[name], np.linspace(0, 1, 11)))[1:-1]
            shares = [
                np.bincount(np.searchsorted(edges, frame[name]), minlength=10) / len(frame)
                for frame in (reference, live)
            ]
            np.sum((shares[1] - shares[0]) * np.log(shares[1] / shares[0]))

    def ks_by_hand() -> None:
        for name in use_case.features:
            stats.ks_2samp(reference[name], live[name])

    ways = {
        "Perennial, profile and verdict": ours,
        "PSI with NumPy by hand": psi_by_hand,
        "KS with SciPy by hand": ks_by_hand,
    }
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    for number in range(ROUNDS):
        for name, way in ways.items():
            say(f"round {number + 1} of {ROUNDS}: {name}")
            started = time.perf_counter()
            way()
            seconds[name].append(time.perf_counter() - started)
    own, *peers = ((name, statistics.median(found)) for name, found in seconds.items())
    what = f"drift check, {ROWS:,} x {COLUMNS}, seconds"
    return [Comparison(what, own[0], own[1], name, found, found / own[1], n=ROUNDS) for name, found in peers]


def _frame(rng: np.random.Generator, rows: int) -> pd.DataFrame:
    frame = pd.DataFrame({f"x{i:02}": rng.normal(0, 1 + i / 20, rows) for i in range(COLUMNS)})
    return frame.assign(event_time=pd.date_range(START, periods=rows, freq="4s"))


def _use_case(columns: list[str]) -> UseCase:
    return UseCase.model_validate(
        {
            "name": "numbers",
            "task": "binary_classification",
            "time_column": "event_time",
            "features": {name: {"type": "number"} for name in columns},
            "target": {"column": "label", "classes": {"0": "no", "1": "yes"}},
            "training": {"history": {"file": "none.csv"}},
            "monitoring": {"threshold": 0.2, "window": "1d"},
        }
    )
