"""Versions of the training data: kept for ever, written once per key, read back as they were."""

from __future__ import annotations

from datetime import UTC, datetime

import numpy as np
import pandas as pd
import pytest

from ml.errors import DataError
from ml.store.fingerprint import fingerprint

START = datetime(2013, 3, 1, tzinfo=UTC)


def training_rows(n: int = 5) -> pd.DataFrame:
    """Assembled rows with missing values."""
    return pd.DataFrame(
        {
            "id": [f"row {i}" for i in range(n)],
            "event_time": pd.date_range(START, periods=n, freq="h").as_unit("us"),
            "wind speed (km/h)": [np.nan, *np.linspace(0.1, 9.7, n - 1)],
            "pier": [None, *["A"] * (n - 1)],
            "label": ["late"] * n,
            "part": "fit",
        }
    )


def test_training_data_comes_back_as_it_was_written(lake):
    """In every value, by fingerprint, whatever the order that it is written in."""
    frame = training_rows()

    version = lake.write_training(frame.iloc[::-1], key="k")

    found = lake.read_training(version)
    assert fingerprint(found) == fingerprint(frame)
    assert found["id"].tolist() == frame["id"].tolist()
    assert found["pier"][0] is None


def test_the_same_key_writes_once(lake):
    """A retried task gets the version that its first attempt has written, even from other rows."""
    first = lake.write_training(training_rows(3), key="k")
    other = lake.write_training(training_rows(4), key="other")

    assert lake.write_training(training_rows(5), key="k") == first
    assert other == first + 1
    assert len(lake.read_training(first)) == 3
    assert lake._training.path.exists()


def test_old_versions_stay_when_columns_change(lake):
    """A version is the data that a model was trained on, for ever."""
    first = lake.write_training(training_rows(3), key="1")
    changed = training_rows(4).drop(columns="pier").assign(tide=[1, 2, 3, 4])
    second = lake.write_training(changed, key="2")

    assert "tide" not in lake.read_training(first).columns
    assert lake.read_training(second)["tide"].tolist() == [1, 2, 3, 4]
    assert "pier" not in lake.read_training(second).columns


def test_a_writer_that_was_overtaken_takes_the_next_version(lake, monkeypatch):
    """Another request's version is written between our look and our commit; both are kept."""
    from ml.store import versions

    original = versions.write_deltalake

    def overtaken(*args, **kwargs):
        monkeypatch.setattr(versions, "write_deltalake", original)
        lake.write_training(training_rows(3), key="other")
        return original(*args, **kwargs)

    monkeypatch.setattr(versions, "write_deltalake", overtaken)

    assert lake.write_training(training_rows(4), key="ours") == 2
    assert [len(lake.read_training(v)) for v in (1, 2)] == [3, 4]
    assert lake.write_training(training_rows(4), key="other") == 1


@pytest.mark.parametrize(
    ("frame", "message"),
    [
        (training_rows(3).iloc[:0], "no rows"),
        (pd.DataFrame({"a": [object()]}), "cannot be stored"),
        (pd.DataFrame({"a": [1, "x"]}, dtype=object), "cannot be stored"),
    ],
)
def test_training_data_that_cannot_be_stored_is_refused(lake, frame, message):
    """Nothing is written."""
    with pytest.raises(DataError, match=message):
        lake.write_training(frame, key="k")
    assert not lake._training.path.exists()


def test_a_version_that_is_not_there_is_named(lake):
    """Before the first one, and beyond the last."""
    with pytest.raises(DataError, match=r"no such version.*got: 1"):
        lake.read_training(1)
    lake.write_training(training_rows(3), key="k")
    with pytest.raises(DataError, match=r"no such version.*got: 7"):
        lake.read_training(7)
