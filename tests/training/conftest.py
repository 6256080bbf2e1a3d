"""A ferry that runs late in wind: numbers, a boolean and a category, with gaps; and its data as files and frames."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from ml.records.decision import RetrainRequest, TrainingSet
from ml.store.fingerprint import fingerprint
from ml.training.parts import assign_parts, rows_of, split_by_time
from ml.use_case import UseCase

START = datetime(2013, 1, 1, tzinfo=UTC)

FEATURES: dict[str, Any] = {
    "wind": {"type": "number", "range": [0, 200], "nullable": True},
    "tide": {"type": "number"},
    "holiday": {"type": "boolean", "nullable": True},
    "pier": {"type": "category", "nullable": True},
    "weather": {"type": "category", "values": ["fair", "fog", "storm"]},
}


def ferry_use_case(features: tuple[str, ...] = tuple(FEATURES), classes: int = 2, **changes: Any) -> UseCase:
    """The ferry's use case with some of its features, 2 or 3 classes, and changed sections."""
    content: dict[str, Any] = {
        "name": "ferry",
        "task": "binary_classification" if classes == 2 else "multiclass_classification",
        "time_column": "time",
        "entity_columns": ["boat"],
        "features": {name: FEATURES[name] for name in features},
        "target": {
            "column": "late",
            "classes": {"0": "on time", "1": "late", "2": "cancelled"}
            if classes == 3
            else {"0": "on time", "1": "late"},
            "horizon": "1h",
            "maturity": "1h",
        },
        "training": {"history": {"file": "ferry.csv"}, "validation": "4d", "holdout": "3d"},
        "monitoring": {},
        "gate": {"minimum_rows": 20},
        "retraining": {"minimum_labelled": 50},
    }
    for section, values in changes.items():
        content[section] = content.get(section, {}) | values if isinstance(values, dict) else values
    return UseCase.model_validate(content)


def ferry_rows(hours: int = 30 * 24, *, seed: int = 1, start: datetime = START, classes: int = 2) -> pd.DataFrame:
    """One boat, so many hours; wind makes it late. A twentieth of the nullable values is missing."""
    rng = np.random.default_rng(seed)
    wind = np.abs(rng.normal(30, 15, hours)).round(1)
    weather = rng.choice(["fair", "fog", "storm"], hours, p=[0.6, 0.3, 0.1])
    pier = rng.choice(["A", "B", "Ünter"], hours).astype(object)
    strength = (wind - 35) / 10 + (weather == "storm") * 2 + (pier == "A") + rng.normal(0, 1, hours)
    kind = (strength > 0).astype(int) + ((strength > 2).astype(int) if classes == 3 else 0)
    names = np.array(["on time", "late", "cancelled"], dtype=object)
    gaps = rng.random((3, hours)) < 0.05
    times = [start + timedelta(hours=i) for i in range(hours)]
    return pd.DataFrame(
        {
            "id": [f"Ann|{time.isoformat()}" for time in times],
            "event_time": pd.Series(times).astype("datetime64[us, UTC]"),
            "wind": np.where(gaps[0], np.nan, wind),
            "tide": rng.normal(0, 1, hours).round(3),
            "holiday": np.where(gaps[1], np.nan, rng.integers(0, 2, hours).astype(float)),
            "pier": np.where(gaps[2], None, pier),
            "weather": weather.astype(object),
            "label": names[kind],
        }
    )


def write_csv(rows: pd.DataFrame, folder: Path, name: str = "ferry.csv") -> Path:
    """The rows as the use case's data file."""
    codes = {"on time": "0", "late": "1", "cancelled": "2"}
    table = pd.DataFrame(
        {
            "time": [moment.isoformat() for moment in rows["event_time"]],
            "boat": "Ann",
            **{name: rows[name] for name in FEATURES},
            "late": [codes.get(label, label) for label in rows["label"]],
        }
    )
    table.to_csv(folder / name, index=False)
    return folder / name


def training_set(rows: pd.DataFrame, use_case: UseCase, key: str = "test") -> tuple[pd.DataFrame, TrainingSet]:
    """The rows cut into parts, all of them history, with the record that describes them."""
    end = rows["event_time"].max().to_pydatetime() + timedelta(hours=1)
    split = split_by_time(use_case, start=rows["event_time"].min().to_pydatetime(), end=end)
    assert split is not None
    columns = ["id", "event_time", *use_case.features, "label"]
    frame = assign_parts(rows[columns].assign(source="history"), split).reset_index(drop=True)
    described = TrainingSet(
        use_case=use_case.name,
        request=RetrainRequest(key=key, use_case=use_case.name, as_of=end, reason="test", actor="test"),
        data_version=1,
        fingerprint=fingerprint(frame),
        fit=split.fit,
        validation=split.validation,
        holdout=split.holdout,
        n_fit=len(rows_of(frame, "fit")),
        n_validation=len(rows_of(frame, "validation")),
        n_holdout=len(rows_of(frame, "holdout")),
        watermark=rows_of(frame, "fit", "validation")["event_time"].max().to_pydatetime(),
        sources={"history": len(frame), "live": 0},
        quarantined=0,
        champion_version=None,
    )
    return frame, described


@pytest.fixture(scope="session")
def make_use_case() -> Callable[..., UseCase]:
    """Builder of use cases."""
    return ferry_use_case


@pytest.fixture(scope="session")
def make_rows() -> Callable[..., pd.DataFrame]:
    """Builder of ferry rows."""
    return ferry_rows


@pytest.fixture(scope="session")
def make_training_set() -> Callable[..., tuple[pd.DataFrame, TrainingSet]]:
    """Builder of rows in parts with their record."""
    return training_set


@pytest.fixture(scope="session")
def save_csv() -> Callable[..., Path]:
    """Writer of the data file."""
    return write_csv
