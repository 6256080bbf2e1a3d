"""Minutes of delay of a ferry: a number that wind and pier explain, with errors that grow with the wind."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pandas as pd
import pytest

from ml.records.decision import RetrainRequest, TrainingSet
from ml.store.fingerprint import fingerprint
from ml.training.parts import assign_parts, rows_of, split_by_time
from ml.use_case import UseCase

START = datetime(2013, 1, 1, tzinfo=UTC)
SLOPE = 3.0


def content(**changes: Any) -> dict[str, Any]:
    """A use case file; sections are replaced by those given."""
    return {
        "name": "delay",
        "task": "regression",
        "time_column": "time",
        "features": {
            "wind": {"type": "number", "nullable": True},
            "before": {"type": "number"},
            "pier": {"type": "category", "nullable": True},
        },
        "target": {"column": "minutes", "unit": "min", "horizon": "1h", "maturity": "1h"},
        "baselines": {"persistence": "before"},
        "training": {"history": {"file": "delay.csv"}, "validation": "4d", "holdout": "7d"},
        "monitoring": {},
    } | changes


def sailings(days: int, *, seed: int = 1, slope: float = SLOPE) -> pd.DataFrame:
    """Hourly rows: 10 minutes, ``slope`` for each unit of wind, 5 more at pier B; errors spread by 1 + wind squared."""
    rng = np.random.default_rng(seed)
    n = days * 24
    wind, pier = rng.normal(size=n), rng.choice(["A", "B"], n)
    minutes = 10 + slope * wind + 5 * (pier == "B") + rng.normal(size=n) * np.sqrt(1 + wind**2)
    return pd.DataFrame(
        {
            "id": [f"{i:06}" for i in range(n)],
            "event_time": pd.date_range(START, periods=n, freq="h").as_unit("us"),
            "wind": wind,
            "before": np.append(10.0, minutes[:-1]),
            "pier": pier.astype(object),
            "label": minutes,
        }
    )


def training_set(rows: pd.DataFrame, use_case: UseCase) -> tuple[pd.DataFrame, TrainingSet]:
    """Rows cut into parts, and their record."""
    end = rows["event_time"].max().to_pydatetime() + timedelta(hours=1)
    split = split_by_time(use_case, start=rows["event_time"].min().to_pydatetime(), end=end)
    assert split is not None
    frame = assign_parts(rows.assign(source="history"), split).reset_index(drop=True)
    counts = {f"n_{part}": len(rows_of(frame, part)) for part in ("fit", "validation", "holdout")}
    return frame, TrainingSet(
        use_case="delay",
        request=RetrainRequest(key="delay/1", use_case="delay", as_of=end, reason="test", actor="test"),
        data_version=1,
        fingerprint=fingerprint(frame),
        fit=split.fit,
        validation=split.validation,
        holdout=split.holdout,
        watermark=rows_of(frame, "fit", "validation")["event_time"].max().to_pydatetime(),
        sources={"history": len(frame), "live": 0},
        quarantined=0,
        champion_version=None,
        **counts,
    )


@pytest.fixture(scope="session")
def make_content() -> Callable[..., dict[str, Any]]:
    """Builder of use case files."""
    return content


@pytest.fixture(scope="session")
def sail() -> Callable[..., pd.DataFrame]:
    """Builder of rows."""
    return sailings


@pytest.fixture(scope="session")
def cut() -> Callable[..., tuple[pd.DataFrame, TrainingSet]]:
    """Builder of rows in parts with their record."""
    return training_set


@pytest.fixture(scope="session")
def use_case() -> UseCase:
    """Minutes of delay."""
    return UseCase.model_validate(content())
