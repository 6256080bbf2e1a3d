"""What the answers of a regression are expected to cost, told without labels by a model of its errors."""

from __future__ import annotations

import warnings

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import TweedieRegressor

from ml.records.profile import ErrorModel
from ml.training.loss import LOSSES
from ml.use_case import UseCase

Floats = NDArray[np.float64]

#: Fewer rows teach nothing about errors.
MINIMUM_ROWS = 50
_POWER = 1.5  # between Poisson and gamma: errors are positive, spread with their mean, and may be zero
_RIDGE = 0.01
_CATEGORIES = 10
_WINSOR = 4.0  # standard deviations
_ANSWER = "answer"


def fit_error_model(rows: pd.DataFrame, answers: Floats, use_case: UseCase) -> ErrorModel | None:
    """Model of the loss by features and answer, fitted on rows that the answering models had not seen.

    Parameters
    ----------
    rows
        With ``label`` and the features.
    answers
        Of shape ``(n_rows, 1)``, of models that were not fitted on the rows, :func:`ml.training.cross_fit.cross_fit`.

    Returns
    -------
    ErrorModel or None
        None with fewer than :data:`MINIMUM_ROWS` rows, or without any error.

    References
    ----------
    Jorgensen (1987), Exponential dispersion models, J. R. Stat. Soc. B 49: the compound Poisson-gamma family. Lei et
    al. (2018), Distribution-free predictive inference for regression, JASA 113, section 5.2: errors as a function of
    the features, fitted on rows that the model has not seen.
    """
    losses = LOSSES[use_case.gate.metric](rows["label"].to_numpy(), answers, use_case.answers)
    if len(rows) < MINIMUM_ROWS or not losses.mean() > 0:
        return None
    numbers = _numbers(rows, answers, use_case)
    present = np.where(np.isfinite(numbers), numbers, np.nan)
    means, scales = (
        np.array([function(column[~np.isnan(column)]) if (~np.isnan(column)).any() else 0.0 for column in present.T])
        for function in (np.mean, np.std)
    )
    categories = {
        name: tuple(map(str, rows[name].dropna().value_counts().index[:_CATEGORIES])) for name in use_case.categories
    }
    model = ErrorModel(
        metric=use_case.gate.metric,
        names=(*use_case.numbers, _ANSWER),
        means=tuple(means.tolist()),
        scales=tuple(scales.tolist()),
        categories=categories,
        weights=(),
        intercept=0.0,
        lowest=0.0,
        highest=0.0,
        n=len(rows),
    )
    design = _design(model, rows, answers, use_case)
    glm = TweedieRegressor(power=_POWER, link="log", alpha=_RIDGE, max_iter=1000)
    unit = float(losses.mean())
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # a rougher fit is watched like any other
        glm.fit(design, losses / unit)
    reach = design @ glm.coef_ + glm.intercept_ + np.log(unit)
    # The penalty shrinks towards a common error; what it takes from the mean is given back.
    shift = float(np.log(unit / np.exp(reach).mean()))
    return model.model_copy(
        update={
            "weights": tuple(glm.coef_.tolist()),
            "intercept": float(glm.intercept_) + float(np.log(unit)) + shift,
            "lowest": float(reach.min()) + shift,
            "highest": float(reach.max()) + shift,
        }
    )


def expect_errors(model: ErrorModel, rows: pd.DataFrame, answers: Floats, use_case: UseCase) -> Floats:
    """Expected loss of each answer, ``(0, inf)``, of shape ``(n_rows,)``; no label is looked at."""
    reach = _design(model, rows, answers, use_case) @ np.array(model.weights) + model.intercept
    found: Floats = np.exp(np.clip(reach, model.lowest, model.highest))
    return found


def _numbers(rows: pd.DataFrame, answers: Floats, use_case: UseCase) -> Floats:
    columns = [rows[name].to_numpy(dtype=np.float64, na_value=np.nan) for name in use_case.numbers]
    return np.column_stack([*columns, answers[:, 0]])


def _design(model: ErrorModel, rows: pd.DataFrame, answers: Floats, use_case: UseCase) -> Floats:
    """Standardised numbers (missing is the mean), their squares, indicators of known categories."""
    scales = np.array(model.scales)
    centred = _numbers(rows, answers, use_case) - np.array(model.means)
    safe = np.where(scales > 0, scales, 1.0)
    numbers = np.clip(np.nan_to_num(np.where(scales > 0, centred / safe, 0.0), nan=0.0), -_WINSOR, _WINSOR)
    texts = [
        (rows[name] == value).to_numpy(dtype=float) for name, values in model.categories.items() for value in values
    ]
    return np.column_stack([numbers, numbers**2, *texts])
