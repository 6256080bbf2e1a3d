"""Use case files: every problem at once, each with its dotted path; what is shipped is right."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from ml.errors import DataError, InputError, Problem, UseCaseError
from ml.use_case import check_source, load, load_all

PROJECT = Path(__file__).parents[2]


def minimal() -> dict[str, Any]:
    """The shortest file that works."""
    return {
        "name": "ferry",
        "task": "binary_classification",
        "time_column": "time",
        "features": {"wind": {"type": "number"}},
        "target": {"column": "late", "classes": {"0": "on time", "1": "late"}},
        "training": {"history": {"file": "data/ferry.csv"}},
        "monitoring": {},
    }


def change(content: dict[str, Any], path: str, value: Any) -> dict[str, Any]:
    """The content with one value set, by dotted path."""
    *parents, last = path.split(".")
    section = content
    for name in parents:
        section = section.setdefault(name, {})
    section[last] = value
    return content


def write(folder: Path, content: Any, name: str = "ferry") -> Path:
    """A use case file."""
    path = folder / f"{name}.yaml"
    path.write_text(content if isinstance(content, str) else yaml.safe_dump(content), encoding="utf-8")
    return path


def problems(folder: Path, content: Any) -> dict[str, str]:
    """What is wrong with a content, by path."""
    with pytest.raises(UseCaseError) as raised:
        load(write(folder, content))
    assert all(problem.path in str(raised.value) for problem in raised.value.problems)
    return {problem.path: problem.message for problem in raised.value.problems}


def test_a_short_file_works_and_the_rest_has_defaults(tmp_path):
    """Columns, target, data and threshold; nothing else is needed."""
    found = load(write(tmp_path, minimal()))

    assert found.monitoring.window.days == 7
    assert found.target.class_names == ("late", "on time")
    assert (found.numbers, found.categories) == (("wind",), ())


@pytest.mark.parametrize(
    ("path", "value", "where", "message"),
    [
        ("monitorring", {}, "monitorring", "is not a known key"),
        ("monitoring.treshold", 1, "monitoring.treshold", "is not a known key"),
        ("features.wind.typ", "number", "features.wind.typ", "is not a known key"),
        ("monitoring.false_alarm_budget", "high", "monitoring.false_alarm_budget", "got 'high'"),
        ("monitoring.window", "36h", "monitoring", "whole number of blocks"),
        ("monitoring.false_alarm_budget", -1, "monitoring.false_alarm_budget", "greater than 0, got -1"),
        ("monitoring.window", "7 moons", "monitoring.window", "unit of s, m, h, d or w, such as 7d; got '7 moons'"),
        ("features.wind.type", "text", "features.wind.type", "'number', 'category' or 'boolean', got 'text'"),
        ("features.wind.range", [5, 1], "features.wind", "range must be [lowest, highest], got [5.0, 1.0]"),
        ("features.wind.values", ["a"], "features.wind", "values belong to type category, got type number"),
        ("features", {}, "features", "at least 1 item"),
        (
            "features.event_time",
            {"type": "number"},
            "features",
            "event_time is the name of a column that the lake adds",
        ),
        ("features.p_0", {"type": "number"}, "features", "p_0 is the name of a column that the lake adds"),
        ("target.positive", "rainy", "target", "positive must be one of ['on time', 'late'], got 'rainy'"),
        ("target.classes", {"0": "a", "1": "a"}, "target", "class names must differ, got ['a', 'a']"),
        ("target.classes", {"0": "a", "1": "b", "2": "c"}, "", "needs 2 target.classes, got 3"),
        ("target.column", "wind", "", "target.column 'wind' must not be a feature"),
        ("baselines.persistence", "rain", "", "baselines.persistence must be one of features, got 'rain'"),
        (
            "monitoring.context",
            ["month", "pier"],
            "",
            "must be of hour_of_day, day_of_week, month (a category or boolean feature, or the calendar), got 'pier'",
        ),
        ("monitoring.context", ["wind"], "", "got 'wind'"),
        ("monitoring.context", ["month", "month"], "monitoring", "twice, got ['month', 'month']"),
        ("training.strategy", "sliding_window", "training", "go together"),
        ("name", "Ferry!", "name", "got 'Ferry!'"),
        ("name", "boat", "name", "must be the file's name 'ferry', got 'boat'"),
        ("task", "clustering", "task", "got 'clustering'"),
    ],
)
def test_each_kind_of_mistake_is_named_with_path_finding_and_what_is_allowed(tmp_path, path, value, where, message):
    """One mistake in an otherwise right file is one problem."""
    found = problems(tmp_path, change(minimal(), path, value))

    assert list(found) == [where]
    assert message in found[where]


@pytest.mark.parametrize("key", ["name", "task", "time_column", "features", "target", "training"])
def test_each_required_key_is_asked_for(tmp_path, key):
    """By name."""
    content = minimal()
    del content[key]

    assert problems(tmp_path, content) == {key: "is required"}


def test_all_mistakes_of_a_file_come_at_once(tmp_path):
    """Five in different sections: nobody mends a file one run at a time."""
    content = minimal()
    for path, value in {
        "monitoring.false_alarm_budget": "high",
        "monitoring.window": 7,
        "features.wind.type": "text",
        "gate.levle": 0.05,
        "training.history.file": None,
    }.items():
        change(content, path, value)

    assert set(problems(tmp_path, content)) == {
        *("monitoring.false_alarm_budget", "monitoring.window", "features.wind.type"),
        *("gate.levle", "training.history.file"),
    }


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: [1, 2", "is not YAML"),
        ("- a\n- b\n", "must be a mapping, got list"),
        ("", "must be a mapping, got NoneType"),
        ("!!python/object/apply:os.system [echo]", "is not YAML"),
    ],
)
def test_what_is_no_mapping_is_refused(tmp_path, text, message):
    """Broken YAML, lists, nothing, and tags that would run code."""
    assert message in problems(tmp_path, text)[""]


def test_bytes_that_are_no_text_are_refused(tmp_path):
    """A binary file under the name of a use case."""
    (tmp_path / "ferry.yaml").write_bytes(b"\xff\xfe\x00name")
    with pytest.raises(UseCaseError, match="is not YAML"):
        load(tmp_path / "ferry.yaml")


def test_an_absent_file_is_named(tmp_path):
    """With those that are there."""
    (tmp_path / "quay.yaml").write_text("", encoding="ascii")

    with pytest.raises(InputError, match=r"no such use case; where: .*ferry\.yaml; got: ferry; allowed: quay"):
        load(tmp_path / "ferry.yaml")


def test_a_folder_is_loaded_by_name_in_order(tmp_path):
    """Other files in it are left alone."""
    for name in ("tram", "bus"):
        write(tmp_path, minimal() | {"name": name}, name)
    (tmp_path / "notes.txt").write_text("none of ours")

    assert list(load_all(tmp_path)) == ["bus", "tram"]
    assert load_all(tmp_path / "absent") == {}


def test_columns_that_the_history_file_lacks_are_all_named(tmp_path):
    """Each with the path in the use case file that asks for it."""
    content = minimal() | {"entity_columns": ["pier"], "features": {n: {"type": "number"} for n in ("wind", "tide")}}
    use_case = load(write(tmp_path, content))
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "ferry.csv").write_text("time,wind\n")

    assert check_source(use_case, tmp_path) == (
        Problem("entity_columns", "column 'pier' is not in the history file"),
        Problem("features.tide", "column 'tide' is not in the history file"),
        Problem("target.column", "column 'late' is not in the history file"),
    )


def test_parquet_and_csv_histories_are_checked_alike(tmp_path):
    """By their header alone."""
    import pyarrow as pa
    from pyarrow import parquet

    content = change(minimal(), "training.history.file", "ferry.parquet")
    parquet.write_table(pa.table({"time": [0], "wind": [1.0]}), tmp_path / "ferry.parquet")

    assert [problem.path for problem in check_source(load(write(tmp_path, content)), tmp_path)] == ["target.column"]


def test_an_absent_history_file_is_named(tmp_path):
    """And an empty one has no columns."""
    use_case = load(write(tmp_path, minimal()))
    with pytest.raises(DataError, match=r"history file cannot be read; where: .*ferry\.csv"):
        check_source(use_case, tmp_path)
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "ferry.csv").touch()
    assert len(check_source(use_case, tmp_path)) == 3


def test_the_hash_sees_every_value_and_no_formatting(tmp_path):
    """Defaults that are written out are the same content."""
    first = load(write(tmp_path, minimal()))
    spelt = load(write(tmp_path, change(minimal(), "monitoring.window", "168h")))
    other = load(write(tmp_path, change(minimal(), "monitoring.window", "8d")))

    assert first.hash == spelt.hash != other.hash
    assert len(first.hash) == 64


def test_every_shipped_use_case_fits_its_data():
    """The files in use_cases/ load, and their columns are in the data."""
    shipped = load_all(PROJECT / "use_cases")

    assert "harbour_weather" in shipped
    for use_case in shipped.values():
        assert check_source(use_case, PROJECT) == ()
