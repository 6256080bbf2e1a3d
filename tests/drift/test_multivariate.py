"""Looking at columns together: what a use case file may say of it, and where it is written."""

from __future__ import annotations

from pathlib import Path
from typing import get_args

import pytest
from pydantic import ValidationError

from ml.drift.calibrate import DriftRule, rule_of
from ml.drift.multivariate import DOMAIN_CLASSIFIER, PCA_RECONSTRUCTION
from ml.records.decision import ColumnDrift, DriftCheck
from ml.registry.mlflow_checks import check_numbers
from ml.use_case import UseCase
from ml.use_case.monitoring_options import MultivariateName

DOCS = Path(__file__).parents[2] / "docs"


def content(features: dict[str, str], *multivariate: str) -> dict:
    """A use case with features of these types."""
    return {
        "name": "ferry",
        "task": "binary_classification",
        "time_column": "time",
        "features": {name: {"type": kind} for name, kind in features.items()},
        "target": {"column": "late", "classes": {"0": "on time", "1": "late"}},
        "training": {"history": {"file": "ferry.csv"}},
        "monitoring": {"multivariate": list(multivariate)},
    }


def test_every_name_is_known_to_the_check_and_in_the_documents():
    """The key and both values are in the drift page, with what the budget becomes."""
    page = (DOCS / "drift.md").read_text(encoding="utf-8")

    assert set(get_args(MultivariateName)) == {PCA_RECONSTRUCTION, DOMAIN_CLASSIFIER}
    assert all(f"`{name}`" in page for name in ("monitoring.multivariate", *get_args(MultivariateName)))
    assert "half of the budget" in " ".join(page.split())


def test_it_is_off_unless_a_file_says_otherwise():
    """A rule takes what the file says; only the classifier costs half of the budget."""
    numbers = {"wind": "number", "wave": "number"}
    shares = {
        names: rule_of(UseCase.model_validate(content(numbers, *names))).share
        for names in ((), (PCA_RECONSTRUCTION,), (DOMAIN_CLASSIFIER,), (PCA_RECONSTRUCTION, DOMAIN_CLASSIFIER))
    }

    assert DriftRule().multivariate == ()
    assert list(shares.values()) == [0.05, 0.05, 0.025, 0.025]


@pytest.mark.parametrize(
    ("features", "names", "told"),
    [
        ({"wind": "number", "pier": "category"}, (PCA_RECONSTRUCTION,), "needs 2 number features, got 1"),
        ({"wind": "number"}, (DOMAIN_CLASSIFIER,), "needs 2 features, got 1"),
        ({"wind": "number", "wave": "number"}, ("mmd",), "'pca_reconstruction' or 'domain_classifier'"),
    ],
)
def test_a_file_that_asks_for_what_cannot_be_is_refused(features, names, told):
    """With what is needed and what was found."""
    with pytest.raises(ValidationError, match=told):
        UseCase.model_validate(content(features, *names))


def test_the_names_of_metrics_are_ones_that_mlflow_takes():
    """Parentheses are not."""
    from mlflow.utils.validation import _validate_metric_name

    sides = {"n_reference": 10, "n_live": 10, "missing_share_reference": 0.0, "missing_share_live": 0.0}
    columns = (
        ColumnDrift(name="joint (PCA)", statistic="psi", value=0.3, **sides),
        ColumnDrift(name="all columns", statistic="domain_classifier", value=0.7, **sides),
    )
    check = DriftCheck(
        use_case="ferry", window=None, model_version=1, score=1.0, threshold=2.0, false_alarm_budget=0.05,
        n_reference=10, n_live=10, columns=columns, verdict="no_drift", reasons=(),
    )  # fmt: skip

    numbers = check_numbers(check)

    for name in numbers:
        _validate_metric_name(name)
    assert {name: numbers[name] for name in numbers if name.startswith("columns")} == {
        "columns/joint _PCA_/psi": 0.3,
        "columns/all columns/domain_classifier": 0.7,
    }
