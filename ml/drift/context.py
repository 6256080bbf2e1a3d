"""Contexts: the hour, the weekday, the month or the category that a row's values depend on without any drift."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
import pyarrow.compute as pc
from numpy.typing import NDArray

from ml.drift.columns import Kinds, Times, as_numbers, as_texts
from ml.errors import DataError

#: A reference is cut into at most so many contexts; each more leaves fewer windows to each.
MAXIMUM_CONTEXTS = 64
#: Where live rows of contexts that the reference has not seen are counted when they are too many to name.
OTHER = "(other)"
_DAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
_MISSING = "missing"

Codes = NDArray[np.int64]
Labelled = tuple[Codes, list[str]]


def label_contexts(
    context: Sequence[str], *, rows: int, kinds: Kinds, column_of: Callable[[str], Any], times: Times | None
) -> Labelled:
    """Context of each row, as a number of shape ``(n_samples,)`` and the contexts' names.

    Parameters
    ----------
    context
        ``hour_of_day``, ``day_of_week`` and ``month`` are read from the event time, UTC; any other name is a column
        of ``kinds``, as is a column that has one of these names. A missing value is a context of its own.
    column_of
        Values of the named column.
    times
        Event times, UTC; None where rows have none.

    Raises
    ------
    DataError
        There is no such column, or no event time to read the calendar from.

    Examples
    --------
    >>> times = np.array(["2024-07-01T13:00", "2024-08-01T13:30"], dtype="datetime64[us]")
    >>> codes, names = label_contexts(["month", "hour_of_day"], rows=2, kinds={}, column_of=dict, times=times)
    >>> [names[code] for code in codes]
    ['month 7, hour 13', 'month 8, hour 13']
    """
    codes, names = np.zeros(rows, dtype=np.int64), [""]
    for one in context:
        part, values = _label_column(one, kinds, column_of) if one in kinds else _label_times(one, kinds, times)
        found, codes = np.unique(codes * max(len(values), 1) + part, return_inverse=True)
        pairs = [divmod(int(pair), len(values)) for pair in found]
        names = [f"{names[first]}, {values[second]}".removeprefix(", ") for first, second in pairs]
    return codes, names


def count_contexts(labelled: Labelled, known: Iterable[str] = ()) -> dict[str, int]:
    """Rows of each context; of those that are not known, only the most frequent are named, the rest is ``(other)``."""
    codes, names = labelled
    counts = np.bincount(codes, minlength=len(names)).tolist()
    familiar = set(known)
    found = {name: count for name, count in zip(names, counts, strict=True) if name in familiar and count}
    strange = sorted((-count, name) for name, count in zip(names, counts, strict=True) if name not in familiar)
    found |= {name: -count for count, name in strange[:MAXIMUM_CONTEXTS] if count}
    other = -sum(count for count, _ in strange[MAXIMUM_CONTEXTS:])
    return found | ({OTHER: other} if other else {})


def merge_contexts(first: Mapping[str, int], second: Mapping[str, int]) -> dict[str, int]:
    """Rows of each context of both sides together; associative and commutative."""
    return {name: first.get(name, 0) + second.get(name, 0) for name in sorted({*first, *second})}


def name_contexts(names: Sequence[str], limit: int = 4) -> str:
    """Contexts in a sentence."""
    more = f" and {len(names) - limit} more" if len(names) > limit else ""
    return "; ".join(names[:limit]) + more


def _label_column(name: str, kinds: Kinds, column_of: Callable[[str], Any]) -> Labelled:
    if kinds[name] == "number":
        values, codes = np.unique(as_numbers(column_of(name), name), return_inverse=True)  # NaN counts as one value
        return codes, [f"{name} {_MISSING if np.isnan(value) else f'{value:g}'}" for value in values]
    entries = pc.dictionary_encode(as_texts(column_of(name)))
    texts = entries.dictionary.to_pylist()
    codes = np.asarray(pc.fill_null(entries.indices, len(texts)), dtype=np.int64)
    return codes, [f"{name} {text}" for text in (*texts, _MISSING)]


def _label_times(name: str, kinds: Kinds, times: Times | None) -> Labelled:
    if name not in {"hour_of_day", "day_of_week", "month"}:
        raise DataError("context is no column", where=name, got=", ".join(kinds), allowed="a column or the calendar")
    if times is None:
        raise DataError("context needs event times", where=name, got="rows without time", allowed="a time column")
    if np.isnat(times).any():
        raise DataError("time is missing", where=name, got=f"{int(np.isnat(times).sum())} rows")
    index = pd.DatetimeIndex(times)
    if name == "hour_of_day":
        return index.hour.to_numpy(np.int64), [f"hour {hour}" for hour in range(24)]
    if name == "day_of_week":
        return index.day_of_week.to_numpy(np.int64), list(_DAYS)
    return index.month.to_numpy(np.int64) - 1, [f"month {month}" for month in range(1, 13)]
