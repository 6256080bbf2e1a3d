"""What a model audit finds where there is nothing to be found, and where there is something."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import timedelta

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from rich.table import Table
from scipy import signal, stats

from ml.evaluation.attribution_shift import Attributions, compare_attributions
from ml.evaluation.weak_slices import find_weak_slices

Floats = NDArray[np.float64]
RUNS, ROWS, LEVEL = 400, (1000, 4000), 0.05
MEMORIES = (0.0, 0.5, 0.8)
_SEED, _EXPLAINED, _FEATURES = 20210620, 200, 7


@dataclass(frozen=True)
class Sought:
    """Audits in which something was named: without anything to find, and with a seeded fault; of ``n`` each."""

    what: str
    rows: int
    memory: float
    false: int
    found: int
    n: int


def measure_audit(
    say: Callable[[str], None],
    *,
    runs: int = RUNS,
    sizes: tuple[int, ...] = ROWS,
    memories: tuple[float, ...] = MEMORIES,
) -> tuple[Sought, ...]:
    """Weak slices and shifted attributions, of hourly rows whose neighbours resemble each other more or less."""
    found = []
    for memory in memories:
        for rows in sizes:
            say(f"weak slices, {rows:,} rows, autocorrelation {memory:g}")
            false, hits = (sum(_names_slice(s, rows, memory, worse) for s in range(runs)) for worse in (0.0, 0.7))
            found.append(Sought("weak slice, 0.7 deviations on a sixth", rows, memory, false, hits, runs))
        say(f"attributions, autocorrelation {memory:g}")
        false, hits = (sum(_names_feature(s, memory, more) for s in range(runs)) for more in (1.0, 1.5))
        found.append(Sought("attribution half as much again", _EXPLAINED, memory, false, hits, runs))
    return tuple(found)


def _wander(rng: np.random.Generator, rows: int, memory: float) -> Floats:
    """A first-order autoregression of variance 1."""
    steps = rng.standard_normal(rows) * np.sqrt(1 - memory**2)
    steps[0] /= np.sqrt(1 - memory**2)
    found: Floats = signal.lfilter([1.0], [1.0, -memory], steps)
    return found


def _names_slice(seed: int, rows: int, memory: float, worse: float) -> bool:
    """Without a fault any slice counts, with one those that have to do with it."""
    rng = np.random.default_rng([_SEED, seed, rows, int(memory * 100)])
    columns = {f"x{i}": _wander(rng, rows, memory) for i in range(6)}
    columns["port"] = rng.choice(np.array(["north", "south", "west"], dtype=object), rows)
    cost = _wander(rng, rows, memory) + worse * ((columns["x0"] > 0.0) & (columns["port"] == "north"))
    found = find_weak_slices(
        columns,
        cost,
        pd.date_range("2013-01-01", periods=rows, freq="h", tz="UTC"),
        block=timedelta(days=1),
        minimum_rows=50,
        level=LEVEL,
        depth=3,
    )
    named = [{condition.column for condition in one.conditions} for one in found.confirmed]
    return any(columns & {"x0", "port"} for columns in named) if worse else bool(named)


def _names_feature(seed: int, memory: float, more: float) -> bool:
    rng = np.random.default_rng([_SEED, seed, int(memory * 100)])
    features = tuple(f"x{i}" for i in range(_FEATURES))
    times = pd.date_range("2013-01-01", periods=_EXPLAINED, freq="h", tz="UTC")
    trained, live = (np.abs([_wander(rng, _EXPLAINED, memory) for _ in features]).T for _ in range(2))
    live[:, 0] *= more
    found = compare_attributions(features, Attributions(trained, times), Attributions(live, times), level=LEVEL)
    return any(one.shifted and (more == 1.0 or one.feature == "x0") for one in found)


def draw_audit(found: tuple[Sought, ...]) -> Iterator[Table | str]:
    """One row for each kind of finding, size and autocorrelation."""
    title = f"what an audit names, {found[0].n:,} simulations each, at {LEVEL:.0%}"
    table = Table(
        "what", "rows", "autocorrelation", "named where there is none", "found where there is one", title=title
    )
    for row in found:
        shares = (_share(row.false, row.n), _share(row.found, row.n))
        table.add_row(row.what, f"{row.rows:,}", f"{row.memory:g}", *shares)
    yield table


def _share(count: int, n: int) -> str:
    interval = stats.binomtest(count, n).proportion_ci(0.95)
    return f"{count / n:.1%} ({interval.low:.1%} to {interval.high:.1%})"
