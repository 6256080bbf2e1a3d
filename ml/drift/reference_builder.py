"""Builds a reference profile from tables, one pass over the rows, which are counted by block of time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
from numpy.typing import NDArray

from ml.drift.columns import Kinds, Times, column_of
from ml.drift.context import MAXIMUM_CONTEXTS, label_contexts, name_contexts
from ml.drift.oddities import OddityCount
from ml.drift.profile import SlicesOf, Table, count_columns, merge_profiles
from ml.errors import DataError
from ml.records.measure import Window
from ml.records.profile import BlockContexts, BlockCounts, Profile, ReferenceProfile

#: More blocks than this tell nothing more and cost storage: they are joined, or the oldest are left out.
MAXIMUM_BLOCKS = 400
#: The same where blocks are cut by context, since a context has few of them: blocks, and parts of blocks.
MAXIMUM_CONTEXT_BLOCKS, MAXIMUM_PARTS = 2000, 10_000
_MICROSECOND = timedelta(microseconds=1)


@dataclass(frozen=True)
class _Counted:
    """Rows of one table: position and context of each part, its rows, and its counts by column and bin."""

    positions: NDArray[np.int64]
    contexts: NDArray[np.int64]
    rows: NDArray[np.int64]
    counts: dict[str, NDArray[np.int64]]


class ReferenceBuilder:
    """Takes the rows of a reference in any number of tables, in one pass.

    Parameters
    ----------
    edges
        Profile of a sample of the rows, whose bins are used.
    block
        Length of a block of event time; None counts runs of ``run`` rows instead.
    context
        What makes a row's context, :func:`ml.drift.context.label_contexts`; blocks are then cut by context.
    now
        Later event times are in the future; None does not ask.
    """

    def __init__(
        self,
        kinds: Kinds,
        edges: Profile,
        *,
        block: timedelta | None,
        run: int = 1,
        context: Sequence[str] = (),
        now: datetime | None = None,
    ) -> None:
        self._kinds, self._edges = kinds, edges
        self._block, self._run = block, run
        self._context = tuple(context)
        self.oddities = OddityCount(now=now)
        self._names: list[str] = [] if context else [""]
        self._whole: Profile | None = None
        self._parts: list[_Counted] = []
        self._rows = 0

    def add(self, table: Table, times: Times | None = None) -> None:
        """Count a table's rows; ``times`` are their event times, UTC, where blocks are of time.

        Raises
        ------
        DataError
            A column is absent or not numeric, or a row has no event time.
        """
        rows = len(table) if isinstance(table, pd.DataFrame) else table.num_rows
        self.add_columns(lambda names: (table,), rows=rows, times=times)

    def add_columns(self, slices_of: SlicesOf, *, rows: int, times: Times | None = None) -> None:
        """The same for rows whose columns are had one by one, in slices."""
        positions = self._positions(rows, times)
        if not len(positions):
            return
        codes = self._codes(slices_of, rows, times)
        found_at, cells = pd.factorize(positions * MAXIMUM_CONTEXTS + codes, sort=True)
        where = found_at.astype(np.int32)
        del positions, found_at  # eight bytes a row each, while columns are counted
        hashes = self.oddities.begin(rows, times)
        found = count_columns(slices_of, self._kinds, self._edges, blocks=where, n_blocks=len(cells), hashes=hashes)
        self.oddities.end(hashes)
        columns = {name: column for name, (column, _) in found.items()}
        held = np.bincount(codes, minlength=len(self._names)).tolist() if self._context else []
        profile = Profile(
            window=None if times is None else _hull(times),
            n=rows,
            columns=columns,
            contexts={name: n for name, n in zip(self._names, held, strict=False) if n},
        )
        self._whole = profile if self._whole is None else merge_profiles(self._whole, profile)
        counts = {name: table for name, (_, table) in found.items()}
        size = np.bincount(where, minlength=len(cells))
        self._parts.append(_Counted(cells // MAXIMUM_CONTEXTS, cells % MAXIMUM_CONTEXTS, size, counts))

    def build(
        self, *, use_case: str | None = None, window: timedelta | None = None, fingerprint: str = ""
    ) -> ReferenceProfile:
        """Reference profile of all rows that were added.

        Parameters
        ----------
        window
            Length of the live windows to come; joined blocks divide it.

        Raises
        ------
        DataError
            There were no rows.
        """
        if self._whole is None:
            raise DataError("reference needs rows", where=use_case or "reference", got="0 rows")
        positions = np.concatenate([part.positions for part in self._parts])
        contexts = self._sorted_contexts()
        factor = self._factor(positions, contexts, window)
        joined, block = np.unique(positions // factor, return_inverse=True)
        dropped = max(len(joined) - self._limit(), 0)
        joined, block = joined[dropped:], block - dropped
        kept = block >= 0
        cells, where = np.unique(block[kept] * MAXIMUM_CONTEXTS + contexts[kept], return_inverse=True)
        rows = np.zeros((len(joined), len(self._names)), dtype=np.int64)
        sizes = np.concatenate([part.rows for part in self._parts])
        np.add.at(rows, (block[kept], contexts[kept]), sizes[kept])
        seconds = None if self._block is None else self._block.total_seconds() * int(factor)
        return ReferenceProfile(
            use_case=use_case,
            whole=self._whole.model_copy(update={"oddities": self.oddities.result()}),
            block=seconds,
            first=None if seconds is None else _moment(int(joined[0]) * int(factor) * self._ticks()),
            positions=tuple((joined - joined[0]).tolist()),
            rows=tuple(rows.sum(axis=1).tolist()),
            counts={name: BlockCounts.pack(self._joined(name, kept, where, len(cells))) for name in self._kinds},
            contexts=self._block_contexts(rows),
            fingerprint=fingerprint,
        )

    def _joined(self, name: str, kept: NDArray[np.bool_], where: NDArray[np.int64], parts: int) -> NDArray[np.int64]:
        """Counts of a column by part and bin."""
        counts = np.concatenate([part.counts[name] for part in self._parts])
        found = np.zeros((parts, counts.shape[1]), dtype=np.int64)
        np.add.at(found, where, counts[kept])
        return found

    def _block_contexts(self, rows: NDArray[np.int64]) -> BlockContexts | None:
        if not self._context:
            return None
        return BlockContexts(by=self._context, names=tuple(sorted(self._names)), rows=BlockCounts.pack(rows))

    def _codes(self, slices_of: SlicesOf, rows: int, times: Times | None) -> NDArray[np.int64]:
        """Context of each row among all that were met so far."""
        if not self._context:
            return np.zeros(rows, dtype=np.int64)
        codes, names = label_contexts(
            self._context,
            rows=rows,
            kinds=self._kinds,
            column_of=lambda name: _whole_column(slices_of, name),
            times=times,
        )
        new = [names[code] for code in np.unique(codes) if names[code] not in self._names]
        if len(self._names) + len(new) > MAXIMUM_CONTEXTS:
            raise DataError(
                "too many contexts",
                where=", ".join(self._context),
                got=f"{len(self._names) + len(new)} or more, such as {name_contexts(new)}",
                allowed=f"at most {MAXIMUM_CONTEXTS}",
            )
        self._names += new
        at = {name: i for i, name in enumerate(self._names)}
        return np.array([at.get(name, 0) for name in names], dtype=np.int64)[codes]

    def _sorted_contexts(self) -> NDArray[np.int64]:
        """Context of each part among their sorted names, so that the order of the rows does not matter."""
        rank = np.argsort(np.argsort(np.array(self._names)))
        return rank[np.concatenate([part.contexts for part in self._parts])]

    def _limit(self) -> int:
        return MAXIMUM_CONTEXT_BLOCKS if self._context else MAXIMUM_BLOCKS

    def _ticks(self) -> int:
        return 1 if self._block is None else self._block // _MICROSECOND

    def _positions(self, rows: int, times: Times | None) -> NDArray[np.int64]:
        if self._block is None:
            found = (self._rows + np.arange(rows)) // self._run
        else:
            if times is None or np.isnat(times).any():
                raise DataError("reference needs rows, each with an event time", got=f"{rows} rows")
            found = times.astype("datetime64[us]").astype(np.int64) // self._ticks()
        self._rows += rows
        return found

    def _factor(self, positions: NDArray[np.int64], contexts: NDArray[np.int64], window: timedelta | None) -> int:
        """How many blocks are joined into one, so that there are few enough; a divisor of the window's where known."""

        def few(factor: int) -> bool:
            joined = positions // factor
            parts = np.unique(joined * MAXIMUM_CONTEXTS + contexts)
            return len(np.unique(joined)) <= self._limit() and (not self._context or len(parts) <= MAXIMUM_PARTS)

        if few(1):
            return 1
        if self._block is None or window is None:
            blocks = len(np.unique(positions))
            parts = len(np.unique(positions * MAXIMUM_CONTEXTS + contexts)) if self._context else 0
            return max(-(-blocks // self._limit()), -(-parts // MAXIMUM_PARTS))
        per_window = max(window // self._block, 1)
        divisors = [f for f in range(1, per_window + 1) if per_window % f == 0]
        return next((f for f in divisors if few(f)), divisors[-1])


def _whole_column(slices_of: SlicesOf, name: str) -> Any:
    parts = [column_of(part, name) for part in slices_of([name])]
    return parts[0] if len(parts) == 1 else pa.chunked_array(parts)


def _hull(times: Times) -> Window:
    """Window of all rows; it ends one usual spacing after the newest, so that a full window of hourly rows is whole."""
    distinct = np.unique(times.astype("datetime64[us]").astype(np.int64))
    spacing = int(np.median(np.diff(distinct))) if len(distinct) > 1 else 1
    return Window(start=_moment(int(distinct[0])), end=_moment(int(distinct[-1]) + max(spacing, 1)))


def _moment(ticks: int) -> datetime:
    # Times are microseconds in the lake; a finer spacing must still move the end past the newest row.
    return pd.Timestamp(ticks, unit="us", tz="UTC").to_pydatetime()
