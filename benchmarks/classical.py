"""The classical tests of rows that are draws of their own: how often each errs, beside the one that respects time."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from rich.table import Table
from scipy import stats

from benchmarks.gate import LEVEL, RUNS, SEED, SIZES, START, world
from ml.evaluation.metrics import LOSSES
from ml.evaluation.paired import compare_paired
from ml.evaluation.ranking import compare_roc_auc
from ml.training.serial_interval import SerialMean

Floats = NDArray[np.float64]
#: Noise of a worse champion's scores, over the fourth root of the rows: its loss grows with the square, and what a test
#: finds with the square root of the rows.
_WORSE = 3.8


@dataclass(frozen=True)
class Classical:
    """Shares of pairs in which a test says that the second model is better, with an exact 95 % interval."""

    test: str
    rows: int
    false: int
    found: int
    n: int


def measure_classical(
    say: Callable[[str], None], *, runs: int = RUNS, sizes: tuple[int, ...] = SIZES
) -> tuple[Classical, ...]:
    """False promotions of equal models, and found gains, of independent rows."""
    found = []
    for rows in sizes:
        say(f"{rows} independent rows")
        equal, better = (list(_p_values(rows, runs, noise)) for noise in (0.0, _WORSE / rows**0.25))
        found += [
            Classical(name, rows, sum(p[name] < LEVEL for p in equal), sum(p[name] < LEVEL for p in better), runs)
            for name in equal[0]
        ]
    return tuple(found)


def _p_values(rows: int, runs: int, noise: float) -> Iterator[dict[str, float]]:
    times = pd.date_range(START, periods=rows, freq="h")
    for seed in range(runs):
        rng = np.random.default_rng([SEED, rows, seed, 3])
        judged = world(rows, 0.0, rng).tail(rows)
        first, second = judged["champion"] + noise * rng.standard_normal(rows), judged["challenger"]
        tests = _tests(judged["label"].to_numpy(), first.to_numpy(), second.to_numpy(), times)
        yield {name: float(found.p_above(0.0) or 0.0) for name, found in tests.items()}


def _tests(
    labels: NDArray[np.object_], first: Floats, second: Floats, times: pd.DatetimeIndex
) -> dict[str, SerialMean]:
    answers = [np.column_stack([stats.logistic.sf(odds), stats.logistic.cdf(odds)]) for odds in (first, second)]
    wrong, logs = (
        [LOSSES[metric](labels, told, ("no", "yes")) for told in answers] for metric in ("error_rate", "log_loss")
    )
    positive = np.array(labels == "yes", dtype=bool)
    return {
        "McNemar, errors": compare_paired(wrong[0], wrong[1], times, independent=True),
        "in time, errors": compare_paired(wrong[0], wrong[1], times),
        "Student, log loss": compare_paired(logs[0], logs[1], times, independent=True),
        "in time, log loss": compare_paired(logs[0], logs[1], times),
        "DeLong, area": compare_roc_auc(second, first, positive, times, independent=True),
        "in time, area": compare_roc_auc(second, first, positive, times),
    }


def draw_classical(found: tuple[Classical, ...]) -> Iterator[Table | str]:
    """One row for each test and size."""
    table = Table(
        *("rows", "test", "equal models told apart", "a better one found"),
        title=f"rows that are draws of their own, {found[0].n} pairs each, at 5 %",
    )
    for row in found:
        table.add_row(f"{row.rows:,}", row.test, _share(row.false, row.n), _share(row.found, row.n))
    yield table


def _share(count: int, n: int) -> str:
    interval = stats.binomtest(count, n).proportion_ci(0.95)
    return f"{count / n:.1%} ({interval.low:.1%} to {interval.high:.1%})"
