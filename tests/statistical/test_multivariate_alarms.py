"""False alarms and power of what looks at all columns together, by seeded simulation."""

from __future__ import annotations

from functools import partial

import numpy as np
import pandas as pd
import pytest
from scipy import stats
from scipy.signal import lfilter

from ml.drift.calibrate import rule_of
from ml.drift.multivariate import check_together, frame_sides, live_profile
from ml.drift.reference import build_reference
from ml.records.decision import DriftCheck
from ml.records.measure import Window
from ml.use_case import UseCase

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

BUDGET, COLUMNS, HOURS, WEEK = 0.05, 7, 6000, 168
START = pd.Timestamp("2024-01-01", tz="UTC")
PCA, CLASSIFIER = ("pca_reconstruction",), ("domain_classifier",)


def ferry(multivariate: tuple[str, ...]) -> UseCase:
    """Seven numbers, weekly windows."""
    return UseCase.model_validate(
        {
            "name": "ferry",
            "task": "binary_classification",
            "time_column": "time",
            "features": {f"x{i}": {"type": "number"} for i in range(COLUMNS)},
            "target": {"column": "late", "classes": {"0": "on time", "1": "late"}},
            "training": {"history": {"file": "ferry.csv"}},
            "monitoring": {"multivariate": multivariate, "false_alarm_budget": BUDGET},
        }
    )


def series(hours: int, memory: float, correlation: float, rng: np.random.Generator) -> np.ndarray:
    """Stationary AR(1) columns, standard normal each; only the first two are correlated."""
    noise = rng.normal(size=(hours + 1000, COLUMNS))
    noise[:, 1] = correlation * noise[:, 0] + np.sqrt(1 - correlation**2) * noise[:, 1]
    return lfilter([np.sqrt(1 - memory**2)], [1, -memory], noise, axis=0)[1000:]


def frame(values: np.ndarray, first: pd.Timestamp) -> pd.DataFrame:
    """Hourly rows."""
    times = pd.date_range(first, periods=len(values), freq="h").as_unit("us")
    return pd.DataFrame(values, columns=[f"x{i}" for i in range(COLUMNS)]).assign(event_time=times)


def check(multivariate: tuple[str, ...], memory: float, seed: int, after: float = 0.6) -> DriftCheck:
    """Check of a week of one source, later than its reference; the correlation may have changed in between."""
    rng, case = np.random.default_rng(seed), ferry(multivariate)
    later = START + pd.Timedelta(hours=HOURS + 500)
    trained, live = frame(series(HOURS, memory, 0.6, rng), START), frame(series(WEEK, memory, after, rng), later)
    reference = build_reference(trained, case, fingerprint="f")
    window = Window(start=later.to_pydatetime(), end=(later + pd.Timedelta(hours=WEEK)).to_pydatetime())
    sides = frame_sides(lambda: trained, lambda: live, case, reference.whole)
    profile = live_profile(live, reference, window=window)
    return check_together(reference, profile, rule_of(case), sides=sides, window=window)


def alarms(n: int, ask: partial[DriftCheck]) -> int:
    """Drift verdicts of so many checks."""
    return sum(ask(seed=seed).verdict == "drift" for seed in range(n))


def most(n: int) -> int:
    """Alarms that a true rate of the budget would exceed in one of 200 runs of so many checks."""
    return int(stats.binom.ppf(0.995, n, BUDGET))


@pytest.mark.parametrize("memory", [0.0, 0.9])
@pytest.mark.parametrize(("multivariate", "n"), [(PCA, 100), (CLASSIFIER, 60)])
def test_a_week_of_stationary_hours_alarms_within_the_budget(multivariate, memory, n):
    """The columns and what looks at them together have one budget."""
    assert alarms(n, partial(check, multivariate, memory)) <= most(n)


@pytest.mark.parametrize(
    ("multivariate", "memory", "least"), [((), 0.0, 0), (PCA, 0.0, 19), (CLASSIFIER, 0.0, 19), (CLASSIFIER, 0.9, 12)]
)
def test_a_flipped_correlation_is_found_by_what_looks_at_columns_together(multivariate, memory, least):
    """0.6 before, -0.6 after, in 20 checks; the columns by themselves alarm as rarely as without any change."""
    found = alarms(20, partial(check, multivariate, memory, after=-0.6))

    assert found >= least
    assert multivariate or found <= most(20)
