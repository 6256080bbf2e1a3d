"""Profiles: one pass over a window of rows, mergeable, on the bins of a reference or on bins of their own."""

from __future__ import annotations

import math
import sys
from collections import Counter

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ml.drift.statistics.shares import same_bins
from ml.errors import DataError
from ml.records.measure import Window
from ml.records.profile import CategoryProfile, ColumnProfile, NumberProfile, Profile
from ml.use_case import UseCase

#: Categories that are counted by name; the rest is ``other``.
NAMED_CATEGORIES = 30


def build_profile(
    frame: pd.DataFrame,
    use_case: UseCase,
    *,
    window: Window | None,
    edges: Profile | None = None,
    bins: int = 10,
) -> Profile:
    """Profile of a frame's feature columns.

    Parameters
    ----------
    frame
        Rows of the window; infinite numbers count as missing, as does an empty category.
    window
        Event time covered; None when there is none.
    edges
        Profile whose bins and category names are used. A feature that it lacks, or has as another type, gets
        bins of its own from the frame: the frame's quantiles or its most frequent categories; so do all for None.
    bins
        Bins of a number column when ``edges`` is None, 2 or more; columns with ties get fewer.

    Raises
    ------
    DataError
        A feature column is absent or not numeric, or there are no rows to take bins from.
    """
    if edges is None and frame.empty:
        raise DataError("no rows to take bins from", where=use_case.name, got="0 rows", allowed="at least one")
    like = edges.columns if edges is not None else {}
    columns = {
        name: _profile_column(frame, name, feature.type, like.get(name), bins)
        for name, feature in use_case.features.items()
    }
    return Profile(window=window, n=len(frame), columns=columns)


def merge_profiles(first: Profile, second: Profile) -> Profile:
    """Profile of both profiles' rows together; associative and commutative (moments up to rounding).

    Raises
    ------
    DataError
        The profiles have other columns or other bins.
    """
    if first.columns.keys() != second.columns.keys():
        raise DataError("profiles have other columns", got=f"{list(first.columns)} and {list(second.columns)}")
    columns = {name: _merge_columns(name, column, second.columns[name]) for name, column in first.columns.items()}
    return Profile(window=_hull(first.window, second.window), n=first.n + second.n, columns=columns)


def _profile_column(frame: pd.DataFrame, name: str, kind: str, like: ColumnProfile | None, bins: int) -> ColumnProfile:
    if name not in frame.columns:
        raise DataError("feature column is absent", where=name, got=", ".join(map(str, frame.columns)))
    if kind == "category":
        return _profile_categories(frame[name], like if isinstance(like, CategoryProfile) else None)
    try:
        values = frame[name].to_numpy(dtype=np.float64, na_value=np.nan)
    except (TypeError, ValueError) as error:
        raise DataError("feature column is not numeric", where=name, got=str(frame[name].dtype)) from error
    return _profile_numbers(values, like if isinstance(like, NumberProfile) else None, bins)


def _profile_numbers(values: NDArray[np.float64], like: NumberProfile | None, bins: int) -> NumberProfile:
    present = values[np.isfinite(values)]
    edges = _quantile_edges(present, bins) if like is None else np.array(like.edges)
    counts = np.bincount(np.searchsorted(edges, present, side="right"), minlength=len(edges) + 1)
    mean, m2 = _moments(present)
    return NumberProfile(
        edges=tuple(edges.tolist()),
        counts=tuple(counts.tolist()),
        missing=len(values) - len(present),
        mean=mean,
        m2=m2,
        minimum=float(present.min()) if len(present) else None,
        maximum=float(present.max()) if len(present) else None,
    )


def _quantile_edges(present: NDArray[np.float64], bins: int) -> NDArray[np.float64]:
    """Inner quantiles without repetition; a constant column gets a bin of its own, so that a rise is seen, too."""
    if not len(present):
        return np.empty(0)
    with np.errstate(over="ignore", invalid="ignore"):  # between the largest floats of both signs
        edges = np.unique(np.quantile(present, np.arange(1, bins) / bins))
    edges = edges[np.isfinite(edges)]
    if present.min() == present.max() < sys.float_info.max:
        edges = np.append(edges, np.nextafter(edges[-1], math.inf))
    return edges


def _moments(present: NDArray[np.float64]) -> tuple[float, float]:
    """Mean and sum of squared deviations; the latter stops at the largest float instead of overflowing."""
    if not len(present):
        return 0.0, 0.0
    with np.errstate(over="ignore"):
        mean = float(np.clip((present / len(present)).sum(), present.min(), present.max()))
        return mean, min(float(((present - mean) ** 2).sum()), sys.float_info.max)


def _profile_categories(values: pd.Series, like: CategoryProfile | None) -> CategoryProfile:
    present = Counter(str(value) for value in values.dropna() if value != "")
    named = like.counts.keys() if like is not None else _most_frequent(present)
    counts = {name: present[name] for name in named}
    total = present.total()
    return CategoryProfile(counts=counts, other=total - sum(counts.values()), missing=len(values) - total)


def _most_frequent(present: Counter[str]) -> list[str]:
    ranked = sorted(present, key=lambda name: (-present[name], name))  # ties by name: the same rows, the same bins
    return ranked[:NAMED_CATEGORIES]


def _merge_columns(name: str, first: ColumnProfile, second: ColumnProfile) -> ColumnProfile:
    if isinstance(first, NumberProfile) and isinstance(second, NumberProfile) and same_bins(first, second):
        return _merge_numbers(first, second)
    if isinstance(first, CategoryProfile) and isinstance(second, CategoryProfile) and same_bins(first, second):
        return _merge_categories(first, second)
    raise DataError("profiles have other bins", where=name, allowed="profiles made on the same edges")


def _merge_categories(first: CategoryProfile, second: CategoryProfile) -> CategoryProfile:
    return CategoryProfile(
        counts={value: count + second.counts[value] for value, count in first.counts.items()},
        other=first.other + second.other,
        missing=first.missing + second.missing,
    )


def _merge_numbers(first: NumberProfile, second: NumberProfile) -> NumberProfile:
    """Counts add up; moments by Chan, Golub and LeVeque (1979), eq. 2.1, in the form that cannot overflow."""
    n_first, n_second = sum(first.counts), sum(second.counts)
    total = max(n_first + n_second, 1)
    apart = second.mean - first.mean if n_first and n_second else 0.0
    m2 = first.m2 + second.m2 + apart * apart * (n_first * n_second / total)  # exact in either order
    mean = first.mean * (n_first / total) + second.mean * (n_second / total)
    minimum = min((v for v in (first.minimum, second.minimum) if v is not None), default=None)
    maximum = max((v for v in (first.maximum, second.maximum) if v is not None), default=None)
    return NumberProfile(
        edges=first.edges,
        counts=tuple(a + b for a, b in zip(first.counts, second.counts, strict=True)),
        missing=first.missing + second.missing,
        mean=mean if minimum is None or maximum is None else min(max(mean, minimum), maximum),
        m2=min(m2, sys.float_info.max),
        minimum=minimum,
        maximum=maximum,
    )


def _hull(first: Window | None, second: Window | None) -> Window | None:
    if first is None or second is None:
        return first or second
    return Window(start=min(first.start, second.start), end=max(first.end, second.end))
