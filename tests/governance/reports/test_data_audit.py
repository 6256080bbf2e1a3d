"""The data audit of a real story: six weeks of weather, two models, one of them rejected."""

from __future__ import annotations

import dataclasses
from datetime import timedelta

import numpy as np
import pandas as pd
import pytest

from benchmarks.weather_year import WEEK
from ml.governance.reports.data_audit import ASIDE, DISTRIBUTIONS, LABELS, MONITORING, OVERVIEW, VERSIONS, audit_data
from ml.governance.reports.page import as_json, draw_page
from ml.governance.reports.shelf import make_report
from ml.records.report import Absent, Bars, Report, Shapes, Table

pytestmark = pytest.mark.slow  # the first test pays for the story that all of them read

CSV = "data/ny_harbour_weather_2013.csv"


@pytest.fixture(scope="session")
def audit(sources) -> Report:
    """The audit at the end of the sixth week."""
    return audit_data(sources)


def table(report: Report, section: str, title: str = "") -> dict:
    """Rows of a table by their first cell, and second where that is a side; as dictionaries by column."""
    found = next(b for b in report.section(section).blocks if isinstance(b, Table) and b.title == title)
    return {row[0]: dict(zip(found.columns, row, strict=True)) for row in found.rows}


def plot(report: Report, section: str, title: str) -> Bars | Shapes:
    """A plot by its title."""
    return next(b for b in report.section(section).blocks if getattr(b, "title", "") == title and b.kind != "table")


@pytest.fixture(scope="session")
def weather() -> pd.DataFrame:
    """The file itself, read by pandas alone."""
    frame = pd.read_csv(CSV)
    return frame.assign(time=pd.to_datetime(frame["Timestamp"], utc=True))


def test_every_side_has_its_rows(audit, weather, year, as_of):
    """Counted in the file: the last week of the history, six weeks of traffic, the last one of them."""
    rows = table(audit, OVERVIEW)
    live = weather[(weather["time"] >= year.begin) & (weather["time"] < as_of)]

    assert rows["live"]["rows"] == len(live)
    assert rows["last check"]["rows"] == (live["time"] >= as_of - WEEK).sum()
    assert rows["test"]["rows"] == ((weather["time"] >= year.begin - WEEK) & (weather["time"] < year.begin)).sum()
    assert rows["live"]["of them with a known truth"] == (live["time"] <= as_of - timedelta(hours=1)).sum()


def test_versions_say_which_model_they_trained(audit):
    """Newest first, with who asked why."""
    rows = table(audit, VERSIONS)

    assert {number: row["trained"] for number, row in rows.items()} == {2: "version 2", 1: "version 1"}
    assert rows[2]["why"] == "the weather has changed"
    assert rows[2]["as of, UTC"] == "2013-03-22 00:00"


def test_columns_are_described_as_the_file_has_them(audit, weather, year, as_of):
    """Missing share and mean of pressure, the tenth lowest and highest instead of the extremes."""
    found = next(b for b in audit.section(DISTRIBUTIONS).blocks if isinstance(b, Table))
    (cells,) = [row for row in found.rows if row[:2] == ("Pressure_millibars", "live")]
    row = dict(zip(found.columns, cells, strict=True))
    column = weather.loc[(weather["time"] >= year.begin) & (weather["time"] < as_of), "Pressure_millibars"]

    assert row["missing"] == pytest.approx(column.isna().mean())
    assert row["mean"] == pytest.approx(column.mean())
    assert row["10th lowest"] == column.nsmallest(10).iloc[-1]
    assert row["10th highest"] == column.nlargest(10).iloc[-1]
    assert row["outside the declared range"] == 0


def test_few_missing_values_are_not_counted(audit, weather, year, as_of):
    """Of one row without wind speed nobody is told how many they are; of none it is said that there are none."""
    live = weather[(weather["time"] >= year.begin) & (weather["time"] < as_of)]
    assert 0 < live["Wind_speed_kmph"].isna().sum() < 10

    found = next(b for b in audit.section(DISTRIBUTIONS).blocks if isinstance(b, Table))
    missing = {row[:2]: row[3] for row in found.rows}
    bars = plot(audit, DISTRIBUTIONS, "Missing values")
    live_side = next(side for side in bars.sides if side.name == "live")

    assert missing["Wind_speed_kmph", "live"] == Absent(reason="suppressed: fewer than 10 rows")
    assert missing["Visibility_km", "live"] == 0
    assert live_side.values[bars.names.index("Wind_speed_kmph")] is None


def test_shapes_are_shares_of_the_side(audit):
    """Each sums up to one, on common edges, with the side's rows."""
    shapes = plot(audit, DISTRIBUTIONS, "Temperature_C")

    assert [side.name for side in shapes.sides] == ["training", "test", "live", "last check"]
    assert shapes.unit == "°C"
    assert all(sum(side.shares) == pytest.approx(1, abs=1e-3) for side in shapes.sides)
    assert all(np.diff(shapes.edges) > 0)


def test_what_happened_is_counted(audit, weather, year, as_of):
    """The share of rain among the live rows whose truth is known."""
    known = weather[(weather["time"] >= year.begin) & (weather["time"] <= as_of - timedelta(hours=1))]
    bars = plot(audit, LABELS, "What happened: Future_weather_condition")
    live = next(side for side in bars.sides if side.name == "live")

    rain = (known["Future_weather_condition"] == 0).mean()
    assert live.values[bars.names.index("Rain")] == pytest.approx(rain, abs=1e-5)


def test_every_check_is_drawn_with_its_threshold(audit, year):
    """Six weeks, six points."""
    lines = plot(audit, MONITORING, "Drift of live data from the champion's training data")

    assert [len(line.x) for line in lines.lines] == [6, 6]
    assert lines.lines[0].x[-1] == (year.begin + 6 * WEEK).timestamp()


def test_quarantine_is_told_by_reason(audit, weather):
    """The one impossible wind of the history is set aside by both assemblies."""
    assert (weather["Wind_speed_kmph"] > 250).sum() == 1
    found = next(b for b in audit.section(ASIDE).blocks if isinstance(b, Table) and b.title == "Quarantine")
    ((of, reason, count),) = found.rows

    assert (of, count) == ("training data", 2)
    assert "Wind_speed_kmph" in reason


def test_the_same_stores_give_the_same_bytes(sources, audit):
    """Read again, asked again, drawn again."""
    again = audit_data(dataclasses.replace(sources))

    assert as_json(again) == as_json(audit)
    assert draw_page(again) == draw_page(audit)


def test_an_earlier_moment_knows_nothing_of_later_ones(year):
    """After two weeks there was one version, and two weeks of traffic."""
    early = audit_data(year.sources(year.begin + 2 * WEEK))

    assert set(table(early, VERSIONS)) == {1}
    assert table(early, OVERVIEW)["live"]["newest event, UTC"] < f"{year.begin + 2 * WEEK:%Y-%m-%d}"


def test_a_broken_ledger_is_the_first_finding(year, sources):
    """A record that somebody changed behind the ledger's back is told before anything else."""
    import sqlite3

    assert make_report("data", sources).ledger_ok
    with sqlite3.connect(year.folder / "control.db") as connection:
        key, kept = connection.execute("SELECT key, payload FROM records WHERE kind = 'gate'").fetchone()
        change = "UPDATE records SET payload = ? WHERE kind = 'gate' AND key = ?"
        connection.execute(change, (kept.replace("0.1", "0.2", 1), key))
    try:
        made = make_report("data", dataclasses.replace(sources))
    finally:
        with sqlite3.connect(year.folder / "control.db") as connection:
            connection.execute(change, (kept, key))
    assert not made.ledger_ok
    assert made.report.findings[0].weight == "attention"
    assert "The ledger is broken" in made.report.findings[0].text


def test_before_anything_is_served_there_is_a_report_that_says_so(tmp_path, year):
    """Each side is empty, and that is a finding; nothing is drawn as zero."""
    from benchmarks.weather_year import WeatherYear

    empty = WeatherYear(tmp_path, year.use_case)
    report = make_report("data", empty.sources(year.begin)).report

    texts = " ".join(finding.text for finding in report.findings)
    assert all(f"no rows of {side} data" in texts for side in ("training", "test", "live", "last check"))
    assert draw_page(report).count("undefined: there is no value to draw") == 11
