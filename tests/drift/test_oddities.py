"""Copies, times that go back, times in the future: counted in one pass, whatever the order of the groups."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from ml.drift.file_profiles import profile_files, profile_live
from ml.drift.files import open_files
from ml.drift.oddities import KEPT_HASHES, OddityCount, RowHashes, add_columns, look_at_rows, merge_oddities
from ml.drift.profile import build_profile

KINDS = {"x": "number", "word": "category"}


@pytest.fixture
def frame(rng) -> pd.DataFrame:
    """Two thousand hourly rows that all differ."""
    n = 2000
    times = pd.date_range("2024-01-01", periods=n, freq="h", tz="UTC").as_unit("us")
    return pd.DataFrame({"event_time": times, "x": rng.normal(size=n), "word": rng.choice(["fog", None, "sun"], n)})


def test_copies_are_those_that_pandas_finds(frame, rng):
    """Of numbers, gaps, words and times; pandas' own count is the oracle."""
    frame["x"] = frame["x"].round().where(frame["x"] > -1)
    frame["event_time"] = rng.choice(frame["event_time"].iloc[:50], len(frame))

    assert look_at_rows(frame, KINDS).repeated == frame.duplicated(["event_time", "x", "word"]).sum() > 100
    table = pa.Table.from_pandas(frame.drop(columns="event_time").assign(word=frame["word"].astype("category")))
    assert look_at_rows(table, KINDS).repeated == frame.duplicated(["x", "word"]).sum()


def test_beyond_what_is_kept_copies_are_estimated():
    """Every tenth row of a million comes twice; memory stays that of the kept hashes."""
    count = OddityCount()
    values = np.arange(1_000_000, dtype=np.float64)
    for part in (values[:600_000], values[600_000:], values[::10]):
        hashes = count.begin(len(part), None)
        add_columns(hashes, lambda names, part=part: (pa.table({"x": part}),), {"x": "number"})
        count.end(hashes)

    assert len(count._hashes) == KEPT_HASHES
    assert count.result().repeated == pytest.approx(100_000, rel=0.03)


def test_columns_may_not_stand_in_for_each_other():
    """Rows with the same values in other columns are no copies."""
    frame = pd.DataFrame({"x": [1.0, 2.0], "y": [2.0, 1.0]})

    assert look_at_rows(frame, {"x": "number", "y": "number"}).repeated == 0


@pytest.mark.parametrize("form", ["parquet", "csv"])
def test_a_file_that_repeats_itself_late_is_hashed_after_all(frame, tmp_path, form):
    """Its first row groups ascend, so nothing was hashed until the last one went back."""
    whole = pd.concat([frame, frame.iloc[100:300]])
    path = tmp_path / f"rows.{form}"
    if form == "csv":
        whole.to_csv(path, index=False)
    else:
        pq.write_table(pa.Table.from_pandas(whole, preserve_index=False), path, row_group_size=500)
    files = open_files([path])
    reference = profile_files(files)

    live = profile_live(files, reference.whole)

    assert live.oddities.repeated == reference.whole.oddities.repeated == 200
    assert live.oddities.backwards == 1
    assert live.oddities.furthest_back == (2000 - 100 - 1) * 3600


def test_times_that_only_ascend_need_no_hash(frame):
    """Two rows at two moments cannot be equal; two at the same moment can."""
    times = frame["event_time"].dt.tz_localize(None).to_numpy()
    count = OddityCount()

    assert count.begin(1000, times[:1000]) is None
    assert isinstance(count.begin(1000, times[999:1999]), RowHashes)
    assert count.unhashed == 1


def test_future_rows_are_counted_beyond_a_minute(frame):
    """Of a file against the check's moment; of rows of the lake against the moment when they were received."""
    now = datetime(2024, 1, 11, tzinfo=UTC)
    times = frame["event_time"].dt.tz_localize(None).to_numpy()
    count = OddityCount(now=now)
    count.begin(len(times), times)

    assert count.result().future == (frame["event_time"] > now).sum() == 1759
    received = frame["event_time"] - timedelta(seconds=59)
    assert look_at_rows(frame.assign(received_at=received), KINDS).future == 0
    assert look_at_rows(frame.assign(received_at=received - timedelta(seconds=2)), KINDS).future == 2000


def test_pieces_add_up_and_unknown_stays_unknown(frame):
    """A profile from before knows nothing, and neither does its merge."""
    edges = build_profile(frame, KINDS)
    twice = pd.concat([frame, frame])
    first, second = (build_profile(part, KINDS, edges=edges).oddities for part in (twice, twice.iloc[:3000]))

    assert merge_oddities(first, second).repeated == 2000 + 1000
    assert merge_oddities(first, None) is None
