"""Parts of the holdout: by the values of a column, by quantile bins of a number, by the calendar."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ml.training.entities import entities_of
from ml.use_case import UseCase

_MISSING = "missing"


def cut_slices(trained: pd.DataFrame, judged: pd.DataFrame, use_case: UseCase) -> dict[str, NDArray[np.bool_]]:
    """Rows of each slice that ``gate.slices.by`` asks for, by name; slices without rows are left out.

    Parameters
    ----------
    trained
        Quantiles of bins are those of these rows, so that slices do not depend on what is judged; where there are
        none, those of the judged ones.
    judged
        Rows to cut.

    Returns
    -------
    dict
        Name, such as ``hour_of_day=7`` or ``wind<=12.5``, to a boolean mask of shape ``(n_judged,)``. The slices of one
        column do not overlap; a missing value is a slice of its own.
    """
    found: dict[str, NDArray[np.bool_]] = {}
    for name, how in use_case.gate.slices.by.items():
        if how == "each":
            values = values_of(judged, name, use_case)
            found |= {f"{name}={value}": values == value for value in sorted(set(values))}
        else:
            known = trained if len(trained) else judged
            found |= _bins(name, known[name], judged[name], how)
    return {name: mask for name, mask in found.items() if mask.any()}


def groups_of(judged: pd.DataFrame, use_case: UseCase) -> dict[str, NDArray[np.object_]]:
    """Group of each row by each protected feature, as text."""
    protected = (name for name, feature in use_case.features.items() if feature.protected)
    return {name: values_of(judged, name, use_case) for name in protected}


def values_of(rows: pd.DataFrame, name: str, use_case: UseCase) -> NDArray[np.object_]:
    """A category, boolean or entity column, or a part of the calendar in UTC, as text; ``missing`` where it is."""
    if name in rows.columns:
        values = rows[name]
        if name in use_case.features and use_case.features[name].type == "boolean":
            values = values.map({0.0: "no", 1.0: "yes"})
    elif name in use_case.entity_columns:
        position = use_case.entity_columns.index(name)
        entities = entities_of(rows, use_case)
        values = entities if len(use_case.entity_columns) == 1 else entities.str.split("|").str[position]
    else:
        values = _calendar(rows["event_time"], name)
    return np.where(values.isna(), _MISSING, values.astype(str)).astype(object)


def _calendar(times: pd.Series, name: str) -> pd.Series:
    index = pd.DatetimeIndex(times)
    return pd.Series({"hour_of_day": index.hour, "day_of_week": index.day_name(), "month": index.month}[name])


def _bins(name: str, trained: pd.Series, judged: pd.Series, count: int) -> dict[str, NDArray[np.bool_]]:
    known = trained.to_numpy(dtype=np.float64, na_value=np.nan)
    known = known[np.isfinite(known)]
    values: NDArray[Any] = judged.to_numpy(dtype=np.float64, na_value=np.nan)
    found = {f"{name} {_MISSING}": ~np.isfinite(values)}
    edges = np.unique(np.quantile(known, np.arange(1, count) / count)) if len(known) else np.array([])
    lowest = -np.inf
    for edge in (*edges, np.inf):
        above = "" if lowest == -np.inf else f"{lowest:.4g}<"
        below = "" if edge == np.inf else f"<={edge:.4g}"
        found[f"{above}{name}{below}"] = (values > lowest) & (values <= edge) & np.isfinite(values)
        lowest = edge
    return found
