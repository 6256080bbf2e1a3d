"""From a feature frame to what a model sees: float32 numbers and texts, missing values told apart."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ml.errors import DataError


def feature_table(frame: pd.DataFrame, numbers: Sequence[str], categories: Sequence[str]) -> pd.DataFrame:
    """Columns in the order of the graph's inputs, as the graph will see them.

    Training sees the very same: numbers are rounded to float32 before a model is fitted, so that no split of a tree
    lies between a number and its rounding.

    Parameters
    ----------
    frame
        Has the feature columns: numbers with NaN for missing, categories with None.

    Returns
    -------
    pandas.DataFrame
        float32 with NaN for missing, and text with ``""`` for missing; other columns are left out.

    Raises
    ------
    DataError
        A column is absent or not numeric.
    """
    lacking = [name for name in (*numbers, *categories) if name not in frame.columns]
    if lacking:
        raise DataError("feature column is absent", where=", ".join(lacking), got=", ".join(map(str, frame.columns)))
    columns: dict[str, Any] = {name: _as_float32(frame[name], name) for name in numbers}
    for name in categories:
        present = frame[name].astype(object)
        columns[name] = present.where(present.notna(), "").to_numpy(dtype=object)
    return pd.DataFrame(columns, index=frame.index)


def graph_inputs(table: pd.DataFrame, numbers: Sequence[str], categories: Sequence[str]) -> dict[str, NDArray[Any]]:
    """Inputs of the graph by name; an input without columns is absent."""
    inputs: dict[str, NDArray[Any]] = {}
    if numbers:
        inputs["numbers"] = table[list(numbers)].to_numpy(dtype=np.float32)
    if categories:
        inputs["categories"] = table[list(categories)].to_numpy(dtype=object)
    return inputs


def _as_float32(values: pd.Series, name: str) -> NDArray[np.float32]:
    try:
        wide = values.to_numpy(dtype=np.float64, na_value=np.nan)
    except (TypeError, ValueError) as error:
        raise DataError("feature column is not numeric", where=name, got=str(values.dtype)) from error
    with np.errstate(over="ignore"):  # beyond float32 is infinite, to the graph as well
        return wide.astype(np.float32)
