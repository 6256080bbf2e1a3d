"""A use case whose policy needs 300 labelled rows and rests for 14 days."""

from __future__ import annotations

import pytest

from ml.use_case import UseCase


@pytest.fixture(scope="session")
def use_case() -> UseCase:
    """Ferries, late or on time."""
    return UseCase.model_validate(
        {
            "name": "ferry",
            "task": "binary_classification",
            "time_column": "time",
            "features": {"wind": {"type": "number"}},
            "target": {"column": "late", "classes": {"0": "on time", "1": "late"}},
            "training": {"history": {"file": "ferry.csv"}},
            "monitoring": {},
            "retraining": {"minimum_labelled": 300, "cool_down": "14d"},
        }
    )
