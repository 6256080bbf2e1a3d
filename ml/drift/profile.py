"""Profiles: one pass over a window of rows, mergeable, on the bins of a reference or on bins of their own."""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from functools import reduce
from typing import Any, TypeAlias

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from ml.drift.columns import Kind, Kinds, as_numbers, as_texts, column_of, frame_times
from ml.drift.context import count_contexts, label_contexts, merge_contexts
from ml.drift.counting import count_numbers
from ml.drift.oddities import RowHashes, look_at_rows, merge_oddities
from ml.errors import DataError
from ml.records.measure import Window
from ml.records.profile import CategoryProfile, ColumnProfile, NumberProfile, Profile

#: Inner bins of a number. KS and scaled Wasserstein are then within 1 / 64 of their exact value, see :mod:`ml.drift`.
BINS = 64
#: Decoding and counting let go of the interpreter's lock.
THREADS = 2
#: Categories that are counted by name; the rest is ``other``.
NAMED_CATEGORIES = 30

Table: TypeAlias = pd.DataFrame | pa.Table | pa.RecordBatch
BlockIndex = NDArray[np.int32]
#: Slices of some rows, in order, that hold the named columns.
SlicesOf: TypeAlias = Callable[[Sequence[str]], Iterable[Table]]


def build_profile(
    table: Table,
    kinds: Kinds,
    *,
    window: Window | None = None,
    edges: Profile | None = None,
    bins: int = BINS,
    context: Sequence[str] = (),
) -> Profile:
    """Profile of some columns of a table.

    Parameters
    ----------
    table
        Rows of the window, pandas or Arrow; infinite numbers count as missing, as does an empty category.
    kinds
        How each column is counted.
    window
        Event time covered; None when there is none.
    edges
        Profile whose bins and category names are used. A column that it lacks, or has as another kind, gets
        bins of its own from the table: its quantiles or its most frequent categories; so do all for None.
    bins
        Inner bins of a number column that gets bins of its own, 2 or more; columns with ties get fewer.
    context
        What makes a row's context; the calendar is read from ``event_time``.

    Raises
    ------
    DataError
        A column is absent or not numeric, or there are no rows to take bins from.
    """
    profile, _ = build_blocks(table, kinds, window=window, edges=edges, bins=bins)
    if edges is not None:  # else they are a sample that bins are taken from
        profile = profile.model_copy(update={"oddities": look_at_rows(table, kinds)})
    if not context:
        return profile
    labelled = label_contexts(
        context,
        rows=profile.n,
        kinds=kinds,
        column_of=lambda name: column_of(table, name),
        times=frame_times(table),
    )
    known = edges.contexts if edges is not None else ()
    return profile.model_copy(update={"contexts": count_contexts(labelled, known)})


def build_blocks(
    table: Table,
    kinds: Kinds,
    *,
    window: Window | None = None,
    edges: Profile | None = None,
    bins: int = BINS,
    blocks: BlockIndex | None = None,
    n_blocks: int = 1,
) -> tuple[Profile, dict[str, NDArray[np.int64]]]:
    """Profile of a table, and the counts of each column by block, of shape ``(n_blocks, n_bins)``.

    Parameters
    ----------
    blocks
        Block of each row, ``0 .. n_blocks - 1``; None puts all rows into one.
    """
    rows = _rows(table)
    if edges is None and rows == 0:
        raise DataError("no rows to take bins from", got="0 rows", allowed="at least one")
    columns: dict[str, ColumnProfile] = {}
    counts: dict[str, NDArray[np.int64]] = {}
    for name, kind in kinds.items():
        column, like = column_of(table, name), edges.columns.get(name) if edges is not None else None
        if kind == "number":
            columns[name], counts[name] = _count_number(
                as_numbers(column, name), like, bins, blocks=blocks, n_blocks=n_blocks
            )
        else:
            columns[name], counts[name] = _count_category(column, like, blocks=blocks, n_blocks=n_blocks)
    return Profile(window=window, n=rows, columns=columns), counts


def count_columns(
    slices_of: SlicesOf,
    kinds: Kinds,
    edges: Profile,
    *,
    blocks: BlockIndex | None = None,
    n_blocks: int = 1,
    hashes: RowHashes | None = None,
) -> dict[str, tuple[ColumnProfile, NDArray[np.int64]]]:
    """Profile and counts by block of every column, columns side by side on two threads.

    Parameters
    ----------
    slices_of
        Slices of the rows, in order, that hold the named columns; called from several threads.
    hashes
        Of the rows, to which each column is added in passing.
    """

    def count(name: str) -> tuple[ColumnProfile, NDArray[np.int64]]:
        slices = slices_of([name]) if hashes is None else hashes.passing(slices_of([name]), name, kinds[name])
        return _count_slices(slices, name, kinds[name], edges, blocks=blocks, n_blocks=n_blocks)

    with ThreadPoolExecutor(THREADS) as pool:
        return dict(zip(kinds, pool.map(count, kinds), strict=True))


def build_pieces(
    frame: pd.DataFrame,
    kinds: Kinds,
    *,
    window: Window,
    block: timedelta,
    edges: Profile,
    context: Sequence[str] = (),
) -> tuple[Profile, ...]:
    """Profiles of a window's pieces, so that any window of whole pieces is a merge of them.

    Parameters
    ----------
    frame
        Rows with ``event_time``; those outside the window are left out.
    block
        Length of a piece.
    context
        What makes a row's context, as in :func:`build_profile`.
    """
    times = frame["event_time"]
    return tuple(
        build_profile(
            frame[(times >= piece.start) & (times < piece.end)], kinds, window=piece, edges=edges, context=context
        )
        for piece in window.pieces(block)
    )


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
    return Profile(
        window=_hull(first.window, second.window),
        n=first.n + second.n,
        columns=columns,
        contexts=merge_contexts(first.contexts, second.contexts),
        oddities=merge_oddities(first.oddities, second.oddities),
    )


def merge_all(profiles: Iterable[Profile]) -> Profile:
    """Profile of all profiles' rows together.

    Raises
    ------
    DataError
        There is none, or they have other columns or bins.
    """
    found = tuple(profiles)
    if not found:
        raise DataError("there is no profile to merge", got="0 profiles", allowed="at least one")
    return reduce(merge_profiles, found)


def same_bins(first: ColumnProfile, second: ColumnProfile) -> bool:
    """Whether two columns were counted on the same bins."""
    if isinstance(first, NumberProfile) and isinstance(second, NumberProfile):
        return first.edges == second.edges
    if isinstance(first, CategoryProfile) and isinstance(second, CategoryProfile):
        return first.counts.keys() == second.counts.keys()
    return False


def counts_of(column: ColumnProfile) -> NDArray[np.float64]:
    """Counts of a column as a row of :class:`ml.records.profile.BlockCounts`: bins, (the rest,) missing."""
    if isinstance(column, NumberProfile):
        return np.array([*column.counts, column.missing], dtype=np.float64)
    # By name, since two profiles may have met their categories in another order.
    return np.array([*(column.counts[name] for name in sorted(column.counts)), column.other, column.missing], float)


def kind_of(column: ColumnProfile) -> Kind:
    """How a column was counted."""
    return "number" if isinstance(column, NumberProfile) else "category"


def kinds_in(profile: Profile) -> dict[str, Kind]:
    """How each column of a profile was counted."""
    return {name: kind_of(column) for name, column in profile.columns.items()}


def quantile_edges(values: NDArray[np.float64], bins: int = BINS) -> NDArray[np.float64]:
    """Lowest value, inner quantiles, and a last edge just above the highest value; ties leave fewer edges."""
    present = values[np.isfinite(values)]
    if not len(present):
        return np.empty(0)
    with np.errstate(over="ignore", invalid="ignore"):  # between the largest floats of both signs
        inner = np.quantile(present, np.arange(1, bins) / bins)
    beyond = np.nextafter(present.max(), math.inf) if present.max() < sys.float_info.max else present.max()
    edges: NDArray[np.float64] = np.unique(np.concatenate([[present.min()], inner, [beyond]]))
    return edges[np.isfinite(edges)]


def _count_slices(
    slices: Iterable[Table],
    name: str,
    kind: Kind,
    edges: Profile,
    *,
    blocks: BlockIndex | None,
    n_blocks: int,
) -> tuple[ColumnProfile, NDArray[np.int64]]:
    """Profile and counts of one column, a slice in memory at a time."""
    whole: ColumnProfile | None = None
    total, done = np.zeros(0, dtype=np.int64), 0
    for part in slices:
        where = None if blocks is None else blocks[done : done + _rows(part)]
        profile, counts = build_blocks(part, {name: kind}, edges=edges, blocks=where, n_blocks=n_blocks)
        found = profile.columns[name]
        whole = found if whole is None else _merge_columns(name, whole, found)
        total = counts[name] if not total.size else total + counts[name]
        done += _rows(part)
    if whole is None:
        raise DataError("column has no rows", where=name, got="0 rows", allowed="at least one")
    return whole, total


def _rows(table: Table) -> int:
    return len(table) if isinstance(table, pd.DataFrame) else int(table.num_rows)


def _count_number(
    values: NDArray[np.float64], like: ColumnProfile | None, bins: int, *, blocks: BlockIndex | None, n_blocks: int
) -> tuple[NumberProfile, NDArray[np.int64]]:
    edges = np.array(like.edges) if isinstance(like, NumberProfile) else quantile_edges(values, bins)
    counted = count_numbers(values, edges, blocks, n_blocks)
    total = counted.counts.sum(axis=0)
    profile = NumberProfile(
        edges=tuple(edges.tolist()),
        counts=tuple(total[:-1].tolist()),
        missing=int(total[-1]),
        infinite=int(np.isinf(values).sum()) if total[-1] else 0,
        mean=counted.mean,
        m2=counted.m2,
        minimum=counted.minimum,
        maximum=counted.maximum,
    )
    return profile, counted.counts


def _count_category(
    column: Any, like: ColumnProfile | None, *, blocks: BlockIndex | None, n_blocks: int
) -> tuple[CategoryProfile, NDArray[np.int64]]:
    named = sorted(like.counts) if isinstance(like, CategoryProfile) else sorted(_most_frequent(as_texts(column)))
    where = _category_codes(column, named)
    width = len(named) + 2
    if blocks is not None:
        where += blocks.astype(np.int64) * width
    counts = np.bincount(where, minlength=n_blocks * width).reshape(n_blocks, width)
    total = counts.sum(axis=0).tolist()
    named_counts = dict(zip(named, total[:-2], strict=True))
    return CategoryProfile(counts=named_counts, other=total[-2], missing=total[-1]), counts


def _category_codes(column: Any, named: list[str]) -> NDArray[np.int64]:
    """Place of each value among the names; beyond them the rest, then missing."""
    if isinstance(column, pa.DictionaryArray):  # each word is looked up once
        of_words = np.append(_category_codes(column.dictionary, named), len(named) + 1)
        return of_words[np.asarray(column.indices.fill_null(len(column.dictionary)))]
    texts = as_texts(column)
    codes = pc.fill_null(pc.index_in(texts, value_set=pa.array(named, pa.string()), skip_nulls=True), len(named))
    return np.where(np.asarray(texts.is_null()), len(named) + 1, np.asarray(codes)).astype(np.int64)


def _most_frequent(texts: pa.Array) -> list[str]:
    entries = pc.value_counts(texts.drop_null()).to_pylist()
    ranked = sorted(entries, key=lambda entry: (-entry["counts"], entry["values"]))  # ties by name: the same bins
    return [entry["values"] for entry in ranked[:NAMED_CATEGORIES]]


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
        infinite=first.infinite + second.infinite,
        mean=mean if minimum is None or maximum is None else min(max(mean, minimum), maximum),
        m2=min(m2, sys.float_info.max),
        minimum=minimum,
        maximum=maximum,
    )


def _hull(first: Window | None, second: Window | None) -> Window | None:
    if first is None or second is None:
        return first or second
    return Window(start=min(first.start, second.start), end=max(first.end, second.end))
