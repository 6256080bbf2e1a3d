"""Files and profiles against each other: a verdict, its numbers, and an exit code that a script can use."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest

from ml.records.profile import ReferenceProfile

HOURS = 60 * 24
DATA = "ny_harbour_weather_2013.csv"


def table(seed: int, *, first: str = "2024-01-01", hours: int = HOURS, shift: float = 0.0) -> pd.DataFrame:
    """Hourly independent rows: a number that may be shifted, and a category."""
    rng = np.random.default_rng(seed)
    return pd.DataFrame(
        {
            "when": pd.date_range(first, periods=hours, freq="h", tz="UTC").as_unit("us"),
            "speed": rng.normal(50 + shift, 10, hours),
            "road": rng.choice(["dry", "wet"], hours),
        }
    )


@pytest.fixture
def files(tmp_path):
    """Sixty days of reference, six quiet days after it, six days that are faster; Parquet."""
    folder = tmp_path / "tables"
    folder.mkdir()
    kinds = {
        "reference": (1, "2024-01-01", HOURS, 0),
        "quiet": (2, "2024-03-01", 144, 0),
        "fast": (3, "2024-03-01", 144, 8),
    }
    for name, (seed, first, hours, shift) in kinds.items():
        table(seed, first=first, hours=hours, shift=shift).to_parquet(folder / f"{name}.parquet")
    return folder


def test_a_drift_is_found_and_named(perennial, files):
    """In words for people, with exit code 0: an answer was given."""
    answer = perennial("drift", "--reference", str(files / "reference.parquet"), "--live", str(files / "fast.parquet"))

    assert answer.code == 0
    assert "1 number and 1 category columns; 1,440 reference rows, 144 live rows" in answer.out
    assert "Drifted: speed." in answer.out


def test_no_drift_is_said_as_plainly(perennial, files):
    """And the exit code does not change with it."""
    answer = perennial(
        "drift",
        "--reference",
        str(files / "reference.parquet"),
        "--live",
        str(files / "quiet.parquet"),
        "--fail-on-drift",
    )

    assert answer.code == 0
    assert "no drift" in answer.out
    assert "Drifted:" not in answer.out


def test_json_has_every_number(perennial, files):
    """One object; a script needs nothing else."""
    words = ("drift", "--reference", str(files / "reference.parquet"), "--live", str(files / "fast.parquet"))
    told = json.loads(perennial(*words, "--json", "--budget", "0.05").out)

    assert {"drifted", "score", "threshold", "false_alarm_budget", "columns", "undecidable"} <= set(told)
    assert (told["drifted"], told["verdict"], told["undecidable"], told["false_alarm_budget"]) == (
        True,
        "drift",
        [],
        0.05,
    )
    assert told["score"] > told["threshold"] > 0
    assert told["schema"] == {"speed": "number", "road": "category"}
    wanted = {"name", "statistic", "value", "threshold", "n_reference", "n_live", "drifted"}
    assert all(wanted <= set(column) for column in told["columns"])
    assert {column["name"] for column in told["columns"] if column["drifted"]} == {"speed"}
    assert {(column["n_reference"], column["n_live"]) for column in told["columns"]} == {(1440, 144)}
    beyond = [column["value"] > column["threshold"] for column in told["columns"] if column["threshold"] is not None]
    assert beyond == [column["drifted"] for column in told["columns"] if column["threshold"] is not None]


def test_fail_on_drift_is_exit_code_1(perennial, files):
    """For a pipeline that must stop; the answer is printed all the same."""
    words = ("drift", "--reference", str(files / "reference.parquet"), "--live", str(files / "fast.parquet"))

    answer = perennial(*words, "--fail-on-drift", "--json")

    assert answer.code == 1
    assert json.loads(answer.out)["drifted"] is True


def test_a_report_is_one_page_that_needs_nothing_else(perennial, files, tmp_path):
    """HTML with the columns, and no address of anybody else's."""
    page = tmp_path / "report.html"
    words = ("drift", "--reference", str(files / "reference.parquet"), "--live", str(files / "fast.parquet"))

    told = json.loads(perennial(*words, "--html", str(page), "--json").out)

    content = page.read_text(encoding="utf-8")
    assert told["html"] == str(page)
    assert content.lstrip().lower().startswith("<!doctype html>")
    assert "speed" in content
    assert "road" in content
    assert 'src="http' not in content


def test_profiles_answer_as_their_files_do(perennial, files, tmp_path):
    """The reference's profile, and a live one made with its bins, are small and say the same as the data."""
    reference, live = str(files / "reference.parquet"), str(files / "fast.parquet")
    first, second = str(tmp_path / "first.json"), str(tmp_path / "second.json")
    made = json.loads(perennial("profile", reference, "-o", first, "--json").out)
    told = perennial("profile", live, "-o", second, "--like", first)

    assert (made["file"], made["rows"], made["columns"]) == (first, 1440, {"speed": "number", "road": "category"})
    assert made["bytes"] == (tmp_path / "first.json").stat().st_size < 50_000
    assert told.out.startswith(f"{second}: 144 rows of 2 columns in ")
    of_files = json.loads(perennial("drift", "--reference", reference, "--live", live, "--json").out)
    of_profiles = json.loads(perennial("drift", "--reference", first, "--live", second, "--json").out)
    assert of_profiles["columns"] == of_files["columns"]
    assert (of_profiles["score"], of_profiles["threshold"]) == (of_files["score"], of_files["threshold"])
    mixed = json.loads(perennial("drift", "--reference", first, "--live", live, "--json").out)
    assert mixed["columns"] == of_files["columns"]


def test_profiles_with_bins_of_their_own_cannot_be_compared(perennial, files, tmp_path):
    """Undecidable, neither drift nor none, with exit code 0 whatever was asked."""
    paths = []
    for name in ("reference", "fast"):
        paths.append(str(tmp_path / f"{name}.json"))
        perennial("profile", str(files / f"{name}.parquet"), "-o", paths[-1])

    answer = perennial("drift", "--reference", paths[0], "--live", paths[1], "--json", "--fail-on-drift")

    told = json.loads(answer.out)
    assert (answer.code, told["drifted"], told["score"]) == (0, None, None)
    assert any("speed has other bins" in reason for reason in told["undecidable"])


def test_csv_says_what_parquet_says(perennial, files):
    """The same rows, whichever the format; a folder of two halves is one table."""
    reference, live = pd.read_parquet(files / "reference.parquet"), pd.read_parquet(files / "fast.parquet")
    halves = files / "halves"
    halves.mkdir()
    reference.iloc[:700].to_csv(halves / "a.csv", index=False)
    reference.iloc[700:].to_csv(halves / "b.csv", index=False)
    live.to_csv(files / "fast.csv", index=False)

    told = json.loads(perennial("drift", "--reference", str(halves), "--live", str(files / "fast.csv"), "--json").out)

    of_parquet = ("--reference", str(files / "reference.parquet"), "--live", str(files / "fast.parquet"))
    expected = json.loads(perennial("drift", *of_parquet, "--json").out)
    assert (told["n_reference"], told["n_live"], told["drifted"]) == (1440, 144, True)
    assert {c["name"] for c in told["columns"] if c["drifted"]} == {"speed"}
    assert told["score"] == pytest.approx(expected["score"], rel=0.1)


def test_rows_without_any_time_can_be_compared(perennial, files):
    """Blocks are then runs of rows."""
    for name in ("reference", "quiet", "fast"):
        pd.read_parquet(files / f"{name}.parquet").drop(columns="when").to_parquet(files / f"{name}.parquet")

    def verdict(live: str) -> str:
        words = ("--reference", str(files / "reference.parquet"), "--live", str(files / live))
        return json.loads(perennial("drift", *words, "--json").out)["verdict"]

    assert (verdict("quiet.parquet"), verdict("fast.parquet")) == ("no_drift", "drift")


def test_a_reference_that_is_too_short_decides_nothing(perennial, files):
    """Too few blocks of its own to know what is usual: undecidable with the reason, and no threshold."""
    table(1, hours=10 * 24).to_parquet(files / "short.parquet")
    words = ("--reference", str(files / "short.parquet"), "--live", str(files / "fast.parquet"), "--block", "1d")

    told = json.loads(perennial("drift", *words, "--json").out)

    assert (told["drifted"], told["threshold"]) == (None, None)
    assert "10 blocks" in told["undecidable"][0]


def test_rows_are_compared_with_rows_of_their_own_context(perennial, files, tmp_path):
    """Dry roads are faster: a dry week is a drift of the whole and none of dry roads, from files and from profiles."""
    for name, seed, first, hours in (("year", 1, "2024-01-01", 24 * 200), ("week", 2, "2024-08-01", 24 * 7)):
        rows = table(seed, first=first, hours=hours)
        rows["speed"] += np.where(rows["road"] == "dry", 30, 0)
        (rows if name == "year" else rows[rows["road"] == "dry"]).to_parquet(files / f"{name}.parquet", index=False)
    pair = ("--reference", str(files / "year.parquet"), "--live", str(files / "week.parquet"), "--json")
    profiles = [str(tmp_path / f"{name}.json") for name in ("year", "week")]
    perennial("profile", str(files / "year.parquet"), "-o", profiles[0], "--context", "road", "--block", "1d")
    perennial("profile", str(files / "week.parquet"), "-o", profiles[1], "--like", profiles[0], "--block", "1d")

    without = json.loads(perennial("drift", *pair, "--block", "1d").out)
    within = json.loads(perennial("drift", *pair, "--block", "1d", "--context", "road").out)
    by_profile = json.loads(perennial("drift", "--reference", profiles[0], "--live", profiles[1], "--json").out)
    page = tmp_path / "page.html"
    perennial("drift", *pair, "--block", "1d", "--context", "road", "--html", str(page))

    assert (without["verdict"], within["verdict"]) == ("drift", "no_drift")
    assert within["n_reference"] < without["n_reference"]
    assert "reference rows of road dry" in within["reasons"][-1]
    assert (by_profile["verdict"], by_profile["score"]) == ("no_drift", within["score"])
    assert "road dry" in page.read_text()


def test_a_month_that_the_reference_lacks_decides_nothing(perennial, files):
    """Said with the number of rows; a context that is nowhere is exit code 2."""
    pair = ("--reference", str(files / "reference.parquet"), "--live", str(files / "quiet.parquet"))

    told = json.loads(perennial("drift", *pair, "--context", "month", "--json").out)
    wrong = perennial("drift", *pair, "--context", "pier")

    assert told["undecidable"] == ["The reference has not seen month 3 (144 of 144 live rows)."]
    assert (wrong.code, wrong.out) == (2, "")
    assert "context is no column; where: pier" in wrong.err


def test_statistics_can_be_chosen(perennial, files):
    """Of those that there are; an unknown one is exit code 2 with the known ones."""
    words = ("drift", "--reference", str(files / "reference.parquet"), "--live", str(files / "fast.parquet"), "--json")

    told = json.loads(perennial(*words, "--statistic", "hellinger", "--statistic", "chi_square").out)
    wrong = perennial(*words, "--statistic", "magic")

    assert {column["statistic"] for column in told["columns"]} == {"hellinger", "chi_square"}
    assert (wrong.code, wrong.out) == (2, "")
    assert "magic" in wrong.err
    assert "hellinger" in wrong.err


@pytest.mark.parametrize(
    ("option", "value", "told"),
    [
        ("--budget", "0", "budget is no share"),
        ("--budget", "1", "budget is no share"),
        ("--block", "soon", "no duration"),
    ],
)
def test_an_option_that_makes_no_sense_is_exit_code_2(perennial, files, option, value, told):
    """Before any file is read."""
    words = ("drift", "--reference", str(files / "reference.parquet"), "--live", str(files / "fast.parquet"))

    answer = perennial(*words, option, value)

    assert (answer.code, answer.out) == (2, "")
    assert told in answer.err


@pytest.mark.parametrize("side", ["--reference", "--live"])
@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("absent.parquet", None),
        ("broken.parquet", b"PAR1 is not enough"),
        ("empty.csv", b""),
        ("ragged.csv", b"when,speed,road\n2024-01-01T00:00:00Z,1\n"),
        ("broken.json", b"{"),
        ("other.json", b'{"format": 2, "kind": "cake"}'),
    ],
)
def test_a_file_that_cannot_be_read_is_one_line_and_exit_code_2(perennial, files, side, name, content):
    """Named with its path, on whichever side."""
    path = files / name
    if content is not None:
        path.write_bytes(content)
    other = {"--reference": "--live", "--live": "--reference"}[side]

    answer = perennial("drift", side, str(path), other, str(files / "reference.parquet"))

    assert (answer.code, answer.out) == (2, "")
    (line,) = [line for line in answer.err.splitlines() if line and not line.startswith("reading")]
    assert str(path) in line


def test_a_use_case_says_which_columns_count_and_how_sure_to_be(perennial, home):
    """Features, time and budget are the file's; the target is no column of theirs."""
    rows = pd.read_csv(home / "data" / DATA)
    rows[rows["Timestamp"] < "2013-02-15"].to_csv(home / "before.csv", index=False)
    rows[rows["Timestamp"] >= "2013-02-15"].head(500).to_csv(home / "after.csv", index=False)
    words = ("--reference", str(home / "before.csv"), "--live", str(home / "after.csv"))

    told = json.loads(perennial("drift", *words, "--use-case", "harbour_weather", "--json").out)
    by_file = perennial("drift", *words, "--use-case", str(home / "use_cases" / "harbour_weather.yaml"), "--json")

    shown = json.loads(perennial("use-case", "show", "harbour_weather", "--json").out)
    assert set(told["schema"]) == set(shown["features"])
    assert told["false_alarm_budget"] == shown["monitoring"]["false_alarm_budget"]
    assert {c["statistic"] for c in told["columns"]} <= set(shown["monitoring"]["statistics"])
    assert json.loads(by_file.out) == told


def test_a_profile_of_a_use_case_is_named_and_cut_as_its_windows_are(perennial, home):
    """Blocks of ``monitoring.block``."""
    path = home / "harbour.json"

    answer = perennial("profile", str(home / "data" / DATA), "-o", str(path), "--use-case", "harbour_weather")

    made = ReferenceProfile.read(path)
    assert answer.code == 0
    assert (made.use_case, made.block, made.first.isoformat()) == (
        "harbour_weather",
        86400,
        "2013-01-01T00:00:00+00:00",
    )
    assert len(made.rows) == 60


def pair(seed: int, correlation: float, *, first: str = "2024-01-01", hours: int = HOURS) -> pd.DataFrame:
    """Hourly independent rows of two numbers, each standard normal whatever their correlation."""
    rng = np.random.default_rng(seed)
    speed, other = rng.normal(size=(2, hours))
    when = pd.date_range(first, periods=hours, freq="h", tz="UTC").as_unit("us")
    return pd.DataFrame(
        {"when": when, "speed": speed, "load": correlation * speed + np.sqrt(1 - correlation**2) * other}
    )


@pytest.fixture
def pairs(tmp_path):
    """Sixty days at 0.8, then six days at 0.8 and six at -0.8."""
    for name, seed, correlation, first, hours in (
        ("reference", 1, 0.8, "2024-01-01", HOURS),
        ("same", 2, 0.8, "2024-03-01", 144),
        ("flipped", 3, -0.8, "2024-03-01", 144),
    ):
        pair(seed, correlation, first=first, hours=hours).to_parquet(tmp_path / f"{name}.parquet")
    return tmp_path


def test_a_change_that_no_column_shows_is_found_when_it_is_asked_for(perennial, pairs):
    """Two numbers as ever, but opposed: exit code 1 only with --multivariate, and only where they are."""

    def asked(live: str, *options: str) -> tuple[int, dict]:
        words = ("--reference", str(pairs / "reference.parquet"), "--live", str(pairs / f"{live}.parquet"))
        answer = perennial("drift", *words, "--json", "--fail-on-drift", *options)
        return answer.code, json.loads(answer.out)

    plain, (code, told), quiet = asked("flipped"), asked("flipped", "--multivariate"), asked("same", "--multivariate")

    assert (plain[0], plain[1]["verdict"]) == (0, "no_drift")
    assert {column["name"] for column in plain[1]["columns"]} == {"speed", "load"}
    assert (code, told["verdict"], told["false_alarm_budget"]) == (1, "drift", 0.05)
    assert {column["name"] for column in told["columns"] if column["drifted"]} == {"joint (PCA)", "all columns"}
    assert told["schema"] == {"speed": "number", "load": "number"}
    assert any("speed with load" in reason for reason in told["reasons"])
    assert (quiet[0], quiet[1]["verdict"]) == (0, "no_drift")


def test_a_profile_that_keeps_directions_can_be_looked_at_together(perennial, pairs):
    """The error of each row is counted like any column; the classifier needs rows and says so."""
    kept, plain = str(pairs / "kept.json"), str(pairs / "plain.json")
    perennial("profile", str(pairs / "reference.parquet"), "-o", kept, "--multivariate")
    perennial("profile", str(pairs / "reference.parquet"), "-o", plain)
    perennial("profile", str(pairs / "flipped.parquet"), "-o", str(pairs / "live.json"), "--like", kept)

    def asked(reference: str, live: str, *options: str):
        return perennial("drift", "--reference", reference, "--live", str(pairs / live), "--json", *options)

    mixed = json.loads(asked(kept, "flipped.parquet", "--multivariate").out)
    profiles = json.loads(asked(kept, "live.json", "--multivariate").out)
    off = json.loads(asked(kept, "flipped.parquet").out)
    refused = asked(plain, "flipped.parquet", "--multivariate")

    assert (mixed["verdict"], profiles["verdict"], off["verdict"]) == ("drift", "drift", "no_drift")
    assert mixed["columns"] == profiles["columns"]
    assert mixed["reasons"][-1] == f"The domain classifier needs rows, which a profile has not: {kept}."
    assert (refused.code, refused.out) == (2, "")
    assert "perennial profile --multivariate" in refused.err


def test_one_column_is_no_reason_to_fail(perennial, pairs):
    """There is nothing that goes together: undecidable as asked, with both reasons."""
    for name in ("reference", "same"):
        pd.read_parquet(pairs / f"{name}.parquet").drop(columns="load").to_parquet(pairs / f"{name}.parquet")
    words = ("--reference", str(pairs / "reference.parquet"), "--live", str(pairs / "same.parquet"))

    answer = perennial("drift", *words, "--multivariate", "--json")

    told = json.loads(answer.out)
    assert (answer.code, told["verdict"]) == (0, "undecidable")
    assert any("1 of 1 number columns vary" in reason for reason in told["reasons"])
