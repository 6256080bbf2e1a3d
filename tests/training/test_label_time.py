"""The label-time contract on real weather: a target that is shifted rightly passes, every other one is caught."""

from datetime import timedelta

import numpy as np
import pandas as pd
import pytest

from ml.records.measure import Verdict
from ml.settings import PROJECT
from ml.training.label_time import check_label_time, follow_future
from ml.training.leakage import check_leakage
from ml.use_case import load

HOUR = pd.Timedelta(hours=1)
COLUMN = "Current_weather_condition"


@pytest.fixture(scope="module")
def harbour():
    """The shipped use case."""
    return load(PROJECT / "use_cases" / "harbour_weather.yaml")


@pytest.fixture(scope="module")
def winter(harbour):
    """Rows of January and February, read without any code of ours."""
    raw = pd.read_csv(PROJECT / "data" / "ny_harbour_weather_2013.csv")
    times = pd.to_datetime(raw["Timestamp"], utc=True)
    names = {0: "Rain", 1: "No Rain"}
    rows = raw[list(harbour.features)].assign(
        id=[f"{s}|{t.isoformat()}" for s, t in zip(raw["Station"], times, strict=True)],
        event_time=times,
        label=raw["Future_weather_condition"].map(names),
        source="history",
        station=raw["Station"],
    )
    return rows[times < "2013-03-01"].reset_index(drop=True)


def shifted(rows: pd.DataFrame, hours: int) -> pd.DataFrame:
    """Rows whose label is the condition so many hours later, made by a join; rows without one are left out."""
    condition = rows[["station", "event_time", COLUMN]].assign(event_time=rows["event_time"] - hours * HOUR)
    joined = rows.drop(columns="label").merge(
        condition.rename(columns={COLUMN: "label"}), on=["station", "event_time"], how="inner"
    )
    return joined.assign(label=joined["label"].map({0: "Rain", 1: "No Rain"}))


def verdicts(rows, use_case):
    """Verdicts of both rules."""
    return [result.verdict for result in check_label_time(rows, use_case, source="history")]


def test_the_real_target_foresees_every_change(harbour, winter):
    """The number of changes is counted by a join; the label is right about all of them."""
    later = shifted(winter, 1)
    changes = int((later["label"] != later[COLUMN].map({0: "Rain", 1: "No Rain"})).sum())

    found = follow_future(winter, harbour)

    assert (found.value, found.n) == (1.0, changes)
    assert changes > 150
    assert verdicts(winter, harbour) == [Verdict.PASS, Verdict.PASS]


@pytest.mark.parametrize("hours", [0, -1])
def test_a_target_of_the_present_or_the_past_fails_both_rules(harbour, winter, hours):
    """Not shifted, or shifted in the wrong direction: the trap of this data."""
    assert verdicts(shifted(winter, hours), harbour) == [Verdict.FAIL, Verdict.FAIL]


@pytest.mark.parametrize(("hours", "expected"), [(1, Verdict.PASS), (-1, Verdict.FAIL)])
def test_a_twentieth_of_wrong_labels_hides_neither(harbour, winter, hours, expected):
    """Noise blurs a copy; the direction is still told."""
    rows = shifted(winter, hours)
    wrong = np.random.default_rng(3).random(len(rows)) < 0.05
    noisy = rows.assign(label=rows["label"].where(~wrong, rows["label"].map({"Rain": "No Rain", "No Rain": "Rain"})))

    assert verdicts(noisy, harbour)[0] is expected


def test_a_copy_of_a_past_value_is_named(harbour, winter):
    """The detail says which column, and of when."""
    told = check_label_time(shifted(winter, -1), harbour, source="history")[1].detail

    assert told == "the label is Current_weather_condition of 1:00:00 earlier"


def test_stations_are_not_mixed_up(harbour, winter):
    """Ids that do not say whose they are leave the direction undecidable, instead of guessing."""
    anonymous = winter.assign(id=[f"row {i}" for i in range(len(winter))])

    results = check_label_time(anonymous, harbour, source="history")

    assert results[0].verdict is Verdict.UNDECIDABLE
    assert "0 rows whose future is known" in results[0].detail


def test_without_a_change_nothing_is_said(harbour, winter):
    """A dry month."""
    dry = winter.assign(**{COLUMN: 1, "label": "No Rain"})

    assert verdicts(dry, harbour) == [Verdict.UNDECIDABLE, Verdict.UNDECIDABLE]


def test_a_horizon_that_the_data_has_no_rows_for_is_undecidable(harbour, winter):
    """Ninety minutes after a full hour nobody looked."""
    target = harbour.target.model_copy(update={"horizon": timedelta(minutes=90)})

    found = follow_future(winter, harbour.model_copy(update={"target": target}))

    assert (found.value, found.n) == (None, 0)


@pytest.mark.parametrize(("hours", "expected"), [(1, Verdict.PASS), (0, Verdict.FAIL), (-1, Verdict.FAIL)])
def test_a_number_is_told_from_its_past_as_well(harbour, winter, hours, expected):
    """The temperature of the next hour passes, strong as persistence is; that of now or an hour ago is a copy."""
    content = harbour.model_dump() | {"task": "regression"}
    content["target"] |= {"classes": {}, "positive": None}
    content["baselines"] |= {"persistence": "Temperature_C"}
    content["features"] |= {"station": {"type": "category"}}
    content["gate"] |= {"metric": "squared_error"}
    use_case = type(harbour).model_validate(content)
    warmth = winter[["station", "event_time", "Temperature_C"]].assign(event_time=winter["event_time"] - hours * HOUR)
    rows = winter.drop(columns="label").merge(
        warmth.rename(columns={"Temperature_C": "label"}), on=["station", "event_time"], how="inner"
    )

    found = verdicts(rows.dropna(subset=["label", "Temperature_C"]), use_case)

    assert found == [expected, expected]
    assert check_leakage(rows, use_case).verdict is Verdict.UNDECIDABLE
