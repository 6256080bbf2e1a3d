"""Profiles of files: whatever the format, the same numbers, and one clear error when it cannot be."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from deltalake import write_deltalake

from ml.drift.file_profiles import profile_files, profile_live
from ml.drift.files import open_files
from ml.drift.profile import build_profile
from ml.errors import DataError


@pytest.fixture
def frame(rng) -> pd.DataFrame:
    """Numbers, whole numbers, words, yes and no, times; with gaps."""
    n = 3000
    return pd.DataFrame(
        {
            "at": pd.date_range("2024-01-01", periods=n, freq="h"),
            "x": np.where(rng.random(n) < 0.1, np.nan, rng.normal(size=n)),
            "k": rng.integers(0, 50, n),
            "word": rng.choice(["fog", "sun", "rain"], n),
            "yes": rng.random(n) < 0.3,
        }
    )


def stored(frame: pd.DataFrame, folder: Path, form: str) -> Path:
    """The frame as a file or folder of this form."""
    if form == "parquet":
        pq.write_table(pa.Table.from_pandas(frame), folder / "all.parquet", row_group_size=700)
        return folder / "all.parquet"
    if form == "csv":
        frame.to_csv(folder / "all.csv", index=False)
        return folder / "all.csv"
    if form == "folder":
        (folder / "parts").mkdir()
        for i, part in enumerate((frame[:1000], frame[1000:])):
            part.to_parquet(folder / "parts" / f"{i}.parquet")
        return folder / "parts"
    write_deltalake(str(folder / "table"), pa.Table.from_pandas(frame, preserve_index=False))
    return folder / "table"


@pytest.mark.parametrize("form", ["parquet", "csv", "folder", "delta"])
def test_a_file_of_any_form_has_the_profile_of_its_frame(frame, tmp_path, form):
    """Counted row group by row group on the frame's own bins."""
    files = open_files([stored(frame, tmp_path, form)])
    assert files.time_column == "at"
    assert files.kinds == {"x": "number", "k": "number", "word": "category", "yes": "category"}
    expected = build_profile(frame.assign(yes=frame["yes"].map({True: "true", False: "false"})), files.kinds)

    found = profile_files(files, edges=expected).whole

    assert found.n == expected.n == 3000
    for name in files.kinds:
        assert found.columns[name].counts == expected.columns[name].counts
        assert found.columns[name].missing == expected.columns[name].missing


@pytest.mark.parametrize("form", ["parquet", "csv"])
def test_bins_come_from_a_sample_and_blocks_from_the_times(frame, tmp_path, form):
    """Three thousand hours are cut into days; a live window on the same bins covers its own times."""
    files = open_files([stored(frame, tmp_path, form)])
    reference = profile_files(files)

    assert reference.block in {6 * 3600, 86400}
    assert sum(reference.rows) == 3000
    live = profile_live(files, reference.whole)
    assert live.columns == reference.whole.columns
    assert str(live.window.start) == "2024-01-01 00:00:00+00:00"


def test_without_times_blocks_are_runs_of_rows(frame, tmp_path):
    """About two hundred of them."""
    path = stored(frame.drop(columns="at"), tmp_path, "parquet")
    reference = profile_files(open_files([path]))

    assert (reference.block, reference.first) == (None, None)
    assert len(reference.rows) == 200


def test_progress_adds_up_to_the_rows(frame, tmp_path):
    """What a bar shows."""
    told: list[int] = []
    files = open_files([stored(frame, tmp_path, "parquet")])
    profile_files(files, advance=told.append)

    assert sum(told) == files.rows == 3000


def test_what_cannot_be_read_is_one_error_with_the_file(frame, tmp_path):
    """Absent, empty folder, damaged, without rows, without a column, without times."""
    path = stored(frame, tmp_path, "parquet")
    (tmp_path / "nothing").mkdir()
    broken = tmp_path / "broken.parquet"
    broken.write_bytes(path.read_bytes()[:500])
    frame.iloc[:0].to_parquet(tmp_path / "empty.parquet")

    with pytest.raises(DataError, match=r"data file is absent; where: .*no\.parquet"):
        open_files([tmp_path / "no.parquet"])
    with pytest.raises(DataError, match="folder holds no data"):
        open_files([tmp_path / "nothing"])
    with pytest.raises(DataError, match=r"cannot be read; where: .*broken.parquet"):
        open_files([broken])
    with pytest.raises(DataError, match="lacks a column"):
        open_files([path], kinds={"z": "number"})
    with pytest.raises(DataError, match="0 rows"):
        profile_files(open_files([tmp_path / "empty.parquet"]))


def test_a_missing_time_is_told(frame, tmp_path):
    """A row without time belongs to no block."""
    frame.loc[5, "at"] = pd.NaT
    with pytest.raises(DataError, match=r"time is missing; where: .*all\.parquet: at; got: 1 rows"):
        profile_files(open_files([stored(frame, tmp_path, "parquet")]))


def test_a_word_among_numbers_is_told(tmp_path):
    """A CSV whose later rows are no numbers."""
    path = tmp_path / "mixed.csv"
    path.write_text("x\n" + "1.5\n" * 2_000_000 + "strong\n")

    with pytest.raises(DataError, match=r"mixed\.csv|not numeric; where: x"):
        profile_files(open_files([path]))
