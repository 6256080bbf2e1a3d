"""``perennial policy``, ``approve`` and ``reject``: answers, JSON, exit codes on bad input."""

from __future__ import annotations

import json
import shutil
from datetime import UTC, datetime

import numpy as np
import pandas as pd
import pytest

from ml.governance.policy_record import ALERTS, note_policy
from ml.records.approval import ReviewRequest
from ml.records.event import Event
from ml.settings import PROJECT
from ml.store.control import ControlStore
from ml.store.telemetry import Telemetry

NAME = "harbour_weather"
NOW = datetime(2026, 1, 5, tzinfo=UTC)


@pytest.fixture
def control(home):
    """An installation whose rules a stage has met."""
    shutil.copy(PROJECT / "alerts.yaml", home / "alerts.yaml")
    store = ControlStore(f"sqlite:///{home}/var/control.db")
    note_policy(store, NAME, read(home), now=NOW)
    note_policy(store, ALERTS, (home / "alerts.yaml").read_text(encoding="utf-8"), now=NOW)
    return store


def read(home) -> str:
    """The use case file."""
    return (home / "use_cases" / f"{NAME}.yaml").read_text(encoding="utf-8")


def edit(home, old: str, new: str) -> None:
    """Change the use case file."""
    text = read(home)
    assert old in text
    (home / "use_cases" / f"{NAME}.yaml").write_text(text.replace(old, new), encoding="utf-8")


def test_a_change_is_shown_applied_and_gone(perennial, home, control):
    """Exit code 1 only when it is asked for; the ledger's verification tells of it as well, and is no less sound."""
    edit(home, "cool_down: 14d", "cool_down: 1d")
    change = [{"path": "retraining.cool_down", "before": '"14d"', "after": '"1d"'}]

    shown = perennial("policy", "diff", NAME, "--fail-on-change", "--json")
    (policy,) = json.loads(shown.out)["policies"]
    assert (shown.code, policy["changes"], policy["in_force"]["reason"]) == (1, change, "met first")
    verified = json.loads(perennial("ledger", "verify", "--offline", "--json").out)
    assert (verified["ok"], verified["unreasoned_changes"]) == (True, {NAME: 1})

    answer = perennial("policy", "apply", NAME, "--reason", "rain is short", "--actor", "ana", "--no-preview", "--json")
    told = json.loads(answer.out)
    assert (answer.code, told["applied"], told["actor"], told["changes"]) == (0, True, "ana", change)
    assert perennial("policy", "diff", "--fail-on-change").code == 0
    again = perennial("policy", "apply", NAME, "--reason", "once more", "--no-preview")
    assert (again.code, again.out) == (0, f"{NAME}: nothing has changed\n")
    assert len(control.ledger_entries(kinds=("policy",))) == 1


def test_alert_rules_are_replayed_on_history_before_they_are_applied(perennial, home, control):
    """Three failures within three minutes are one episode, told when it begins and ends; the new rule sees none."""
    telemetry = Telemetry(f"sqlite:///{home}/var/control.db")
    now = datetime.now(UTC).timestamp()
    telemetry.add_events(
        Event(
            time=datetime.fromtimestamp(now - 7200 + 60 * n, UTC),
            use_case=None,
            source="retrain",
            name="task_failed",
            severity="error",
            message="it failed",
            key=str(n),
        )
        for n in range(3)
    )
    path = home / "alerts.yaml"
    path.write_text(path.read_text(encoding="utf-8").replace("names: [task_failed]", "names: [task_lost]"), "utf-8")

    told = json.loads(perennial("policy", "apply", ALERTS, "--reason", "too many", "--since", "6h", "--json").out)

    assert [change["path"] for change in told["changes"]] == ["rules.pipeline_failed.condition.where.names"]
    assert told["preview"] == [
        "pipeline_failed: fires 1 times, tells 2 times in force, fires 0 times, tells 0 times new"
    ]


FERRY = """\
name: ferry
task: binary_classification
time_column: when
features: {wind: {type: number}, tide: {type: number}}
target: {column: late, classes: {"0": on time, "1": late}}
training:
  history: {file: data/ferry.csv, until: 2024-01-11}
  candidates: {bayes: {estimator: sklearn.naive_bayes.GaussianNB}}
  strategy: sliding_window
  sliding_window: 6d
  validation: 2d
  holdout: 1d
monitoring: {window: 1d, block: 1h, minimum_rows: 20}
retraining: {minimum_labelled: 48, evidence: 3d, horizon: 1h, cost_of_retraining: 5, cool_down: 2d}
gate: {block: 3h, minimum_rows: 20}
"""


def test_retraining_rules_are_replayed_on_history(perennial, home, control, monkeypatch):
    """From the eleventh day on the tide counts: what costs nothing is retrained, what costs too much is not."""
    import joblib

    monkeypatch.setattr("ml.simulation.virtual_history.Parallel", lambda **_: joblib.Parallel(n_jobs=1))
    rng, n = np.random.default_rng(0), 18 * 96
    wind, tide = rng.normal(size=(2, n))
    late = rng.random(n) < 1 / (1 + np.exp(-2 * np.where(np.arange(n) < 10 * 96, wind, tide)))
    when = pd.date_range("2024-01-01", periods=n, freq="15min", tz="UTC").map(lambda moment: moment.isoformat())
    table = pd.DataFrame({"when": when, "wind": wind, "tide": tide, "late": late.astype(int)})
    table.to_csv(home / "data" / "ferry.csv", index=False)
    path = home / "use_cases" / "ferry.yaml"
    path.write_text(FERRY, encoding="utf-8")
    note_policy(control, "ferry", FERRY, now=NOW)
    path.write_text(FERRY.replace("cost_of_retraining: 5", "cost_of_retraining: 0"), encoding="utf-8")

    (told,) = json.loads(perennial("policy", "diff", "ferry", "--preview", "--json").out)["policies"]

    old, new = told["preview"]
    assert old.startswith("in force: log_loss ")
    assert ", 0 retrainings, 0 promoted, " in old
    assert new.startswith("new: log_loss ")
    assert ", 0 retrainings, " not in new


def test_who_is_asked_is_nothing_that_history_shows(perennial, home, control):
    """No backtest is run for it, and it is said."""
    del control
    edit(home, "mode: automatic", "mode: review")

    answer = perennial("policy", "diff", NAME, "--preview")

    assert 'retraining.mode: "automatic" -> "review"' in answer.out
    assert "no preview: history shows nothing about these keys" in answer.out


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (("diff", "harbor"), 2, "no such use case"),
        (("apply", NAME, "--reason", " "), 2, "a reason is needed"),
        (("apply", NAME), 2, "--reason"),
        (("sign", NAME, "--reason", "agreed"), 2, "there is no envelope to sign"),
        (("sign", NAME, "--reason", "agreed", "--key", "absent.pem"), 2, "no private key"),
        (("diff", ALERTS, "--preview", "--since", "soon"), 0, "no such moment"),
    ],
)
def test_bad_input_is_one_error_and_its_exit_code(perennial, home, control, words, code, message):
    """Nothing is recorded."""
    before = len(control.ledger_entries())
    path = home / "alerts.yaml"
    path.write_text(path.read_text(encoding="utf-8").replace("names: [task_failed]", "names: [task_lost]"), "utf-8")

    answer = perennial("policy", *words)

    assert answer.code == code
    assert message in answer.err + answer.out
    assert len(control.ledger_entries()) == before


def test_a_broken_ledger_takes_no_policy(perennial, home, control):
    """Its end was cut off: exit code 1; without its key: 2."""
    import sqlite3

    edit(home, "cool_down: 14d", "cool_down: 1d")
    key = home / "var" / "control.ledger" / "signing.pem"
    content = key.read_bytes()
    key.unlink()
    assert perennial("policy", "apply", NAME, "--reason", "why", "--no-preview").code == 2
    key.write_bytes(content)
    with sqlite3.connect(home / "var" / "control.db") as connection:
        connection.execute("DELETE FROM ledger WHERE number = 2")
    connection.close()

    answer = perennial("policy", "apply", NAME, "--reason", "why", "--no-preview")

    assert (answer.code, "the ledger is broken" in answer.err) == (1, True)
    assert control.ledger_entries(kinds=("policy",)) == ()


@pytest.fixture
def asked(control):
    """A question about version 3."""
    review = ReviewRequest(
        use_case=NAME,
        version=3,
        champion_version=2,
        digest="0" * 64,
        package_digest="0" * 64,
        gate_key=f"{NAME}/3",
        evidence="1" * 64,
        request_key=f"{NAME}/manual__1",
        run_id="manual__1",
        asked_for_by="monitor",
        asked_at=NOW,
        expires_at=datetime(2026, 1, 12, tzinfo=UTC),
        why=("mode: review",),
    )
    control.record("review", review.gate_key, review, use_case=NAME, as_of=NOW, now=NOW)
    return control


@pytest.mark.parametrize("command", ["approve", "reject"])
@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (
            (NAME, "7", "--reason", "fine"),
            2,
            "this version is not under review; where: harbour_weather; got: 7; allowed: 3",
        ),
        ((NAME, "3", "--reason", " "), 2, "a reason is needed"),
        ((NAME, "0", "--reason", "fine"), 2, "greater than or equal to 1"),
        (("harbor", "3", "--reason", "fine"), 2, "no such use case"),
        ((NAME, "3", "--reason", "fine"), 2, "perennial up"),
    ],
)
def test_an_answer_that_cannot_be_taken_is_one_error(perennial, asked, command, words, code, message):
    """Who cannot act on an answer records none."""
    answer = perennial(command, *words)

    assert (answer.code, message in answer.err) == (code, True)
    assert asked.ledger_entries(kinds=("approval",)) == ()


@pytest.mark.parametrize("command", ["approve", "reject"])
def test_with_airflow_away_nobody_answers(perennial, asked, monkeypatch, command):
    """Exit code 3, and nothing is recorded."""
    monkeypatch.setenv("PERENNIAL_AIRFLOW_PASSWORD", "known")

    assert perennial(command, NAME, "3", "--reason", "fine").code == 3
    assert asked.ledger_entries(kinds=("approval",)) == ()
