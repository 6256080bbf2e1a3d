"""The data file becomes history and stream; a row that no model should see is set aside with its reason."""

from datetime import UTC, datetime, timedelta
from io import StringIO
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from ml.errors import DataError
from ml.records.measure import Window
from ml.training.history import load_history, load_stream
from ml.use_case import load

PROJECT = Path(__file__).parents[2]
START = datetime(2013, 1, 1, tzinfo=UTC)


@pytest.fixture(scope="module")
def harbour():
    """The shipped use case."""
    return load(PROJECT / "use_cases" / "harbour_weather.yaml")


def test_the_harbour_history_is_two_months_without_the_absurd_wind(harbour):
    """Counted by awk: 4,212 rows before March, 374 of them before rain; the one with 1,687 km/h is set aside."""
    rows, quarantined = load_history(harbour, PROJECT)

    assert (len(rows), len(quarantined)) == (4211, 1)
    assert quarantined["reason"].item() == "Wind_speed_kmph: 1687.173 is outside 0 .. 250"
    assert rows["event_time"].max() == pd.Timestamp("2013-02-28 23:00", tz="UTC")
    assert rows["id"].iloc[0] == "EWR|2013-01-01T06:00:00+00:00"


def test_the_frame_has_the_projects_types(harbour):
    """Numbers and booleans are float64, times microseconds in UTC, labels class names; missing stays missing."""
    rows, _ = load_history(harbour, PROJECT)

    assert set(rows.dtypes[list(harbour.features)].astype(str)) == {"float64"}
    assert str(rows["event_time"].dtype) == "datetime64[us, UTC]"
    assert rows["label"].value_counts().to_dict() == {"No Rain": 3837, "Rain": 374}
    assert rows["Pressure_millibars"].isna().sum() == 510


def test_the_stream_is_the_rest_as_it_is(harbour):
    """A window of the stream keeps what the history would set aside."""
    window = Window(start=datetime(2013, 2, 12, tzinfo=UTC), end=datetime(2013, 2, 13, tzinfo=UTC))
    raw = pd.read_csv(PROJECT / "data" / "ny_harbour_weather_2013.csv")

    stream = load_stream(harbour, PROJECT, window)

    assert len(stream) == raw["Timestamp"].str.startswith("2013-02-12").sum() == 72
    assert stream["Wind_speed_kmph"].max() == 1687.173


def test_everything_wrong_with_a_row_is_told(tmp_path, make_use_case, make_rows, save_csv):
    """Out of range, missing where it may not be, unknown category and class, unreadable: all reasons of a row."""
    rows = make_rows(8).assign(wind=1.5, holiday=1, pier="A")
    rows = rows.astype({"wind": object, "tide": object, "holiday": object})
    rows.loc[1, "wind"] = 201
    rows.loc[2, "wind"] = "strong"
    rows.loc[3, ["tide", "weather"]] = [None, "hail"]
    rows.loc[4, "label"] = "7"
    rows.loc[5, "holiday"] = "maybe"
    rows.loc[6, "tide"] = "inf"
    save_csv(pd.concat([rows, rows.iloc[[0]]]), tmp_path)

    good, bad = load_history(make_use_case(), tmp_path)

    assert good["id"].tolist() == rows["id"].iloc[[0, 7]].tolist()
    assert dict(zip(bad["id"], bad["reason"], strict=True)) == {
        rows["id"][0]: f"id: {rows['id'][0]} occurred before",
        rows["id"][1]: "wind: 201.0 is outside 0 .. 200",
        rows["id"][2]: "wind: 'strong' is no number",
        rows["id"][3]: "tide: is missing and not nullable; weather: hail is none of fair, fog, storm",
        rows["id"][4]: "late: is no class of late, on time",
        rows["id"][5]: "holiday: 'maybe' is no boolean",
        rows["id"][6]: "tide: 'inf' is no number; tide: is missing and not nullable",
    }


def test_csv_and_parquet_are_one(tmp_path, make_use_case, make_rows, save_csv):
    """The same rows with native types in Parquet give the same frame; "NA" is a pier, an empty field none."""
    rows = make_rows(48)
    rows.loc[0, "pier"] = "NA"
    csv = save_csv(rows, tmp_path)
    native = pd.read_csv(csv, keep_default_na=False, na_values={"wind": [""], "holiday": [""]}).assign(
        time=rows["event_time"], pier=rows["pier"], late=(rows["label"] == "late").astype(int)
    )
    native.to_parquet(tmp_path / "ferry.parquet")
    parquet = make_use_case(training={"history": {"file": "ferry.parquet"}})

    first, _ = load_history(make_use_case(), tmp_path)
    second, _ = load_history(parquet, tmp_path)

    pd.testing.assert_frame_equal(first, second)
    assert first["pier"].iloc[0] == "NA"
    assert first["pier"].isna().sum() == rows["pier"].isna().sum() > 0
    pd.testing.assert_series_equal(first["wind"], rows["wind"])


def test_rows_of_a_parquet_file_stay_together_whatever_index_it_carries(tmp_path, make_use_case, make_rows, save_csv):
    """A frame that was sorted or filtered before it was written keeps its labels beside its features."""
    rows = pd.read_csv(save_csv(make_rows(48), tmp_path), dtype=str)
    rows.iloc[::-1].to_parquet(tmp_path / "turned.parquet")
    rows.to_parquet(tmp_path / "plain.parquet")

    found = [
        load_history(make_use_case(training={"history": {"file": f"{name}.parquet"}}), tmp_path)[0]
        for name in ("plain", "turned")
    ]

    pd.testing.assert_frame_equal(*found)


def test_rows_from_until_on_are_no_history(tmp_path, make_use_case, make_rows, save_csv):
    """`until` is the first moment that is not history."""
    save_csv(make_rows(48), tmp_path)
    day = make_use_case(training={"history": {"file": "ferry.csv", "until": "2013-01-02"}})

    rows, _ = load_history(day, tmp_path)

    assert len(rows) == 24
    assert len(load_stream(day, tmp_path, Window(start=START + timedelta(days=1), end=START + timedelta(days=9)))) == 24


def without_columns(text: str) -> str:
    """The file without tide and late."""
    return pd.read_csv(StringIO(text)).drop(columns=["tide", "late"]).to_csv(index=False)


#: What the file holds instead of its content.
FAULTS = {
    "header only": lambda text: text.splitlines()[0] + "\n",
    "empty": lambda _: "",
    "missing columns": without_columns,
    "binary": lambda _: np.random.default_rng(1).bytes(2000),
    "ragged": lambda text: f"{text}{text.splitlines()[1]},1,2,3\n",
    "dates": lambda text: text.replace(text.splitlines()[2].split(",")[0], "the day after"),
    "classes": lambda text: pd.read_csv(StringIO(text)).assign(late="perhaps").to_csv(index=False),
}


def break_file(path: Path, how: str) -> None:
    """A fault of that kind in the file."""
    if how == "absent":
        path.unlink()
        return
    content = FAULTS[how](path.read_text())
    path.write_bytes(content if isinstance(content, bytes) else content.encode())


@pytest.mark.parametrize(
    ("how", "parts"),
    [
        ("absent", ["history file cannot be read", "ferry.csv", "No such file"]),
        ("header only", ["data file has no rows", "training.history.file", "allowed: at least one"]),
        ("empty", ["data file lacks a column", "time_column: column 'time'", "features.wind", "target.column"]),
        (
            "missing columns",
            ["data file lacks a column", "features.tide: column 'tide'", "target.column: column 'late'"],
        ),
        ("binary", ["data file cannot be read", "training.history.file", "ferry.csv"]),
        ("ragged", ["data file cannot be read", "Expected 8 fields in line 26, saw 11"]),
        (
            "dates",
            ["time is unreadable", "time_column 'time'", "1 of 24 rows, the first is row 2: 'the day after'", "ISO"],
        ),
        ("classes", ["history has no usable row", "24 rows", "late: is no class of late, on time"]),
    ],
)
def test_a_broken_file_is_one_clear_error(tmp_path, make_use_case, make_rows, save_csv, how, parts):
    """What is wrong, where, what was found and what is allowed."""
    break_file(save_csv(make_rows(24), tmp_path), how)

    with pytest.raises(DataError) as caught:
        load_history(make_use_case(), tmp_path)

    for part in parts:
        assert part in str(caught.value)


def test_a_history_that_ends_before_it_begins_is_told(tmp_path, make_use_case, make_rows, save_csv):
    """`until` before the first row leaves nothing."""
    save_csv(make_rows(24), tmp_path)
    early = make_use_case(training={"history": {"file": "ferry.csv", "until": "2012-01-01"}})

    with pytest.raises(DataError, match=r"no usable row.*0 rows before 2012-01-01"):
        load_history(early, tmp_path)
