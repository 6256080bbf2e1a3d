"""``perennial evaluate``: the gate on two packages and a file; what is not at hand is never a silent yes."""

import json

import numpy as np
import pandas as pd
import pytest

from ml.records.decision import ServingCost
from ml.simulation.mutants.scene import fit_first, set_scene
from ml.training.convert import convert_pipeline
from ml.training.cost import COST
from ml.training.package import write_package
from ml.use_case import load

USE_CASE = """
name: ferry
task: binary_classification
time_column: when
features: {wind: {type: number}, late_now: {type: boolean, nullable: true}}
target: {column: late, classes: {"0": on time, "1": late}}
baselines: {persistence: late_now}
training:
  history: {file: data/ferry.csv}
  candidates: {plain: {estimator: logistic_regression}}
"""
HOURS = 1200


def sailings(seed: int, *, strength: float = 2.0, begin: str = "2024-01-01") -> pd.DataFrame:
    """Wind makes the ferry late."""
    rng = np.random.default_rng(seed)
    wind = rng.normal(size=HOURS)
    late = strength * wind + rng.logistic(size=HOURS) > 0.5
    when = pd.date_range(begin, periods=HOURS, freq="h", tz="UTC").map(lambda moment: moment.isoformat())
    return pd.DataFrame(
        {"when": when, "wind": wind, "late_now": np.append(0, late[:-1].astype(int)), "late": late.astype(int)}
    )


@pytest.fixture
def ferry(home):
    """Two packages, the files that they were trained on, and a newer one that judges."""
    (home / "use_cases" / "ferry.yaml").write_text(USE_CASE, encoding="utf-8")
    use_case = load(home / "use_cases" / "ferry.yaml")
    for name, table in {
        "old.csv": sailings(1, strength=0.1),
        "new.csv": sailings(2, begin="2024-03-01"),
        "judged.csv": sailings(3, begin="2024-05-01"),
    }.items():
        table.to_csv(home / name, index=False)
    for name, file in {"champion": "old.csv", "challenger": "new.csv"}.items():
        history = use_case.training.history.model_copy(update={"file": home / file})
        own = use_case.model_copy(update={"training": use_case.training.model_copy(update={"history": history})})
        pack(own, home, name)
    return home


def pack(use_case, home, name):
    """A package as the retrain DAG leaves it."""
    from ml.evaluation.describe import describe_training
    from ml.evaluation.predict import predict
    from ml.training.history import load_history

    rows = load_history(use_case, home)[0]
    frame = set_scene(use_case, rows, home, seed=1).frame
    pipeline = fit_first(use_case, rows)
    folder = home / name
    _, parity = write_package(pipeline, convert_pipeline(pipeline, use_case), frame, use_case, folder)
    parity.write(folder / "parity.json")
    cost = ServingCost(size_bytes=900, single_ms=0.1, single_p99_ms=0.2, batch_ms=1.0, batch_rows=1000, n=200)
    cost.write(folder / COST)
    described = describe_training(
        use_case, "plain", rows, lambda asked: predict(folder, asked, use_case), fingerprint=""
    )
    described.write(folder / "reference_profile.json")


def words(home, *more: str) -> tuple[str, ...]:
    """The command line of the two packages."""
    given = ("--data", str(home / "judged.csv"), "--training", str(home / "new.csv"), "--past", str(home / "old.csv"))
    return ("evaluate", str(home / "champion"), str(home / "challenger"), *given, *more)


def test_the_better_model_is_promoted_with_every_rule_told(perennial, ferry):
    """As a table, and as JSON with an interval for each rule that has one."""
    table = perennial(*words(ferry))
    told = json.loads(perennial(*words(ferry, "--json")).out)

    assert table.code == 0
    assert "promote (compared)" in table.out
    for rule in ("unseen_holdout", "beats_champion", "beats_persistence", "old_regime", "calibration_error"):
        assert rule in table.out
    assert (told["decision"], told["state"]) == ("promote", "compared")
    rule = next(rule for rule in told["rules"] if rule["name"] == "beats_champion")
    assert rule["interval"][0] < rule["value"] < rule["interval"][1]
    assert rule["p"] < rule["level"]


def test_the_worse_model_is_rejected_and_the_exit_code_says_so_where_asked(perennial, ferry):
    """The other way round the watermark is older, too."""
    turned = ("evaluate", str(ferry / "challenger"), str(ferry / "champion"), "--data", str(ferry / "judged.csv"))

    plain, strict = perennial(*turned), perennial(*turned, "--fail-on-reject")

    assert (plain.code, strict.code) == (0, 1)
    assert "reject (compared)" in plain.out
    assert "watermark" in plain.out


def test_rows_that_a_model_was_trained_on_are_found_out(perennial, ferry):
    """The file is the challenger's own training data."""
    told = perennial(
        "evaluate", str(ferry / "champion"), str(ferry / "challenger"), "--data", str(ferry / "new.csv"), "--json"
    )

    rules = {rule["name"]: rule for rule in json.loads(told.out)["rules"]}
    assert rules["unseen_holdout"]["verdict"] == "fail"
    assert rules["unseen_holdout"]["value"] >= HOURS


def test_what_is_not_at_hand_is_undecidable(perennial, ferry):
    """Without training rows no baseline, without the champion's no past, without files no parity, size or latency."""
    for name in ("parity.json", COST):
        (ferry / "challenger" / name).unlink()

    told = json.loads(
        perennial(
            "evaluate",
            str(ferry / "champion"),
            str(ferry / "challenger"),
            "--data",
            str(ferry / "judged.csv"),
            "--json",
        ).out
    )

    assert (told["decision"], told["state"]) == ("reject", "undecidable")
    assert {rule["name"] for rule in told["rules"] if rule["verdict"] == "undecidable"} == {
        *("parity", "latency", "size", "beats_persistence", "beats_majority", "old_regime")
    }


def test_a_first_model_meets_nobody(perennial, ferry):
    """``none`` is no champion."""
    told = perennial(
        *("evaluate", "none", str(ferry / "challenger"), "--data", str(ferry / "judged.csv")),
        *("--training", str(ferry / "new.csv"), "--json"),
    )

    assert (json.loads(told.out)["decision"], json.loads(told.out)["state"]) == ("promote", "first_model")


@pytest.mark.parametrize(
    ("change", "code", "told"),
    [
        (lambda home: home.joinpath("judged.csv").unlink(), 2, "judged.csv"),
        (lambda home: rewrite(home, lambda table: table.drop(columns="late")), 2, "late"),
        (lambda home: rewrite(home, lambda table: table.head(0)), 2, "no"),
        (lambda home: rewrite(home, lambda table: table.assign(late=7)), 2, "no usable row"),
        (lambda home: rewrite(home, lambda table: table.assign(late_now=np.nan)), 2, "late_now"),
        (lambda home: (home / "challenger" / "package.json").unlink(), 2, "package.json"),
        (lambda home: damage(home / "challenger" / "model.onnx"), 2, "artifact fails its digest"),
        (lambda home: (home / "use_cases" / "ferry.yaml").unlink(), 2, "ferry.yaml"),
    ],
)
def test_bad_input_is_one_error_that_names_the_place(perennial, ferry, change, code, told):
    """Nothing is printed but the error."""
    change(ferry)

    answer = perennial(*words(ferry))

    assert answer.code == code
    assert told in answer.err
    assert answer.out == ""


def test_only_one_class_is_undecidable_and_a_few_unknown_ones_are_told(perennial, ferry):
    """Whoever always says so would win; rows of no class are left out, with a note."""
    rewrite(ferry, lambda table: table.assign(late=[7] * 3 + [0] * (HOURS - 3)))

    answer = perennial(*words(ferry))

    assert "reject" in answer.out
    assert "of two classes: all are on time" in answer.out
    assert "note: 3 of 1200 rows of judged.csv are not usable" in answer.err


def test_a_version_is_asked_of_the_registry(perennial, ferry):
    """Which is not up here; a word that is neither folder nor version is a mistake."""
    away = perennial("evaluate", "none", "ferry@2", "--data", str(ferry / "judged.csv"))
    wrong = perennial("evaluate", "none", "ferry", "--data", str(ferry / "judged.csv"))

    assert (away.code, wrong.code) == (3, 2)
    assert "USE_CASE@VERSION" in wrong.err


def rewrite(home, change) -> None:
    """Change the file that judges."""
    path = home / "judged.csv"
    change(pd.read_csv(path)).to_csv(path, index=False)


def damage(path) -> None:
    """Cut the last bytes off."""
    path.write_bytes(path.read_bytes()[:-5])
