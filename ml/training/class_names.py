"""From values as the data has them to the class names of the use case file."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np

from ml.use_case.schema import Target

_BOOLEANS = {"true": "1", "false": "0"}


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
