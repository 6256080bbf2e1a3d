"""A use case with each kind of column, and the first use case with its real data."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from ml.use_case import UseCase, load

PROJECT = Path(__file__).parents[2]


@pytest.fixture(scope="session")
def use_case() -> UseCase:
    """A number, a boolean and a category column; windows of a day."""
    return UseCase.model_validate(
        {
            "name": "ferry",
            "task": "binary_classification",
            "time_column": "time",
            "features": {
                "wind": {"type": "number", "nullable": True},
                "holiday": {"type": "boolean"},
                "pier": {"type": "category", "nullable": True},
            },
            "target": {"column": "late", "classes": {"0": "on time", "1": "late"}},
            "training": {"history": {"file": "ferry.csv"}},
            "monitoring": {"window": "1d", "minimum_rows": 10},
        }
    )


@pytest.fixture(scope="session")
def harbour() -> UseCase:
    """The shipped use case."""
    return load(PROJECT / "use_cases" / "harbour_weather.yaml")


@pytest.fixture(scope="session")
def weather(harbour: UseCase) -> pd.DataFrame:
    """Its real rows of the whole year, with values outside the declared ranges set to missing."""
    rows = pd.read_csv(PROJECT / harbour.training.history.file, parse_dates=["Timestamp"])
    for name, feature in harbour.features.items():
        if feature.range is not None:
            rows[name] = rows[name].where(rows[name].between(*feature.range))
    assert rows["Wind_speed_kmph"].max() < 250  # the one absurd value is gone
    return rows.rename(columns={"Timestamp": "event_time"})


@pytest.fixture
def rng() -> np.random.Generator:
    """Random numbers, the same in every run."""
    return np.random.default_rng(2013)
