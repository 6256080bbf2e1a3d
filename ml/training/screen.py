"""Rows that no model should see, each with its reason."""

from __future__ import annotations

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ml.training.class_names import is_label
from ml.use_case import Feature, UseCase

_LARGEST = float(np.finfo(np.float32).max)


def screen_rows(frame: pd.DataFrame, use_case: UseCase) -> list[str]:
    """Why each row may not be trained on; empty where it may.

    A value is out of its range or beyond float32, missing where it may not be, or an unknown category; or the label
    is no class, or no number.

    Parameters
    ----------
    frame
        Feature frame with ``label``.
    """
    reasons: list[list[str]] = [[] for _ in range(len(frame))]
    for name, feature in use_case.features.items():
        for wrong, text in _judge(frame[name], feature):
            for row in np.flatnonzero(wrong):
                value = frame[name].iloc[row]
                reasons[row].append(f"{name}: {'' if pd.isna(value) else f'{value} '}{text}")
    for row in np.flatnonzero(~is_label(frame["label"], use_case)):
        reasons[row].append(f"{use_case.target.column}: {_allowed_label(use_case)}")
    return ["; ".join(found) for found in reasons]


def _allowed_label(use_case: UseCase) -> str:
    if not use_case.regression:
        return f"is no class of {', '.join(use_case.target.class_names)}"
    lowest, highest = use_case.target.range or (-np.inf, np.inf)
    return f"is no finite number within {lowest:g} .. {highest:g}"


def _judge(values: pd.Series, feature: Feature) -> list[tuple[NDArray[np.bool_], str]]:
    """Which values break which rule of a feature."""
    present = values.notna().to_numpy()
    found = [] if feature.nullable else [(~present, "is missing and not nullable")]
    if feature.type == "category":
        if feature.values is not None:
            known = values.isin(feature.values).to_numpy()
            found.append((present & ~known, f"is none of {', '.join(feature.values)}"))
        return found
    lowest, highest = feature.range or ((0.0, 1.0) if feature.type == "boolean" else (-_LARGEST, _LARGEST))
    numbers = values.to_numpy(dtype=np.float64, na_value=np.nan)
    outside = present & ~((numbers >= lowest) & (numbers <= highest))
    return [*found, (outside, f"is outside {lowest:g} .. {highest:g}")]
