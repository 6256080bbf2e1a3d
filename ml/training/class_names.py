"""From values as the data has them to what is predicted: class names of the use case file, or numbers."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ml.use_case import UseCase
from ml.use_case.columns import Target

_BOOLEANS = {"true": "1", "false": "0"}


def read_labels(values: Sequence[Any], use_case: UseCase) -> pd.Series:
    """Truth of each value: class name or None; of a regression a number, or NaN where it is none."""
    if use_case.regression:
        numbers = pd.to_numeric(pd.Series(values), errors="coerce").astype(np.float64)
        return numbers.where(np.isfinite(numbers)).reset_index(drop=True)
    return pd.Series(name_classes(values, use_case.target), dtype=object)


def is_label(labels: pd.Series, use_case: UseCase) -> NDArray[np.bool_]:
    """Which labels are a truth that the use case file allows: one of its classes, or a number within its range."""
    if not use_case.regression:
        return labels.isin(use_case.target.class_names).to_numpy()
    lowest, highest = use_case.target.range or (-np.inf, np.inf)
    numbers = labels.to_numpy(dtype=np.float64, na_value=np.nan)
    known: NDArray[np.bool_] = np.isfinite(numbers) & (numbers >= lowest) & (numbers <= highest)
    return known


def name_classes(values: Iterable[Any], target: Target) -> list[str | None]:
    """Class name of each value, None where the value is no class or is missing.

    ``target.classes`` has texts as keys; the data may hold the same as text, number or boolean: ``"1"``, ``1``,
    ``1.0`` and ``True`` are one value.

    Examples
    --------
    >>> target = Target(column="rain", classes={"0": "Rain", "1": "No Rain"})
    >>> name_classes([0, "1", 1.0, False, "2", None], target)
    ['Rain', 'No Rain', 'No Rain', 'Rain', None, None]
    """
    names = {_canonical(key): name for key, name in target.classes.items()} | target.classes
    found = list(values)
    known = {text: names.get(text, names.get(_canonical(text))) for text in {str(value) for value in found}}
    return [known[str(value)] for value in found]


def _canonical(text: str) -> str:
    text = text.strip()
    if text.lower() in _BOOLEANS:
        return _BOOLEANS[text.lower()]
    try:
        number = np.float64(text)
    except ValueError:
        return text
    return str(int(number)) if np.isfinite(number) and number == int(number) else text
