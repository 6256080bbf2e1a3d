"""From a data file to a use case that the system runs: new, check, show, calibrate."""

import json
from datetime import UTC, datetime, timedelta

import numpy as np
import pandas as pd
import pytest
import yaml

ORDERS = "returned"


@pytest.fixture
def orders(home):
    """Ninety days of hourly orders in two shops, which are returned when they are dear."""
    rng = np.random.default_rng(3)
    moments = [datetime(2024, 1, 1, tzinfo=UTC) + timedelta(hours=hour) for hour in range(90 * 24)]
    rows = pd.DataFrame({"ordered_at": [moment.isoformat() for moment in moments for _ in range(2)]})
    rows["shop"] = ["north", "south"] * len(moments)
    rows["price"] = rng.gamma(2.0, 20.0, len(rows)).round(2)
    rows["payment"] = rng.choice(["card", "cash", "invoice"], len(rows))
    rows["gift"] = rng.choice(["true", "false"], len(rows))
    rows["note"] = [f"free text {number}" for number in range(len(rows))]
    late = rng.random(len(rows)) < 1 / (1 + np.exp(-(rows["price"] - 60) / 10))
    rows["returned"] = np.where(late, "yes", "no")
    rows.loc[::50, "price"] = np.nan
    path = home / "data" / "Orders 2024.csv"
    rows.to_csv(path, index=False)
    return path


def test_a_draft_is_a_use_case_file_that_loads(perennial, home, orders):
    """Columns are taken for what they are; what was guessed is said; the file is the author's from then on."""
    answer = perennial("use-case", "new", str(orders), "--json")
    told = json.loads(answer.out)

    assert answer.code == 0
    assert told["file"] == str(home / "use_cases" / "orders_2024.yaml")
    assert told["errors"] == []
    assert any("note" in guess for guess in told["guesses"])
    shown = json.loads(perennial("use-case", "show", "orders_2024", "--json").out)
    assert shown["time_column"] == "ordered_at"
    assert shown["entity_columns"] == ["shop"]
    assert shown["target"]["column"] == "returned"
    assert set(shown["target"]["classes"]) == {"yes", "no"}
    assert {name: feature["type"] for name, feature in shown["features"].items()} == {
        "price": "number",
        "payment": "category",
        "gift": "boolean",
    }
    assert shown["features"]["price"]["nullable"] is True
    assert shown["features"]["payment"]["values"] == ["card", "cash", "invoice"]


@pytest.mark.parametrize("options", [("--target", "price"), ()])
def test_a_number_with_many_values_is_drafted_as_a_regression(perennial, home, orders, options):
    """Named as the target, or guessed by its name; the file loads and every candidate can be trained."""
    if not options:
        rows = pd.read_csv(orders).rename(columns={"price": "next_price"}).drop(columns="returned")
        rows.to_csv(orders, index=False)

    told = json.loads(perennial("use-case", "new", str(orders), *options, "--json").out)

    assert told["errors"] == []
    shown = json.loads(perennial("use-case", "show", "orders_2024", "--json").out)
    assert shown["task"] == "regression"
    assert shown["target"]["column"].endswith("price")
    assert shown["target"]["classes"] == {}
    assert shown["gate"]["metric"] == "squared_error"
    assert perennial("use-case", "check", "orders_2024").code == 0


def test_a_draft_never_overwrites(perennial, home, orders):
    """The second call is exit code 2, and the author's file is as it was."""
    assert perennial("use-case", "new", str(orders)).code == 0
    path = home / "use_cases" / "orders_2024.yaml"
    path.write_text(path.read_text() + "# mine\n")

    answer = perennial("use-case", "new", str(orders))

    assert answer.code == 2
    assert "exists already" in answer.err
    assert path.read_text().endswith("# mine\n")


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ("", "cannot be read"),
        ("time,x,label\n", "no rows"),
        ("x,label\n1,a\n2,b\n", "no column reads as a time"),
        ("time,x\n2024-01-01,1\n2024-01-02,1\n", "no column has 2 to 20 values"),
    ],
)
def test_data_that_cannot_be_drafted_from_is_one_error(perennial, home, content, told):
    """Named with its file; no use case file is left behind."""
    path = home / "data" / "bad.csv"
    path.write_text(content, encoding="utf-8")

    answer = perennial("use-case", "new", str(path))

    assert answer.code == 2
    assert told in answer.err
    assert str(path) in answer.err
    assert not (home / "use_cases" / "bad.yaml").exists()


def test_the_shipped_use_case_has_no_problems(perennial):
    """Neither the file nor the data that it names."""
    answer = perennial("use-case", "check")

    assert answer.code == 0
    assert "1 use case file(s), 0 problem(s)" in answer.out


def test_every_problem_is_told_at_once_with_its_path(perennial, home):
    """An unknown key, a wrong type, and a column that the data does not have."""
    path = home / "use_cases" / "harbour_weather.yaml"
    good = path.read_text(encoding="utf-8")
    path.write_text(
        good.replace("window: 7d", "window: seven\n  windows: 2").replace("minimum_rows: 100", "minimum_rows: few"),
        encoding="utf-8",
    )
    answer = perennial("use-case", "check", "harbour_weather", "--json")
    assert answer.code == 2
    assert {problem["path"] for problem in json.loads(answer.out)["errors"]} == {
        "monitoring.window",
        "monitoring.windows",
        "monitoring.minimum_rows",
    }

    path.write_text(good.replace("  Visibility_km: ", "  Visibility_mi: "), encoding="utf-8")
    answer = perennial("use-case", "check", "harbour_weather")
    assert answer.code == 2
    assert "features.Visibility_mi" in answer.err


def test_a_history_file_that_is_absent_is_a_problem_of_its_key(perennial, home):
    """The path of the key, and the file that was looked for."""
    (home / "data" / "ny_harbour_weather_2013.csv").unlink()

    answer = perennial("use-case", "check", "--json")

    assert answer.code == 2
    (problem,) = json.loads(answer.out)["errors"]
    assert problem["path"].startswith("training.history")
    assert "ny_harbour_weather_2013.csv" in problem["message"]


def test_a_history_without_rows_is_a_problem_of_its_key(perennial, home):
    """A header is not enough."""
    path = home / "data" / "ny_harbour_weather_2013.csv"
    path.write_text(path.read_text().partition("\n")[0] + "\n", encoding="utf-8")

    (problem,) = json.loads(perennial("use-case", "check", "--json").out)["errors"]

    assert problem["path"] == "training.history.file"
    assert "no rows" in problem["message"]


def test_a_candidate_that_does_not_exist_is_told_before_anything_is_trained(perennial, home):
    """By its own path, although the file in itself is whole."""
    path = home / "use_cases" / "harbour_weather.yaml"
    text = path.read_text(encoding="utf-8")
    assert "sklearn.naive_bayes.GaussianNB" in text
    path.write_text(text.replace("sklearn.naive_bayes.GaussianNB", "os.system"), encoding="utf-8")

    problems = json.loads(perennial("use-case", "check", "--json").out)["errors"]

    assert [problem["path"].startswith("training.candidates.naive_bayes") for problem in problems] == [True]


def test_what_the_history_does_not_hold_is_told_before_anything_is_trained(perennial, home, orders):
    """A class without a row, one that the file does not name, a feature without a value: at once, with places."""
    rows = pd.read_csv(orders)
    rows["price"] = ""
    rows.loc[rows["returned"] == "no", "returned"] = [
        "lost" if n % 2 else "no" for n in range((rows["returned"] == "no").sum())
    ]
    lost = int((rows["returned"] == "lost").sum())
    assert json.loads(perennial("use-case", "new", str(orders), "--json").out)["errors"] == []
    rows.to_csv(orders, index=False)
    path = home / "use_cases" / "orders_2024.yaml"
    changed = yaml.safe_load(path.read_text())
    changed["target"]["classes"] = {"yes": "yes", "no": "no", "never": "never seen"}
    changed["task"] = "multiclass_classification"
    changed["target"].pop("positive", None)
    path.write_text(yaml.safe_dump(changed))

    answer = perennial("use-case", "check", "orders_2024", "--json")

    told = {problem["path"]: problem["message"] for problem in json.loads(answer.out)["errors"]}
    assert answer.code == 2
    assert set(told) == {"target.classes", "target.classes.never", "features.price"}
    assert told["target.classes"].startswith(f"{lost:,} of {len(rows):,} rows have 'lost' in returned")


def test_show_is_a_use_case_file_again(perennial):
    """What is printed loads, and is the same."""
    shown = yaml.safe_load(perennial("use-case", "show", "harbour_weather").out)

    assert shown == json.loads(perennial("use-case", "show", "harbour_weather", "--json").out)


def test_calibration_shows_what_the_history_does_by_itself(perennial):
    """Every column by every statistic, its usual value below the one that alone would be a drift, and the budget."""
    answer = perennial("use-case", "calibrate", "harbour_weather", "--json")
    told = json.loads(answer.out)
    shown = json.loads(perennial("use-case", "show", "harbour_weather", "--json").out)

    assert answer.code == 0
    assert told["false_alarm_budget"] == shown["monitoring"]["false_alarm_budget"]
    assert told["threshold"] > 0
    assert told["undecidable"] == []
    assert (told["n_rows"], told["windows"]) == (pytest.approx(59 * 24 * 3, rel=0.05), pytest.approx(59 / 7, abs=0.01))
    assert told["memory"] >= 1
    assert {column["name"] for column in told["columns"]} == set(shown["features"])
    assert {column["statistic"] for column in told["columns"]} <= set(shown["monitoring"]["statistics"])
    assert all(0 <= column["usual"] < column["threshold"] for column in told["columns"])


def test_a_calibration_is_printed_for_people(perennial):
    """A table, and the threshold with its budget."""
    answer = perennial("use-case", "calibrate", "harbour_weather")

    assert answer.code == 0
    assert "Pressure_millibars" in answer.out
    assert "rows hold 8.4 windows" in answer.out
    assert "threshold of the score at a false-alarm budget of " in answer.out


@pytest.mark.parametrize(
    ("until", "reason"),
    [
        ("2013-01-20", "19 blocks; 20 are needed"),
        ("2013-02-05", "6 windows are needed to tell drift from its own ways"),
    ],
)
def test_a_history_that_is_too_short_gives_no_answer(perennial, home, until, reason):
    """Exit code 1, how much is needed, and null for what is unknown."""
    path = home / "use_cases" / "harbour_weather.yaml"
    path.write_text(path.read_text().replace("until: 2013-03-01", f"until: {until}"), encoding="utf-8")

    answer = perennial("use-case", "calibrate", "harbour_weather")
    told = json.loads(perennial("use-case", "calibrate", "harbour_weather", "--json").out)

    assert answer.code == 1
    assert reason in answer.out
    assert told["threshold"] is None
    assert {column["threshold"] for column in told["columns"]} == {None}
    assert reason in told["undecidable"][0]


def test_a_name_that_does_not_exist_is_told_with_those_that_do(perennial):
    """Exit code 2."""
    answer = perennial("use-case", "show", "nobody")

    assert (answer.code, answer.out) == (2, "")
    assert "allowed: harbour_weather" in answer.err
