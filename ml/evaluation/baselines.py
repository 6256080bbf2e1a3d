"""Trivial forecasts, as answers of a model: what any model must beat."""

from __future__ import annotations

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ml.errors import DataError
from ml.evaluation.slices import values_of
from ml.training.base_rates import class_shares, forecast_base_rates
from ml.training.class_names import name_classes
from ml.use_case import UseCase


def forecast_persistence(trained: pd.DataFrame, judged: pd.DataFrame, use_case: UseCase) -> NDArray[np.float64]:
    """Every row gets the shares of the classes among the trained rows whose present class was the same.

    The present class is the value of ``baselines.persistence``, read by ``target.classes``; where it is missing or no
    class, the row gets the shares among all. Of a regression the column's present value itself is the forecast.

    Returns
    -------
    ndarray of shape ``(n_judged, len(use_case.answers))``

    Raises
    ------
    DataError
        The use case file names no such column.
    """
    column = use_case.baselines.persistence
    if column is None:
        raise DataError("there is no persistence forecast", where="baselines.persistence", got="nothing")
    if use_case.regression:
        now = judged[column].to_numpy(dtype=np.float64, na_value=np.nan)[:, None]
        return np.where(np.isfinite(now), now, forecast_base_rates(trained, judged, use_case))
    before = np.array(name_classes(trained[column], use_case.target), dtype=object)
    present = np.array(name_classes(judged[column], use_case.target), dtype=object)
    forecast = forecast_base_rates(trained, judged, use_case)
    for name in use_case.target.class_names:
        if (before == name).any():
            forecast[present == name] = class_shares(trained["label"][before == name], use_case)
    return forecast


def forecast_season(trained: pd.DataFrame, judged: pd.DataFrame, use_case: UseCase) -> NDArray[np.float64]:
    """Every row gets what :func:`forecast_base_rates` makes of the trained rows of its season, ``baselines.seasonal``.

    A row of a season that was not trained on gets the forecast of all.

    Returns
    -------
    ndarray of shape ``(n_judged, len(use_case.answers))``
    """
    forecast = forecast_base_rates(trained, judged, use_case)
    before, now = _season(trained, use_case), _season(judged, use_case)
    for season in set(now) & set(before):
        inside = now == season
        forecast[inside] = forecast_base_rates(trained[before == season], judged[inside], use_case)
    return forecast


def forecast_baselines(
    trained: pd.DataFrame, judged: pd.DataFrame, use_case: UseCase
) -> dict[str, NDArray[np.float64]]:
    """Forecasts of :func:`asked_baselines`; none where there is no row to learn from."""
    known = {"persistence": forecast_persistence, "seasonal": forecast_season, "majority": forecast_base_rates}
    names = asked_baselines(use_case) if len(trained) else ()
    return {name: known[name](trained, judged, use_case) for name in names}


def asked_baselines(use_case: UseCase) -> tuple[str, ...]:
    """Those that the use case file asks for: ``persistence``, ``seasonal``, ``majority``."""
    asked = use_case.baselines
    wanted = {
        "persistence": asked.persistence is not None,
        "seasonal": bool(asked.seasonal),
        "majority": asked.majority,
    }
    return tuple(name for name, yes in wanted.items() if yes)


def _season(rows: pd.DataFrame, use_case: UseCase) -> NDArray[np.object_]:
    parts = [values_of(rows, name, use_case) for name in use_case.baselines.seasonal]
    return np.array([" ".join(season) for season in zip(*parts, strict=True)], dtype=object)
