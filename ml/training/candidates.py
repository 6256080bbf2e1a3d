"""Candidates: what the use case file names becomes one scikit-learn pipeline, from raw features to answers."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from sklearn.base import BaseEstimator, is_classifier, is_regressor
from sklearn.calibration import CalibratedClassifierCV
from sklearn.compose import ColumnTransformer
from sklearn.ensemble import (
    GradientBoostingClassifier,
    GradientBoostingRegressor,
    HistGradientBoostingClassifier,
    HistGradientBoostingRegressor,
    RandomForestClassifier,
    RandomForestRegressor,
)
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler
from sklearn.svm import SVC

from ml.errors import Problem, UseCaseError
from ml.training.boosters import lightgbm_classifier, lightgbm_regressor, xgboost_classifier, xgboost_regressor
from ml.use_case import UseCase


@dataclass(frozen=True)
class BuiltIn:
    """An estimator that is known by a short name.

    Attributes
    ----------
    make
        Builds it from keyword arguments.
    defaults
        Ours where they differ from scikit-learn's; the use case file's win.
    scaled
        Whether it wants numbers of one scale.
    """

    make: Callable[..., Any]
    defaults: Mapping[str, Any] = field(default_factory=dict)
    scaled: bool = False


def _calibrated_svc(**parameters: Any) -> CalibratedClassifierCV:
    """One support vector machine with Platt scaling; three-fold, in order of time, on the rows it is fitted on."""
    return CalibratedClassifierCV(SVC(**parameters), cv=3, ensemble=False)


CLASSIFIERS: dict[str, BuiltIn] = {
    "logistic_regression": BuiltIn(LogisticRegression, {"max_iter": 1000}, scaled=True),
    # A forest that is to give probabilities averages shares of leaves: with leaves of one row they are far too sure
    # (Malley et al. 2012, Probability machines, Methods Inf. Med. 51, section 3; ten is the default of R's ranger).
    "random_forest": BuiltIn(RandomForestClassifier, {"min_samples_leaf": 10}),
    "gradient_boosting": BuiltIn(GradientBoostingClassifier),
    # Its early stopping would set random rows aside: neighbours in time of the rows that it learns from.
    "hist_gradient_boosting": BuiltIn(HistGradientBoostingClassifier, {"early_stopping": False}),
    "svc": BuiltIn(_calibrated_svc, scaled=True),
    "lightgbm": BuiltIn(lightgbm_classifier),
    "xgboost": BuiltIn(xgboost_classifier),
}

REGRESSORS: dict[str, BuiltIn] = {
    "ridge": BuiltIn(Ridge, scaled=True),
    # Five is the default of R's ranger for a mean.
    "random_forest": BuiltIn(RandomForestRegressor, {"min_samples_leaf": 5}),
    "gradient_boosting": BuiltIn(GradientBoostingRegressor),
    "hist_gradient_boosting": BuiltIn(HistGradientBoostingRegressor, {"early_stopping": False}),
    "lightgbm": BuiltIn(lightgbm_regressor),
    "xgboost": BuiltIn(xgboost_regressor),
}


def built_in(use_case: UseCase) -> dict[str, BuiltIn]:
    """Estimators that have a short name, for the task of a use case."""
    return REGRESSORS if use_case.regression else CLASSIFIERS


def build_candidate(use_case: UseCase, name: str) -> Pipeline:
    """Unfitted pipeline of one candidate; it takes :func:`ml.training.inputs.feature_table`.

    Numbers are imputed with their median and scaled where the estimator needs it; categories become indicators,
    where an unknown one is all zeros and a missing one (``""``) is a category of its own. The same seed gives the
    same model.

    Parameters
    ----------
    name
        Key of ``training.candidates``. Its ``estimator`` is a built-in name or an import path such as
        ``sklearn.naive_bayes.GaussianNB``.

    Raises
    ------
    UseCaseError
        There is no such candidate or estimator, or the estimator does not take the parameters.
    """
    candidate = use_case.training.candidates.get(name)
    if candidate is None:
        raise _problem(use_case, name, "", f"is no candidate; there are {', '.join(use_case.training.candidates)}")
    known = built_in(use_case).get(candidate.estimator) or BuiltIn(_import(use_case, name), scaled=True)
    try:
        estimator = known.make(**{**known.defaults, **candidate.parameters})
    except ImportError as error:
        missing = f"{candidate.estimator} needs a library that is not installed: {error}"
        raise _problem(use_case, name, ".estimator", missing) from error
    except (TypeError, ValueError) as error:
        raise _problem(use_case, name, ".parameters", str(error)) from error
    if use_case.regression and not is_regressor(estimator):
        raise _problem(use_case, name, ".estimator", f"{candidate.estimator} gives no numbers")
    if not use_case.regression and not (is_classifier(estimator) and hasattr(estimator, "predict_proba")):
        raise _problem(use_case, name, ".estimator", f"{candidate.estimator} gives no probabilities of classes")
    _seed(estimator, use_case.training.seed)
    return Pipeline([("prepare", _prepare(use_case, scaled=known.scaled)), ("model", estimator)])


def _prepare(use_case: UseCase, *, scaled: bool) -> ColumnTransformer:
    """Columns by position: first the numbers, then the categories, as the graph's concatenated inputs have them."""
    numbers, categories = len(use_case.numbers), len(use_case.categories)
    steps: list[tuple[str, BaseEstimator]] = [
        ("impute", SimpleImputer(strategy="median", keep_empty_features=True)),
        *([("scale", StandardScaler())] if scaled else []),
    ]
    encoder = OneHotEncoder(handle_unknown="ignore", sparse_output=False, dtype=np.float32)
    parts = [
        ("numbers", Pipeline(steps), list(range(numbers))),
        ("categories", encoder, list(range(numbers, numbers + categories))),
    ]
    return ColumnTransformer([part for part in parts if part[2]], sparse_threshold=0.0)


def _seed(estimator: Any, seed: int) -> None:
    """One seed for everything random inside, unless the use case file gave another."""
    known = estimator.get_params()
    unset = [name for name in known if name.rpartition("__")[2] == "random_state" and known[name] is None]
    estimator.set_params(**dict.fromkeys(unset, seed))


def _import(use_case: UseCase, name: str) -> Any:
    path = use_case.training.candidates[name].estimator
    module, _, attribute = path.rpartition(".")
    try:
        found = getattr(importlib.import_module(module), attribute) if module else None
    except Exception as error:  # a foreign module may raise anything while it is imported
        raise _problem(use_case, name, ".estimator", f"{path} cannot be imported: {error}") from error
    if not isinstance(found, type):
        allowed = f"one of {', '.join(built_in(use_case))}, or the import path of a class"
        raise _problem(use_case, name, ".estimator", f"must be {allowed}, got {path!r}")
    return found


def _problem(use_case: UseCase, name: str, place: str, message: str) -> UseCaseError:
    return UseCaseError(f"{use_case.name}.yaml", (Problem(f"training.candidates.{name}{place}", message),))
