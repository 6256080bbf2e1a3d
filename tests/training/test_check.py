"""Assembled data that breaks a rule stops the run; every rule is shown to fail on a seeded fault."""

import pandas as pd
import pytest

from ml.errors import DataError
from ml.records.measure import Verdict
from ml.training.check import check_data

FLIP = {"late": "on time", "on time": "late"}


@pytest.fixture(scope="module")
def assembled(make_use_case, make_rows, make_training_set):
    """Thirty days in parts; the last eight are live."""
    use_case = make_use_case()
    frame, _ = make_training_set(make_rows(), use_case)
    return use_case, frame.assign(source=["history"] * (len(frame) - 192) + ["live"] * 192)


def test_good_data_passes_every_rule(assembled):
    """Every rule with its number; only the label's time cannot be told without a persistence column."""
    use_case, frame = assembled

    results = {result.name: result for result in check_data(frame, use_case)}

    assert list(results) == [
        *("columns", "values", "ids", "classes_fit", "classes_validation", "classes_holdout", "time_order"),
        *("label_balance", "duplicates", "label_time_history", "label_copy_history"),
        *("label_time_live", "label_copy_live", "leakage"),
    ]
    untold = {"label_time_history", "label_time_live"}
    assert {name for name, result in results.items() if result.verdict is not Verdict.PASS} == untold
    assert {results[name].verdict for name in untold} == {Verdict.UNDECIDABLE}


def inverted_live_labels(frame: pd.DataFrame) -> pd.DataFrame:
    """Live labels are the wrong way round, in a history where a class is rare."""
    rare = frame.assign(label=["late" if i % 12 == 0 else "on time" for i in range(len(frame))])
    rare.loc[rare["source"] == "live", "label"] = rare["label"].map(FLIP)
    return rare


def sent_twice(frame: pd.DataFrame) -> pd.DataFrame:
    """A client sent its live rows again under ids of their own."""
    again = frame[frame["source"] == "live"]
    return pd.concat([frame, again.assign(id=again["id"] + " again")], ignore_index=True)


FAULTS = {
    "columns: wind is absent": lambda f: f.drop(columns="wind"),
    "columns: wind is not numeric": lambda f: f.assign(wind="strong"),
    "values: the first: wind: 900.0 is outside 0 .. 200": lambda f: f.assign(wind=f["wind"].where(f.index != 3, 900.0)),
    "values: 1 rows, the first: late: is no class of": lambda f: f.assign(label=f["label"].where(f.index != 3, "sunk")),
    "ids: 1 repeated": lambda f: pd.concat([f, f.iloc[[0]]], ignore_index=True),
    "classes_fit: fit has 0 x late": lambda f: f.assign(label=f["label"].where(f["part"] != "fit", "on time")),
    "classes_holdout: holdout has 0 x late, 0 x on time": lambda f: f[f["part"] != "holdout"],
    "label_balance: of the live rows have another class": inverted_live_labels,
    "duplicates: 192 of 384 live rows repeat an earlier row": sent_twice,
    "label_copy_history: the label is weather of the same row": lambda f: f.assign(
        weather=f["label"].map({"late": "storm", "on time": "fair"})
    ),
    "leakage: tide alone explains 0.93 of": lambda f: f.assign(tide=f["tide"].abs() + 9 * (f["label"] == "late")),
    "time_order: rows whose truth lies within the next part": lambda f: f.assign(
        part=f["part"].where(f.index != len(f) - 1, "fit")
    ),
}


@pytest.mark.parametrize("told", FAULTS)
def test_every_rule_fails_on_its_fault(assembled, told):
    """The error names the rule and what was found."""
    use_case, frame = assembled
    rule, found = told.split(": ", 1)

    with pytest.raises(DataError) as caught:
        check_data(FAULTS[told](frame), use_case)

    assert f"where: ferry: {rule}" in str(caught.value)
    assert found in str(caught.value)


def test_all_broken_rules_are_told_at_once(assembled):
    """Two faults, two names."""
    use_case, frame = assembled
    doubled = pd.concat([frame, frame.iloc[[0]]], ignore_index=True).assign(tide=float("nan"))

    with pytest.raises(DataError, match="where: ferry: values, ids;"):
        check_data(doubled, use_case)


def test_a_holdout_without_a_class_is_undecidable_and_may_pass(assembled):
    """A dry week happens; it is no fault of the data."""
    use_case, frame = assembled
    dry = frame.assign(label=frame["label"].where(frame["part"] != "holdout", "on time"))

    verdicts = {result.name: result.verdict for result in check_data(dry, use_case)}

    assert verdicts["classes_holdout"] is Verdict.UNDECIDABLE
    assert verdicts["classes_fit"] is Verdict.PASS


def test_without_live_rows_their_balance_is_undecidable(assembled):
    """The first training has none."""
    use_case, frame = assembled

    results = {result.name: result for result in check_data(frame.assign(source="history"), use_case)}

    assert results["label_balance"].verdict is Verdict.UNDECIDABLE
    assert results["label_balance"].value is None
