"""The reference profile: its blocks add up to the whole, are few enough, and come back from a file."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import numpy as np
import pandas as pd
import pytest

from ml.drift.columns import kinds_of, times_of
from ml.drift.profile import build_profile, counts_of
from ml.drift.reference import build_reference
from ml.drift.reference_builder import MAXIMUM_BLOCKS, ReferenceBuilder
from ml.errors import DataError
from ml.records.profile import BlockCounts, ReferenceProfile

START = datetime(2024, 1, 1, tzinfo=UTC)
KINDS = {"x": "number", "c": "category"}


def rows(n: int, rng: np.random.Generator, *, every: str = "h") -> pd.DataFrame:
    """A number, a category, and times."""
    times = pd.date_range(START, periods=n, freq=every)
    return pd.DataFrame({"x": rng.normal(size=n), "c": rng.choice(["a", "b", "c"], n), "event_time": times})


def build(frame: pd.DataFrame, block: timedelta | None, run: int = 1, **options) -> ReferenceProfile:
    """Reference of a frame in one piece."""
    builder = ReferenceBuilder(KINDS, build_profile(frame, KINDS), block=block, run=run)
    builder.add(frame, times_of(frame["event_time"]) if block else None)
    return builder.build(**options)


@pytest.mark.parametrize("block", [timedelta(days=1), timedelta(hours=6), None])
def test_blocks_add_up_to_the_whole(rng, block):
    """Of every column, by time and by runs of rows."""
    found = build(rows(500, rng), block, run=17)

    assert sum(found.rows) == found.whole.n == 500
    for name, column in found.whole.columns.items():
        np.testing.assert_array_equal(found.counts[name].unpack().sum(axis=0), counts_of(column))


def test_a_block_holds_the_rows_of_its_day(rng):
    """Counted by pandas."""
    frame = rows(240, rng).iloc[5:]
    found = build(frame, timedelta(days=1))

    assert list(found.rows) == frame.groupby(frame["event_time"].dt.floor("D")).size().tolist()
    assert found.first == START
    assert found.positions == tuple(range(10))


def test_days_without_rows_are_no_blocks(rng):
    """A source that sleeps on Sundays has six blocks a week."""
    frame = rows(24 * 21, rng)
    found = build(frame[frame["event_time"].dt.day_of_week != 6], timedelta(days=1))

    assert len(found.rows) == 18
    assert 6 not in found.positions


def test_too_many_blocks_are_joined_within_the_window(rng):
    """Seven years of days become weeks, which make whole windows; the newest are kept when that is not enough."""
    frame = rows(7 * 365, rng, every="D")
    found = build(frame, timedelta(days=1), window=timedelta(days=7))

    assert found.block == 7 * 86400
    assert len(found.rows) <= MAXIMUM_BLOCKS
    ten = build(rows(20 * 365, rng, every="D"), timedelta(days=1), window=timedelta(days=7))
    assert len(ten.rows) == MAXIMUM_BLOCKS
    assert ten.whole.n == 20 * 365


def test_rows_may_come_in_any_number_of_pieces(rng):
    """And in any order of time, within rounding of the moments."""
    frame = rows(1000, rng)
    builder = ReferenceBuilder(KINDS, build_profile(frame, KINDS), block=timedelta(days=1))
    for part in (frame[600:], frame[:100], frame[100:600]):
        builder.add(part, times_of(part["event_time"]))
    pieces, whole = builder.build(), build(frame, timedelta(days=1))

    assert (pieces.rows, pieces.positions, pieces.counts) == (whole.rows, whole.positions, whole.counts)
    assert pieces.whole.columns["x"].m2 == pytest.approx(whole.whole.columns["x"].m2)


def test_a_row_without_time_is_refused(use_case, rng):
    """It belongs to no block; so does a frame without rows."""
    frame = rows(50, rng)
    frame.loc[3, "event_time"] = pd.NaT
    with pytest.raises(DataError, match="each with an event time"):
        build(frame, timedelta(days=1))
    with pytest.raises(DataError, match="each with an event time"):
        build_reference(frame.iloc[:0], use_case, fingerprint="")


def test_a_use_cases_reference_is_calibrated_for_its_windows(use_case, rng):
    """Rows and blocks of the stored calibration are those of a usual window."""
    frame = pd.DataFrame(
        {
            "wind": rng.normal(size=960),
            "holiday": rng.integers(0, 2, 960),
            "pier": rng.choice(["a", "b"], 960),
            "event_time": pd.date_range(START, periods=960, freq="h"),
        }
    )
    found = build_reference(frame, use_case, fingerprint="f", influence={"wind": 0.2})

    assert (found.calibration.blocks, found.calibration.rows) == (1, 24)
    assert set(found.counts) == set(kinds_of(use_case))
    assert found.influence == {"wind": 0.2}


def test_it_comes_back_from_a_file_and_is_small(tmp_path, rng):
    """Twenty columns in two hundred blocks within 500 kB; a window's profile within 64 kB."""
    kinds = {f"x{i:02}": "number" for i in range(14)} | {f"c{i}": "category" for i in range(6)}
    n = 200_000
    frame = pd.DataFrame(
        {
            name: rng.normal(size=n) if kind == "number" else rng.choice(list("abcdefgh"), n)
            for name, kind in kinds.items()
        }
    )
    builder = ReferenceBuilder(kinds, build_profile(frame, kinds), block=None, run=n // 200)
    builder.add(frame)
    found = builder.build()

    path = found.write(tmp_path / "reference.json")

    assert ReferenceProfile.read(path) == found
    assert path.stat().st_size <= 500_000
    assert len(found.whole.model_dump_json()) <= 64_000


def test_damaged_counts_are_told():
    """Never counts of another shape."""
    packed = BlockCounts.pack(np.ones((3, 4)))
    for wrong in (packed.model_copy(update={"shape": (3, 5)}), packed.model_copy(update={"packed": "AAAA"})):
        with pytest.raises(DataError, match="packed counts are damaged"):
            wrong.unpack()
