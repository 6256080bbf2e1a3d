"""Profiles of files: a reference or live rows, in one pass and bounded memory."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from itertools import islice

import numpy as np
import pandas as pd
import pyarrow as pa

from ml.drift.columns import Kinds, Times
from ml.drift.context import count_contexts, label_contexts
from ml.drift.files import Advance, DataFiles, RowGroup
from ml.drift.oddities import OddityCount, RowHashes, add_columns
from ml.drift.profile import build_profile, count_columns, merge_profiles
from ml.drift.projection import append_errors
from ml.drift.reference_builder import ReferenceBuilder
from ml.errors import DataError
from ml.records.measure import Window
from ml.records.profile import Profile, ReferenceProfile

_BLOCKS = 200  # a file is cut into about so many blocks when nothing else says how
_STEPS = tuple(
    timedelta(**{unit: n})
    for unit, n in (
        ("minutes", 1), ("minutes", 10), ("hours", 1), ("hours", 6), ("days", 1), ("days", 7), ("days", 28)
    )
)  # fmt: skip


def profile_files(
    files: DataFiles,
    *,
    edges: Profile | None = None,
    block: timedelta | None = None,
    window: timedelta | None = None,
    context: Sequence[str] = (),
    now: datetime | None = None,
    advance: Advance = lambda rows: None,
) -> ReferenceProfile:
    """Reference profile of files: bins from a sample, then one pass.

    Parameters
    ----------
    edges
        Profile whose bins are used; None takes them from the files.
    block
        Length of a block of event time; None chooses one that gives about 200 blocks.
    window
        Length of live windows to come; blocks that must be joined divide it.
    context
        What makes a row's context, :func:`ml.drift.context.label_contexts`.
    now
        Moment of the check; later event times are counted as future.
    advance
        Told how many rows were read.

    Raises
    ------
    DataError
        The files cannot be read or hold no rows.
    """
    if edges is None:
        sample = files.sample()
        if not sample.num_rows:
            raise DataError("data file has no rows", where=str(files.paths[0]), got="0 rows", allowed="at least one")
        edges = build_profile(sample, files.kinds)
        del sample  # a hundred thousand rows
        pa.default_memory_pool().release_unused()
    builder: ReferenceBuilder | None = None
    for group in files.groups():
        if builder is None:
            length = (block or _choose_block(files)) if group.times is not None else None
            run = max((files.rows or 0) // _BLOCKS, 1)
            builder = ReferenceBuilder(files.kinds, edges, block=length, run=run, context=context, now=now)
        builder.add_columns(group.slices_of, rows=group.rows, times=group.times)
        pa.default_memory_pool().release_unused()  # or the pool keeps pieces of every group
        advance(group.rows)
    if builder is None:
        raise DataError("data file has no rows", where=str(files.paths[0]), got="0 rows", allowed="at least one")
    _hash_after_all(files, builder.oddities)
    return builder.build(window=window).model_copy(update={"projection": files.projection})


def profile_live(
    files: DataFiles,
    edges: Profile,
    *,
    context: Sequence[str] = (),
    now: datetime | None = None,
    advance: Advance = lambda rows: None,
) -> Profile:
    """Profile of files on given bins, in one pass; its window is that of the time column, if there is one.

    Raises
    ------
    DataError
        The files cannot be read.
    """
    whole: Profile | None = None
    oddities = OddityCount(now=now)
    for group in files.groups():
        hashes = oddities.begin(group.rows, group.times)
        columns = count_columns(group.slices_of, files.kinds, edges, hashes=hashes)
        oddities.end(hashes)
        hashes = None
        found = Profile(
            window=_span(group.times),
            n=group.rows,
            columns={n: part for n, (part, _) in columns.items()},
            contexts=_contexts(group, files.kinds, edges, context),
        )
        whole = found if whole is None else merge_profiles(whole, found)
        pa.default_memory_pool().release_unused()  # or the pool keeps pieces of every group
        advance(group.rows)
    if whole is None:
        empty = files.schema.empty_table().select(list(files.stored))
        empty = empty if files.projection is None else append_errors(empty, [files.projection], np.empty(0, int))
        return build_profile(empty, files.kinds, edges=edges)
    _hash_after_all(files, oddities)
    return whole.model_copy(update={"oddities": oddities.result()})


def _hash_after_all(files: DataFiles, oddities: OddityCount) -> None:
    """Hash the first groups, whose event times ascended, when those of a later one did not: it may repeat them."""
    for group in islice(files.groups(), oddities.unhashed):
        hashes = RowHashes(group.rows, group.times)
        add_columns(hashes, group.slices_of, files.kinds)
        oddities.end(hashes)


def _contexts(group: RowGroup, kinds: Kinds, edges: Profile, context: Sequence[str]) -> dict[str, int]:
    if not context:
        return {}
    labelled = label_contexts(
        context,
        rows=group.rows,
        kinds=kinds,
        column_of=group.column,
        times=group.times,
    )
    return count_contexts(labelled, edges.contexts)


def _span(times: Times | None) -> Window | None:
    if times is None or not len(times):
        return None
    first, last = pd.Timestamp(times.min(), tz="UTC"), pd.Timestamp(times.max(), tz="UTC")
    return Window(start=first.to_pydatetime(), end=(last.ceil("us") + timedelta(microseconds=1)).to_pydatetime())


def _choose_block(files: DataFiles) -> timedelta:
    """Step of the calendar that cuts the files into about 200 blocks."""
    spans = [
        (group.times.min(), group.times.max()) for group in files.groups() if group.times is not None and group.rows
    ]
    oldest, newest = min(first for first, _ in spans), max(last for _, last in spans)
    span = pd.Timedelta(newest - oldest).to_pytimedelta()
    return next((step for step in _STEPS if span / step <= _BLOCKS * 2), timedelta(days=28))
