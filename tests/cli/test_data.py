"""``perennial data`` and ``perennial lineage``: answers, JSON, exit codes."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta

import pandas as pd
import pytest

from ml.records.decision import RetrainRequest, TrainingSet
from ml.records.governance import VersionMade
from ml.records.measure import Window
from ml.settings import Settings
from ml.store.control import ControlStore
from ml.store.fingerprint import fingerprint
from ml.store.lake import Lake
from ml.use_case import load

NAME = "harbour_weather"
NOW = datetime(2026, 1, 5, 12, tzinfo=UTC)


@pytest.fixture
def trained(home) -> Lake:
    """Two data versions in the lake and in the ledger, and a model of the second."""
    lake = Lake(home / "var" / "lake", load(home / "use_cases" / f"{NAME}.yaml"))
    control = ControlStore(f"sqlite:///{home}/var/control.db")
    for number in (1, 2):
        times = pd.date_range("2013-03-01", periods=4, freq="h", tz="UTC").as_unit("us")
        ids = [f"row {i}" for i in range(number, number + 4)]
        frame = pd.DataFrame(
            {"id": ids, "event_time": times, "Humidity": 0.1 * number, "part": ["fit", "fit", "validation", "holdout"]}
        )
        assert lake.write_training(frame, key=f"{number}") == number
        record_set(control, number, fingerprint(lake.read_training(number)))
    made = VersionMade(
        use_case=NAME, version=1, digest="d" * 64, package_digest="e" * 64, candidate="forest", data_version=2,
        fingerprint="f" * 64, watermark=NOW, champion_version=None, request_key="2", use_case_hash="0" * 64,
        code_commit="", libraries={"onnx": "1"},
    )  # fmt: skip
    control.record("version", f"{NAME}/1", made, use_case=NAME, as_of=NOW, now=NOW)
    return lake


def record_set(control: ControlStore, number: int, content: str) -> None:
    """As the assemble task does."""
    week = timedelta(weeks=1)
    request = RetrainRequest(key=f"{number}", use_case=NAME, as_of=NOW, reason="spring", actor="ana")
    assembled = TrainingSet(
        use_case=NAME, request=request, data_version=number, fingerprint=content,
        fit=Window(start=NOW - 3 * week, end=NOW - 2 * week),
        validation=Window(start=NOW - 2 * week, end=NOW - week),
        holdout=Window(start=NOW - week, end=NOW),
        n_fit=2, n_validation=1, n_holdout=1, watermark=NOW - week, sources={"live": 4}, quarantined=0,
        champion_version=None,
    )  # fmt: skip
    control.record("training_set", f"{number}", assembled, use_case=NAME, as_of=NOW, now=NOW, actor="ana")


def test_log_and_who_used(trained, perennial):
    """Versions with their models; a row with the models that saw it."""
    versions = json.loads(perennial("data", "log", NAME, "--json").out)["versions"]
    used = json.loads(perennial("data", "who-used", NAME, "2", "--json").out)["models"]
    seen = json.loads(perennial("data", "who-used", NAME, "--id", "row 2", "--json").out)["models"]

    assert [(v["version"], v["models"], v["rows"], v["actor"]) for v in versions] == [
        (2, [1], 4, "ana"),
        (1, [], 4, "ana"),
    ]
    assert [row["model"] for row in used] == [1]
    assert seen == [{"model": 1, "data_version": 2, "part": "fit"}]
    assert "0 models" in perennial("data", "who-used", NAME, "--id", "row 1").out
    assert "spring" in perennial("data", "log", NAME).out


def test_diff_counts_rows_and_distances(trained, perennial):
    """Row 1 left, row 5 came; the humidity of the others doubled."""
    told = json.loads(perennial("data", "diff", NAME, "1", "2", "--json").out)

    assert (told["added"], told["removed"], told["changed"]) == (1, 1, 3)
    assert {c["name"]: c["distance"] for c in told["columns"]}["Humidity"] == 1.0
    assert "1 added, 1 removed, 3 changed" in perennial("data", "diff", NAME, "1", "2").out


def test_a_tag_is_kept_and_never_moves(trained, perennial):
    """Once more is the same answer; another version under it is refused, exit code 1."""
    words = ("data", "tag", NAME, "1", "spring", "--reason", "clean", "--actor", "ana")

    assert [perennial(*words).code, perennial(*words).code] == [0, 0]
    assert perennial("data", "tag", NAME, "2", "spring", "--reason", "no").code == 1
    assert perennial("data", "tag", NAME, "2", "17", "--reason", "a number").code == 2
    entries = json.loads(perennial("ledger", "show", "--kind", "data_tag", "--json").out)["entries"]
    assert [(e["actor"], e["record"]["reason"]) for e in entries] == [("ana", "clean")]


@pytest.mark.parametrize("suffix", ["parquet", "csv"])
def test_checkout_writes_what_was_recorded(trained, perennial, tmp_path, suffix):
    """By version or tag, into a new file."""
    file = tmp_path / f"rows.{suffix}"
    perennial("data", "tag", NAME, "2", "spring", "--reason", "clean")

    answer = perennial("data", "checkout", NAME, "spring", "--to", str(file), "--json")

    read = pd.read_parquet(file) if suffix == "parquet" else pd.read_csv(file)
    assert (answer.code, json.loads(answer.out)["version"], len(read)) == (0, 2, 4)
    assert read["id"].tolist() == ["row 2", "row 3", "row 4", "row 5"]
    assert perennial("data", "checkout", NAME, "spring", "--to", str(file)).code == 2
    assert perennial("data", "checkout", NAME, "1", "--to", str(tmp_path / "rows.txt")).code == 2


def test_changed_training_data_is_not_checked_out(trained, home, perennial, tmp_path):
    """The table holds other rows than the ledger says."""
    record_set(ControlStore(f"sqlite:///{home}/var/control.db"), 3, "0" * 64)
    trained.write_training(trained.read_training(1), key="another")

    answer = perennial("data", "checkout", NAME, "3", "--to", str(tmp_path / "rows.csv"))

    assert (answer.code, "is not what was recorded" in answer.err) == (2, True)
    assert not (tmp_path / "rows.csv").exists()


def test_lineage_tells_what_made_a_model(trained, perennial):
    """Data, request and training set; an unknown version is bad input."""
    told = json.loads(perennial("lineage", NAME, "1", "--json").out)

    assert told["made"]["data_version"] == 2
    assert [d["kind"] for d in told["decisions"]] == ["training_set"]
    assert "data: version 2" in perennial("lineage", NAME, "1").out
    assert perennial("lineage", NAME, "7").code == 2


@pytest.mark.parametrize(
    "words",
    [("who-used", NAME), ("who-used", NAME, "1", "--id", "x"), ("who-used", NAME, "9"), ("diff", NAME, "1", "none"),
     ("log", "nowhere")],
)  # fmt: skip
def test_bad_input_is_exit_2(trained, perennial, words):
    """One clear error."""
    answer = perennial("data", *words)

    assert (answer.code, answer.err.count("error:")) == (2, 1)


def test_the_settings_name_the_ledger_beside_the_database(home):
    """What the tests above write is what the command line reads."""
    current = Settings(home=home)

    assert current.ledger == home / "var" / "control.ledger"
    assert Settings(home=home, control_url="postgresql://x/y").ledger == home / "var" / "control.ledger"
    assert str(Settings(home=home, control_url="sqlite:////srv/a/state.db").ledger) == "/srv/a/state.ledger"
