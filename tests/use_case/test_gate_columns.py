"""What the gate's section names must exist; every mistake is told with its place."""

import copy

import pytest
from pydantic import ValidationError

from ml.use_case import UseCase

FERRY = {
    "name": "ferry",
    "task": "binary_classification",
    "time_column": "time",
    "entity_columns": ["boat"],
    "features": {
        "wind": {"type": "number", "range": [0, 40]},
        "tide": {"type": "category", "values": ["low", "high"], "nullable": True},
        "late_now": {"type": "boolean", "nullable": True},
    },
    "target": {"column": "late", "classes": {"0": "on time", "1": "late"}, "positive": "late"},
    "training": {"history": {"file": "ferry.csv"}},
}
ROW = {"wind": 3.0, "tide": "low", "late_now": False}


def ferry(gate: dict, **more) -> UseCase:
    """The file with a section ``gate`` and whatever else differs."""
    return UseCase.model_validate(copy.deepcopy(FERRY) | {"gate": gate} | more)


def test_a_gate_that_names_what_exists_is_read():
    """Bins of a number, values of a category, an entity, the calendar; rows and changes within their ranges."""
    gate = ferry(
        {
            "slices": {"by": {"wind": 3, "tide": "each", "boat": "each", "month": "each"}},
            "golden": [{"name": "calm", "row": {"wind": 0}, "answer": "on time", "at_least": 0.9}],
            "behaviour": [
                {"name": "wind", "add": {"wind": 2}, "expect": "rises"},
                {"name": "tide", "put": {"tide": None}, "expect": "same", "of": "late"},
            ],
        }
    ).gate

    assert gate.slices.by == {"wind": 3, "tide": "each", "boat": "each", "month": "each"}
    assert [behaviour.expect for behaviour in gate.behaviour] == ["rises", "same"]


def test_an_area_under_the_curve_is_that_of_two_classes():
    """Of three there is none, and the file says so."""
    three = {"column": "late", "classes": {"0": "on time", "1": "late", "2": "never"}, "positive": "late"}

    assert ferry({"roc_auc": 0.01}).gate.roc_auc == 0.01
    with pytest.raises(ValidationError, match=r"gate\.roc_auc is for two classes, got 3"):
        ferry({"roc_auc": 0.01}, target=three, task="multiclass_classification")


@pytest.mark.parametrize(
    ("gate", "told"),
    [
        ({"slices": {"by": {"gust": 3}}}, "gate.slices.by.gust must be one of wind, tide, late_now, boat, hour_of_day"),
        ({"slices": {"by": {"tide": 3}}}, "gate.slices.by.tide must be each"),
        ({"slices": {"by": {"month": 3}}}, "gate.slices.by.month must be each"),
        ({"slices": {"by": {"wind": "each"}}}, "gate.slices.by.wind must be a count of quantile bins"),
        ({"golden": [{"name": "a", "row": {"tide": "low"}, "answer": "late"}]}, "gate.golden.0.row lacks wind"),
        ({"golden": [{"name": "a", "row": ROW | {"gust": 1}, "answer": "late"}]}, "gate.golden.0.row must name"),
        ({"golden": [{"name": "a", "row": ROW | {"wind": 41}, "answer": "late"}]}, "row.wind must be a number from 0"),
        (
            {"golden": [{"name": "a", "row": ROW | {"tide": "ebb"}, "answer": "late"}]},
            "must be a category of low, high",
        ),
        (
            {"golden": [{"name": "a", "row": ROW, "answer": "maybe"}]},
            "gate.golden.0.answer must be one of late, on time",
        ),
        ({"behaviour": [{"name": "a", "add": {"tide": 1}, "expect": "same"}]}, "add must name number features (wind)"),
        ({"behaviour": [{"name": "a", "put": {"wind": None}, "expect": "same"}]}, "put.wind must be a number"),
        ({"behaviour": [{"name": "a", "expect": "same"}]}, "add or put must name a feature"),
        ({"behaviour": [{"name": "a", "add": {"wind": 1}, "expect": "same", "of": "no"}]}, "of must be one of late"),
        ({"test": "non_inferiority"}, "needs a margin above 0"),
        ({"metric": "accuracy"}, "Input should be 'log_loss'"),
        ({"slices": {"by": {"wind": 1}}}, "greater than or equal to 2"),
        ({"roc_auc": -0.1}, "greater than or equal to 0"),
        ({"rows": "shuffled"}, "Input should be 'in_time' or 'independent'"),
        ({"churn": 1.5}, "less than or equal to 1"),
    ],
)
def test_a_mistake_is_told_with_its_place(gate, told):
    """Column, value, class or number, and what is allowed."""
    with pytest.raises(ValidationError) as caught:
        ferry(gate)

    assert told in str(caught.value)


def test_names_of_rows_and_tests_differ():
    """Or nobody could tell which one failed."""
    twice = [{"name": "a", "row": ROW, "answer": "late"}] * 2

    with pytest.raises(ValidationError, match="golden must not name one thing twice"):
        ferry({"golden": twice})


def test_a_protected_feature_has_groups_and_a_decision_to_compare():
    """A number has no groups, and without ``target.positive`` nobody knows which decision matters."""
    features = copy.deepcopy(FERRY["features"])
    number = features | {"wind": features["wind"] | {"protected": True}}
    group = features | {"tide": features["tide"] | {"protected": True}}

    with pytest.raises(ValidationError, match="protected belongs to type category or boolean"):
        ferry({}, features=number)
    with pytest.raises(ValidationError, match=r"features.tide.protected needs target.positive"):
        ferry({}, features=group, target={"column": "late", "classes": {"0": "on time", "1": "late"}})
    assert ferry({}, features=group).features["tide"].protected


def test_a_regression_has_numbers_as_golden_answers_and_no_groups():
    """Nor decisions that churn."""
    number = {"task": "regression", "target": {"column": "minutes"}}
    features = copy.deepcopy(FERRY["features"])

    assert ferry({"golden": [{"name": "a", "row": ROW, "answer": 3, "within": 1}]}, **number).gate.golden[0].answer == 3
    with pytest.raises(ValidationError, match=r"gate.golden.0.answer must be a number, got 'late'"):
        ferry({"golden": [{"name": "a", "row": ROW, "answer": "late"}]}, **number)
    with pytest.raises(ValidationError, match="protected is for classes"):
        ferry({}, features=features | {"tide": features["tide"] | {"protected": True}}, **number)
    with pytest.raises(ValidationError, match=r"gate.churn is for classes"):
        ferry({"churn": 0.1}, **number)
