"""Detectors that run in this process: ours, and what people write by hand with SciPy and NumPy."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from datetime import timedelta

import numpy as np
import pandas as pd
from scipy import stats

from benchmarks.streams import CATEGORY, NUMBERS, Floats, Stream, frame
from ml.drift.calibrate import SEED, DriftRule, calibrate
from ml.drift.columns import Kinds, times_of
from ml.drift.detect import check_drift
from ml.drift.profile import build_profile
from ml.drift.reference_builder import ReferenceBuilder
from ml.records.profile import ReferenceProfile

#: Score, higher is more drift, nan where the detector refuses to judge; and the alarm of each rule on that score.
Verdict = tuple[float, Mapping[str, bool]]
Detector = Callable[[Stream, Floats, Floats], list[Verdict]]

BUDGET = 0.05
KINDS: Kinds = dict.fromkeys(NUMBERS, "number") | {CATEGORY: "category"}
_RULE = DriftRule(false_alarm_budget=BUDGET)
_SMALLEST = 1e-300
_EMPTY = 1e-4  # the share that an empty bin gets, as usual with PSI


def perennial(stream: Stream, reference: Floats, windows: Floats) -> list[Verdict]:
    """The check with shipped settings; the reference is calibrated once, as a champion's is."""
    built = _refer(stream, frame(reference))
    days = stream.live // 24
    blocks = days if stream.timed else max(round(stream.live * len(built.rows) / stream.reference), 1)
    rng = np.random.default_rng(SEED)
    stored = built.model_copy(update={"calibration": calibrate(built, _RULE, rows=stream.live, blocks=blocks, rng=rng)})
    found: list[Verdict] = []
    for window in windows:
        live = build_profile(frame(window), KINDS, edges=stored.whole)
        check = check_drift(stored, live, _RULE, blocks=blocks)
        score = math.nan if check.score is None else check.score
        found.append((score, {"": check.verdict == "drift"}))
    return found


def _refer(stream: Stream, table: pd.DataFrame) -> ReferenceProfile:
    """Blocks of a day where rows are hours, else two hundred runs of rows."""
    block = timedelta(days=1) if stream.timed else None
    builder = ReferenceBuilder(KINDS, build_profile(table, KINDS), block=block, run=max(len(table) // 200, 1))
    times = times_of(pd.date_range("2024-01-01", periods=len(table), freq="h")) if stream.timed else None
    builder.add(table, times)
    return builder.build()


def smallest_p_value(stream: Stream, reference: Floats, windows: Floats) -> list[Verdict]:
    """Kolmogorov-Smirnov for each number, chi-squared for the category; two rules on the smallest p-value."""
    del stream
    found: list[Verdict] = []
    for window in windows:
        smallest = min(_p_values(reference, window))
        rules = {"any p < 0.05": smallest < BUDGET, "Bonferroni": smallest < BUDGET / len(KINDS)}
        found.append((-math.log10(max(smallest, _SMALLEST)), rules))
    return found


def _p_values(reference: Floats, window: Floats) -> list[float]:
    numbers = range(len(NUMBERS))
    found = [float(stats.ks_2samp(reference[:, i], window[:, i]).pvalue) for i in numbers]
    counts = np.array([[np.sum(part[:, -1] == code) for code in (0, 1)] for part in (reference, window)])
    # A window of dry weather has no rain at all, and neither side may lack it for the test to be defined.
    found.append(float(stats.chi2_contingency(counts).pvalue) if counts.sum(axis=0).all() else 1.0)
    return found


def mean_psi(stream: Stream, reference: Floats, windows: Floats) -> list[Verdict]:
    """Population stability index on the reference's deciles, mean over the columns; above 0.2 is called drift."""
    del stream
    edges = [np.unique(np.quantile(reference[:, i], np.linspace(0, 1, 11)))[1:-1] for i in range(len(NUMBERS))]
    edges.append(np.array([0.5]))
    expected = [_shares(reference[:, i], edges[i]) for i in range(len(edges))]
    found: list[Verdict] = []
    for window in windows:
        actual = [_shares(window[:, i], edges[i]) for i in range(len(edges))]
        value = float(np.mean([np.sum((b - a) * np.log(b / a)) for a, b in zip(expected, actual, strict=True)]))
        found.append((value, {"above 0.2": value > 0.2}))
    return found


def _shares(values: Floats, edges: Floats) -> Floats:
    counts = np.bincount(np.searchsorted(edges, values), minlength=len(edges) + 1)
    found: Floats = np.maximum(counts / len(values), _EMPTY)
    return found


#: Title of each, as in the tables.
DETECTORS: Mapping[str, Detector] = {"Perennial": perennial, "KS": smallest_p_value, "mean PSI": mean_psi}
