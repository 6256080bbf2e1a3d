"""Reference profiles: the whole, and its windows from the newest backwards."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import numpy as np
import pandas as pd
import pytest

from ml.drift.profile import build_profile, merge_profiles
from ml.drift.reference import build_reference
from ml.errors import DataError
from ml.records.profile import ReferenceProfile

START = datetime(2013, 1, 1, tzinfo=UTC)


def hourly(hours: int, *, rng: np.random.Generator) -> pd.DataFrame:
    """One row an hour from START on."""
    return pd.DataFrame(
        {
            "event_time": pd.date_range(START, periods=hours, freq="h"),
            "wind": rng.normal(size=hours),
            "holiday": rng.integers(0, 2, size=hours).astype(float),
            "pier": rng.choice(["A", "B"], size=hours),
        }
    )


def test_blocks_are_windows_from_the_newest_backwards(use_case, rng):
    """Three days and five hours: three whole days that end with the newest hour, the five hours in no block."""
    reference = build_reference(hourly(77, rng=rng), use_case, fingerprint="f")

    starts = [block.window.start for block in reference.blocks]
    assert starts == [START + timedelta(hours=5 + 24 * day) for day in range(3)]
    assert [block.n for block in reference.blocks] == [24, 24, 24]
    assert reference.whole.n == 77
    assert (reference.whole.window.start, reference.whole.window.end) == (START, START + timedelta(hours=77))
    assert reference.fingerprint == "f"


def test_a_history_of_whole_windows_loses_none(use_case, rng):
    """Two days of hourly rows are two blocks, although the newest row is 47 hours after the oldest."""
    assert [block.n for block in build_reference(hourly(48, rng=rng), use_case, fingerprint="f").blocks] == [24, 24]
    assert [block.n for block in build_reference(hourly(47, rng=rng), use_case, fingerprint="f").blocks] == [24]


def test_blocks_on_the_bins_of_the_whole_add_up_to_it(use_case, rng):
    """Merged, they are the whole when no row is left over."""
    reference = build_reference(hourly(72, rng=rng), use_case, fingerprint="f")
    merged = merge_profiles(merge_profiles(*reference.blocks[:2]), reference.blocks[2])

    assert merged.n == reference.whole.n
    for name, column in reference.whole.columns.items():
        assert merged.columns[name].counts == column.counts


def test_sparse_blocks_are_left_out(use_case, rng):
    """The second of three days lost its rows but nine; ten are needed."""
    rows = hourly(72, rng=rng)
    rows = rows[(rows.index < 24) | (rows.index >= 48) | (rows.index % 24 < 9)]

    reference = build_reference(rows, use_case, fingerprint="f")

    assert [block.n for block in reference.blocks] == [24, 24]
    assert reference.whole.n == 57


def test_the_order_of_rows_does_not_matter(use_case, rng):
    """A reference is about content."""
    rows = hourly(72, rng=rng)

    shuffled = build_reference(rows.sample(frac=1.0, random_state=1), use_case, fingerprint="f")

    first = build_reference(rows, use_case, fingerprint="f")
    assert [block.columns["wind"].counts for block in shuffled.blocks] == [
        block.columns["wind"].counts for block in first.blocks
    ]


@pytest.mark.parametrize("rows", [0, 1])
def test_one_row_is_a_reference_without_blocks_and_none_is_an_error(use_case, rng, rows):
    """A single row has no spacing and no block, and a profile all the same."""
    frame = hourly(1, rng=rng).iloc[:rows]
    if rows:
        reference = build_reference(frame, use_case, fingerprint="f")
        assert (reference.whole.n, reference.blocks) == (1, ())
    else:
        with pytest.raises(DataError, match=r"reference needs rows.*got: 0 rows"):
            build_reference(frame, use_case, fingerprint="f")


def test_rows_without_time_are_refused(use_case, rng):
    """They belong to no window."""
    rows = hourly(30, rng=rng)
    for broken in (rows.drop(columns="event_time"), rows.assign(event_time=rows["event_time"].where(rows.index != 3))):
        with pytest.raises(DataError, match="each with an event time"):
            build_reference(broken, use_case, fingerprint="f")


def test_it_is_stored_and_read_back_unchanged(use_case, rng, tmp_path):
    """Beside the champion, small: a live profile on the stored edges counts the same."""
    rows = hourly(240, rng=rng)
    reference = build_reference(rows, use_case, fingerprint="f")
    stored = ReferenceProfile.read(reference.write(tmp_path / "reference_profile.json"))

    assert stored == reference
    live = build_profile(rows, use_case, window=None, edges=stored.whole)
    assert live.columns == reference.whole.columns


def test_times_in_any_resolution_and_zone_give_the_same_blocks(use_case, rng):
    """Nanoseconds from a file, microseconds from the lake, local time from anywhere."""
    rows = hourly(77, rng=rng)
    expected = [block.window for block in build_reference(rows, use_case, fingerprint="f").blocks]
    for times in (rows["event_time"].dt.as_unit("ns"), rows["event_time"].dt.tz_convert("America/New_York")):
        found = build_reference(rows.assign(event_time=times), use_case, fingerprint="f")
        assert [block.window for block in found.blocks] == expected
