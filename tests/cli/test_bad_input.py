"""Bad input gets a clear verdict or error: every row of the table in docs/drift.md is tried."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from ml.settings import PROJECT

HOURS = 60 * 24
Frames = tuple[pd.DataFrame, pd.DataFrame]


def table(seed: int, *, first: str = "2024-01-01", hours: int = HOURS) -> pd.DataFrame:
    """Hourly independent rows: two numbers, a category, a boolean."""
    rng = np.random.default_rng(seed)
    return pd.DataFrame(
        {
            "when": pd.date_range(first, periods=hours, freq="h", tz="UTC").as_unit("us"),
            "speed": rng.normal(50, 10, hours),
            "load": rng.normal(size=hours),
            "road": rng.choice(["dry", "wet"], hours),
        }
    )


REFERENCE, LIVE = table(1), table(2, first="2024-03-01", hours=144)
ODD = {"load": "lo\nad<script>"}
NUMBERS = ["when", "speed", "load"]


def with_value(frame: pd.DataFrame, row: int, name: str, value: object) -> pd.DataFrame:
    """The frame with one other value."""
    return frame.assign(**{name: frame[name].where(frame.index != row, value)})


def both(change: Callable[[pd.DataFrame], pd.DataFrame]) -> Frames:
    """The same change on both sides."""
    return change(REFERENCE), change(LIVE)


BACK = LIVE.assign(when=LIVE["when"].where(LIVE.index < 72, LIVE["when"] - pd.Timedelta("24h")))
NAMES = [f"c{i}" for i in range(HOURS)]
#: Reference and live rows; Parquet unless the name says CSV.
CASES: dict[str, Frames] = {
    "live file without rows": (REFERENCE, LIVE[:0]),
    "one live row": (REFERENCE, LIVE[:1]),
    "reference without rows": (REFERENCE[:0], LIVE),
    "reference of one row": (REFERENCE[:1], LIVE),
    "reference of half a day": (REFERENCE[:12], table(2, first="2024-03-01", hours=30)),
    "live column became constant": (REFERENCE, LIVE.assign(speed=50.0)),
    "constant column on both sides": both(lambda frame: frame.assign(speed=50.0)),
    "no column of the reference varies": both(lambda frame: frame.assign(speed=50.0, load=1.0, road="dry")),
    "live column is all missing": (REFERENCE, LIVE.assign(speed=np.nan)),
    "column is all missing on both sides": both(lambda frame: frame.assign(speed=np.nan)),
    "every column is missing on both sides": both(lambda frame: frame.assign(speed=np.nan, load=np.nan, road=None)),
    "half of the live values are infinite": (
        REFERENCE,
        LIVE.assign(speed=LIVE["speed"].where(LIVE.index > 71, np.inf)),
    ),
    "one live value is infinite": (REFERENCE, with_value(LIVE, 3, "speed", -np.inf)),
    "live rows lack a column": (REFERENCE, LIVE.drop(columns="speed")),
    "live rows have one column more": (REFERENCE, LIVE.assign(more=1.0)),
    "number became words": (REFERENCE, LIVE.assign(speed="fast")),
    "boolean became 0 and 1": (
        REFERENCE.assign(wet=REFERENCE["road"] == "wet"),
        LIVE.assign(wet=(LIVE["road"] == "wet").astype(int)),
    ),
    "words among the numbers of a CSV file": (
        REFERENCE,
        with_value(LIVE.astype({"speed": object}), 9, "speed", "fast"),
    ),
    "number became a time": (REFERENCE, LIVE.assign(speed=LIVE["when"])),
    "nested column instead of words": (REFERENCE, LIVE.assign(road=[["dry"]] * 144)),
    "nested column more": (REFERENCE, LIVE.assign(tags=[["dry"]] * 144)),
    "window overlaps the training data": (REFERENCE, table(2, first="2024-02-20", hours=400)),
    "live file is the reference": (REFERENCE, REFERENCE),
    "live file is the reference, without times": both(lambda frame: REFERENCE.drop(columns="when")),
    "window before the training data": (REFERENCE, table(2, first="2023-03-01", hours=144)),
    "clock goes back within the file": (REFERENCE, BACK),
    "every row is of the future": (REFERENCE, table(2, first="2999-01-01", hours=144)),
    "one row is of the far future": (REFERENCE, with_value(LIVE, 143, "when", pd.Timestamp("2900-01-01", tz="UTC"))),
    "all rows have one event time": (REFERENCE, LIVE.assign(when=LIVE["when"][0])),
    "live rows have no event times": (REFERENCE, LIVE.drop(columns="when")),
    "two columns of times on both sides": both(lambda frame: frame.assign(known=frame["when"])),
    "a time is missing": (REFERENCE, with_value(LIVE, 5, "when", pd.NaT)),
    "times are texts of no clear form": (REFERENCE, LIVE.assign(when=LIVE["when"].dt.strftime("%d.%m.%Y %H:%M"))),
    "times are numbers": (REFERENCE, LIVE.assign(when=np.arange(144))),
    "every live row twice": (REFERENCE, pd.concat([LIVE, LIVE])),
    "a few live rows twice": (REFERENCE, pd.concat([LIVE, LIVE[:2]])),
    "thousands of categories": (REFERENCE.assign(road=NAMES), LIVE.assign(road=[f"d{i}" for i in range(144)])),
    "column name twice": (REFERENCE, LIVE),
    "column names with line breaks and markup": both(lambda frame: frame.rename(columns=ODD)),
    "folder of files with other columns": (REFERENCE, LIVE),
    "truncated Parquet file": (REFERENCE, LIVE),
    "folder without data in place of a file": (REFERENCE, LIVE),
    "profile whose parts do not fit": (REFERENCE, LIVE),
}
#: Words that a case is asked with.
OPTIONS = {
    "times are texts of no clear form": ("--time-column", "when"),
    "times are numbers": ("--time-column", "when"),
}


def documented() -> list[tuple[str, str, str]]:
    """Rows of the table: input, answer, what is said."""
    text = (PROJECT / "docs" / "drift.md").read_text(encoding="utf-8")
    section = text.split("## What is said about bad input")[1].split("\n## ")[0]
    rows = [line.strip("|").split(" | ") for line in section.splitlines() if line.startswith("| ")]
    return [(name.strip(), answer.strip(" `"), said.strip()) for name, answer, said in rows if name.strip() != "input"]


def written(name: str, folder: Path, form: str) -> list[Path]:
    """Both files of a case, with the damage that a frame cannot have."""
    paths = []
    for side, frame in zip(("reference", "live"), CASES[name], strict=True):
        paths.append(folder / f"{side}.{form}")
        frame.to_csv(paths[-1], index=False) if form == "csv" else frame.to_parquet(paths[-1], index=False)
    return [paths[0], DAMAGES.get(name, lambda path: path)(paths[1])] if name not in PROFILED else paths


def _column_twice(path: Path) -> Path:
    twice = path.with_suffix(".csv")
    pd.concat([LIVE, LIVE[["speed"]]], axis=1).to_csv(twice, index=False)
    return twice


def _two_schemas(path: Path) -> Path:
    folder = path.parent / "mixed"
    folder.mkdir()
    LIVE.to_parquet(folder / "a.parquet", index=False)
    LIVE.rename(columns={"speed": "v"}).to_parquet(folder / "b.parquet", index=False)
    return folder


def _truncated(path: Path) -> Path:
    path.write_bytes(path.read_bytes()[:-100])
    return path


def _empty_folder(path: Path) -> Path:
    folder = path.parent / "folder.parquet"
    folder.mkdir()
    return folder


DAMAGES = {
    "column name twice": _column_twice,
    "folder of files with other columns": _two_schemas,
    "truncated Parquet file": _truncated,
    "folder without data in place of a file": _empty_folder,
}
PROFILED = {"profile whose parts do not fit"}


def test_the_table_and_the_cases_are_the_same():
    """Nothing is promised that is not tried, nothing tried that is not told."""
    assert [name for name, _, _ in documented()] == list(CASES)


@pytest.mark.parametrize(("name", "answer", "said"), documented(), ids=[name for name, _, _ in documented()])
def test_what_is_said(perennial, tmp_path, name, answer, said):
    """The verdict and the sentence of the table; JSON without NaN, a page without markup of others."""
    form = "csv" if "CSV" in name else "parquet"
    reference, live = written(name, tmp_path, form)
    if name in PROFILED:
        perennial("profile", str(reference), "-o", str(tmp_path / "reference.json"))
        content = json.loads((tmp_path / "reference.json").read_text())
        reference = tmp_path / "damaged.json"
        reference.write_text(json.dumps(content | {"rows": content["rows"][:5]}))
    page = tmp_path / "page.html"
    words = ("drift", "--reference", str(reference), "--live", str(live), *OPTIONS.get(name, ()))

    found = perennial(*words, "--json", "--html", str(page))

    sentence = re.compile(".*".join(re.escape(part) for part in said.split("…")))
    if answer == "error":
        assert (found.code, found.out) == (2, "")
        assert sentence.search(found.err)
        return
    told = json.loads(found.out, parse_constant=pytest.fail)
    assert (found.code, told["verdict"]) == (0, answer)
    assert told["drifted"] is {"drift": True, "no_drift": False, "undecidable": None}[answer]
    assert any(sentence.fullmatch(reason) or sentence.match(reason) for reason in told["reasons"]), told["reasons"]
    assert "<script" not in page.read_text()
    assert ">nan<" not in page.read_text().lower()
    assert "Traceback" not in perennial(*words).err


def test_csv_answers_as_parquet_does(perennial, tmp_path):
    """A column without values has no type in CSV: it is what the reference says."""
    for name in ("live column is all missing", "live file without rows", "every live row twice"):
        folder = tmp_path / name
        folder.mkdir()
        told = {}
        for form in ("csv", "parquet"):
            reference, live = written(name, folder, form)
            told[form] = json.loads(
                perennial("drift", "--reference", str(reference), "--live", str(live), "--json").out
            )
        assert told["csv"]["verdict"] == told["parquet"]["verdict"]
        assert told["csv"]["reasons"] == told["parquet"]["reasons"]


def test_a_folder_where_a_file_should_be_written_is_one_line(perennial, tmp_path):
    """For the report as for the profile."""
    reference, live = written("one live row", tmp_path, "parquet")

    for words in (
        ("drift", "--reference", str(reference), "--live", str(live), "--html", str(tmp_path)),
        ("profile", str(reference), "-o", str(tmp_path)),
    ):
        answer = perennial(*words)
        assert answer.code == 2
        assert f"error: file cannot be written; where: {tmp_path}; got: Is a directory" in answer.err


def test_files_of_one_folder_may_store_a_column_in_two_ways(perennial, tmp_path):
    """Whole and decimal numbers, Parquet and CSV, an empty part: one table."""
    folder = tmp_path / "parts"
    folder.mkdir()
    REFERENCE[:0].to_parquet(folder / "a.parquet", index=False)
    REFERENCE[:700].astype({"speed": int}).to_parquet(folder / "b.parquet", index=False)
    REFERENCE[700:].to_csv(folder / "c.csv", index=False)
    LIVE.to_parquet(tmp_path / "live.parquet", index=False)

    answer = perennial("drift", "--reference", str(folder), "--live", str(tmp_path / "live.parquet"), "--json")

    assert json.loads(answer.out)["n_reference"] == HOURS
