"""A use case's history on a virtual clock: a table, a picture, and settings that may be taken over."""

from __future__ import annotations

import json
from datetime import UTC, datetime

import joblib
import numpy as np
import pandas as pd
import pytest
import yaml

from ml.governance.policy_record import note_policy
from ml.records.backtest import Backtest
from ml.records.governance import PolicyChange
from ml.store.control import ControlStore
from ml.use_case import load

DAYS = 24
USE_CASE = """\
# Does the ferry sail late?
name: ferry
task: binary_classification
time_column: when
features: {wind: {type: number}, tide: {type: number}}
target: {column: late, classes: {"0": on time, "1": late}}
training:
  history: {file: data/ferry.csv, until: 2024-01-13}
  candidates:
    plain: {estimator: logistic_regression}
    bayes: {estimator: sklearn.naive_bayes.GaussianNB}
  strategy: sliding_window
  sliding_window: 6d
  validation: 2d
  holdout: 1d
monitoring: {window: 1d, block: 1h, minimum_rows: 20}
retraining:
  minimum_labelled: 48
  evidence: 3d
  horizon: 1h             # too short for any retraining to pay
  cost_of_retraining: 5   # of nats
  cool_down: 2d
gate: {block: 3h, minimum_rows: 20}
"""


@pytest.fixture
def ferry(home):
    """24 days, every quarter of an hour; from the seventeenth on, it is the tide that counts, not the wind."""
    rng = np.random.default_rng(0)
    n = DAYS * 96
    wind, tide = rng.normal(size=(2, n))
    late = rng.random(n) < 1 / (1 + np.exp(-2 * np.where(np.arange(n) < 16 * 96, wind, tide)))
    when = pd.date_range("2024-01-01", periods=n, freq="15min", tz="UTC")
    table = pd.DataFrame({"when": when.map(lambda moment: moment.isoformat()), "wind": wind, "tide": tide})
    table.assign(late=late.astype(int)).to_csv(home / "data" / "ferry.csv", index=False)
    path = home / "use_cases" / "ferry.yaml"
    path.write_text(USE_CASE, encoding="utf-8")
    return path


@pytest.fixture
def in_one_process():
    """Fits follow each other: starting processes would take longer than the fits of this story."""
    with joblib.parallel_config(backend="sequential"):
        yield


def test_policies_are_a_table_with_a_recommendation(perennial, ferry):
    """The usual rules, ours and hindsight, fitted on all cores; what is recommended is said last."""
    answer = perennial("backtest", "ferry", "--no-grid", "--candidate", "plain")

    assert answer.code == 0
    assert "ferry: 1,152 live rows, 13 Jan 2024 to 25 Jan 2024" in answer.out
    for name in ("never", "every window", "mean PSI > 0.2", "shipped settings", "best 1 in hindsight"):
        assert name in answer.out
    assert "Recommended: shipped settings." in answer.out.splitlines()[-1]


@pytest.mark.usefixtures("in_one_process")
def test_json_is_the_record(perennial, ferry):
    """All of it, with what was written into the file: nothing, as nobody asked."""
    told = json.loads(perennial("backtest", "ferry", "--json", "--candidate", "plain").out)

    assert told.pop("applied") == []
    found = Backtest.model_validate(told)
    assert (found.use_case, found.metric, found.rows) == ("ferry", "log_loss", 12 * 96)
    assert found.recommended_settings["cost_of_retraining"] == 1.25
    assert len([one for one in found.policies if one.kind == "ours"]) == 12
    assert ferry.read_text(encoding="utf-8") == USE_CASE


@pytest.mark.usefixtures("in_one_process")
def test_settings_that_save_more_are_taken_over_when_asked(perennial, home, ferry):
    """Into their lines of the file, comments and all, and into the control database."""
    told = json.loads(perennial("backtest", "ferry", "--apply", "--json", "--candidate", "plain").out)

    settings = told["recommended_settings"]
    text = ferry.read_text(encoding="utf-8")
    expected = yaml.safe_load(USE_CASE)
    expected["retraining"] |= settings
    assert settings["cost_of_retraining"] == 1.25
    assert yaml.safe_load(text) == expected
    assert "  cost_of_retraining: 1.25   # of nats\n" in text
    assert "cost_of_retraining: 1.25   # of nats" in told["applied"]
    assert load(ferry).retraining.cost_of_retraining == 1.25
    (entry,) = ControlStore(f"sqlite:///{home}/var/control.db").ledger_entries(kinds=("policy",), use_case="ferry")
    applied = PolicyChange.model_validate_json(entry.payload)
    assert (applied.text, applied.reason) == (text, "recommended by a backtest")
    assert {one.path: json.loads(one.after) for one in applied.changes} == {
        f"retraining.{key}": value for key, value in settings.items()
    }
    assert applied.preview[-1].startswith("recommended: ")
    told = json.loads(perennial("policy", "diff", "ferry", "--json").out)["policies"]
    assert [(one["changes"], one["in_force"]["reason"]) for one in told] == [([], "recommended by a backtest")]


def test_a_recommendation_gives_its_reason_to_nothing_else(perennial, home, ferry):
    """A file with a change of somebody else's is left as it is."""
    control = ControlStore(f"sqlite:///{home}/var/control.db")
    note_policy(control, "ferry", USE_CASE, now=datetime(2026, 1, 5, tzinfo=UTC))
    edited = USE_CASE.replace("cool_down: 2d", "cool_down: 1d")
    ferry.write_text(edited, encoding="utf-8")

    answer = perennial("backtest", "ferry", "--apply", "--json", "--candidate", "plain")

    assert answer.code == 1
    assert "changed without a reason before" in answer.err
    assert "retraining.cool_down" in answer.err
    assert ferry.read_text(encoding="utf-8") == edited
    assert control.ledger_entries(kinds=("policy",)) == ()


@pytest.mark.usefixtures("in_one_process")
def test_nothing_is_taken_over_when_the_files_own_settings_are_best(perennial, home, ferry):
    """Without a grid they are the only ones."""
    answer = perennial("backtest", "ferry", "--apply", "--no-grid", "--json", "--candidate", "plain")

    assert json.loads(answer.out)["applied"] == []
    assert ferry.read_text(encoding="utf-8") == USE_CASE
    assert ControlStore(f"sqlite:///{home}/var/control.db").ledger_entries(kinds=("policy",)) == ()


@pytest.mark.usefixtures("in_one_process")
@pytest.mark.parametrize(("name", "magic"), [("trade-off.png", b"\x89PNG"), ("new/trade-off.svg", b"<?xml")])
def test_the_trade_off_can_be_drawn(perennial, home, ferry, name, magic):
    """In the format that the name says; its folder is made."""
    path = home / name

    answer = perennial("backtest", "ferry", "--no-grid", "--candidate", "plain", "--plot", str(path))

    assert answer.code == 0
    assert f"plot: {path}" in answer.out
    assert path.read_bytes().startswith(magic)


@pytest.mark.usefixtures("in_one_process")
def test_policies_can_be_picked_by_their_names(perennial, ferry):
    """Those that have one of the words in them."""
    words = ("--policy", "never", "--policy", "hindsight", "--start", "2024-01-20", "--candidate", "plain", "--no-grid")

    told = json.loads(perennial("backtest", "ferry", *words, "--json").out)

    assert {one["kind"] for one in told["policies"]} == {"rule", "hindsight"}
    assert [one["name"] for one in told["policies"] if one["kind"] == "rule"] == ["never"]
    assert (told["start"], told["rows"]) == ("2024-01-20T00:00:00Z", 5 * 96)


@pytest.mark.usefixtures("in_one_process")
def test_another_file_may_be_replayed(perennial, home, ferry):
    """As a file of a use case, too, wherever it lies."""
    other = home / "elsewhere.csv"
    lines = (home / "data" / "ferry.csv").read_text(encoding="utf-8").splitlines(keepends=True)
    other.write_text("".join(lines[: 1 + 16 * 96]), encoding="utf-8")

    words = ("--data", str(other), "--no-grid", "--candidate", "plain", "--json")
    told = json.loads(perennial("backtest", str(ferry), *words).out)

    assert told["rows"] == 4 * 96


@pytest.mark.usefixtures("in_one_process")
@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("ferry", "--candidate", "magic"), "no such candidate; where: --candidate; got: magic; allowed: plain, bayes"),
        (("ferry", "--start", "2024-01-24"), "history is too short for a backtest"),
        (("ferry", "--start", "soon"), "--start"),
        (("ferry", "--data", "nowhere.csv"), "nowhere.csv"),
        (("ferries",), "allowed: ferry, harbour_weather"),
        (("ferry", "--plot", "x.table"), "no such format of a picture; where: --plot; got: x.table"),
    ],
)
def test_what_cannot_be_done_is_exit_code_2(perennial, home, monkeypatch, ferry, words, told):
    """With its reason on stderr, and nothing on stdout."""
    monkeypatch.chdir(home)

    answer = perennial("backtest", *words)

    assert (answer.code, answer.out) == (2, "")
    assert told in answer.err
    assert "Traceback" not in answer.err
