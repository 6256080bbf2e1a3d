"""What is odd about rows as rows: exact copies, event times that go back, event times in the future.

Copies are found by a 64-bit hash of each row, its event time and every counted column. So that memory stays bounded,
only the smallest hashes are kept: the rows of a kept hash are all there, and the hashes are as good as random, so the
kept rows are a fair sample of the distinct ones (Bar-Yossef et al. 2002, Counting distinct elements in a data stream,
section 2). Where event times only ascend no two rows can be equal, and nothing is hashed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import datetime, timedelta
from threading import Lock
from typing import Any, TypeAlias

import numpy as np
import pandas as pd
import pyarrow as pa
from numpy.typing import NDArray

from ml.drift.columns import Kind, Kinds, Times, as_numbers, as_texts, column_of, frame_times
from ml.records.profile import Oddities

Hashes = NDArray[np.uint64]
Table: TypeAlias = pd.DataFrame | pa.Table | pa.RecordBatch

#: Distinct rows up to which copies are counted exactly; beyond, the count is an estimate from so many (within 0.4 %).
KEPT_HASHES = 1 << 16
#: Clocks of two machines may differ by so much.
CLOCK_SLACK = timedelta(minutes=1)
_FIRST, _SECOND = np.uint64(0x9E3779B97F4A7C15), np.uint64(0xD6E8FEB86659FD93)
_SHIFT = np.uint64(32)
_PIECE = 1 << 14  # words that are stirred at once, within a processor's cache
_ALL = np.uint64(2**64 - 1)


class RowHashes:
    """Hashes of some rows, to which their columns are added in any order, from several threads."""

    def __init__(self, rows: int, times: Times | None = None) -> None:
        self.values: Hashes = np.zeros(rows, dtype=np.uint64)
        if times is not None:
            _stir(times.astype("datetime64[us]").view(np.uint64), "event time", self.values)
        self._lock = Lock()

    def passing(self, slices: Iterable[Table], name: str, kind: Kind) -> Iterator[Table]:
        """The slices of a column as they are, added in passing."""
        done = 0
        for part in slices:
            words = _words(column_of(part, name), name, kind)
            with self._lock:
                _stir(words, name, self.values[done : done + len(words)])
            done += len(words)
            yield part


class OddityCount:
    """Takes the rows of a window group by group, in their order, and counts what is odd.

    Parameters
    ----------
    now
        Moment of the check, UTC; later event times are in the future. None does not ask.
    """

    def __init__(self, *, now: datetime | None = None) -> None:
        self._now = None if now is None else np.datetime64((now + CLOCK_SLACK).replace(tzinfo=None), "us")
        self._rows, self._latest = 0, np.datetime64("NaT")
        self._backwards = self._future = 0
        self._furthest = 0.0
        self._hashes, self._counts = np.empty(0, np.uint64), np.empty(0, np.int64)
        self._below = _ALL
        self._ascending, self._without = True, 0

    def begin(self, rows: int, times: Times | None) -> RowHashes | None:
        """Take the event times of the next group; hashes to be filled with its columns, or None while none are needed.

        None are needed while each event time is later than the one before.
        """
        self._rows += rows
        ascends = self._ascending and times is not None and _ascends(times, self._latest)
        if times is not None and rows:
            self._add_times(times.astype("datetime64[us]"), ascends=ascends)
        self._ascending = ascends
        self._without += ascends
        return None if ascends else RowHashes(rows, times)

    @property
    def unhashed(self) -> int:
        """How many of the first groups must be hashed after all, since a later one did not ascend."""
        return 0 if self._ascending else self._without

    def end(self, hashes: RowHashes | None) -> None:
        """Count a group's rows by their hashes."""
        if hashes is not None:
            self._add_hashes(hashes.values)

    def result(self) -> Oddities:
        """All groups together."""
        kept = int(self._counts.sum())
        share = 1 - len(self._hashes) / kept if kept else 0.0
        exact = kept - len(self._hashes) if self._below == _ALL else round(share * self._rows)
        return Oddities(repeated=exact, backwards=self._backwards, furthest_back=self._furthest, future=self._future)

    def _add_times(self, times: Times, *, ascends: bool) -> None:
        if not ascends:
            before = times[:1] if np.isnat(self._latest) else np.array([self._latest])
            steps = np.diff(np.concatenate([before, times])).astype(np.int64)
            self._backwards += int((steps < 0).sum())
            self._furthest = max(self._furthest, -float(steps.min()) / 1e6)
        self._latest = times[-1]
        if self._now is not None:
            self._future += int((times > self._now).sum())

    def _add_hashes(self, hashes: Hashes) -> None:
        for begin in range(0, len(hashes), KEPT_HASHES):  # in pieces, for which little memory is needed
            self._add_some(hashes[begin : begin + KEPT_HASHES])

    def _add_some(self, hashes: Hashes) -> None:
        found, counts = np.unique(hashes[hashes <= self._below], return_counts=True)
        whole = np.concatenate([self._hashes, found])
        self._hashes, where = np.unique(whole, return_inverse=True)
        self._counts = np.bincount(where, np.concatenate([self._counts, counts]), len(self._hashes)).astype(np.int64)
        if len(self._hashes) > KEPT_HASHES:
            self._below = self._hashes[KEPT_HASHES - 1]
            self._hashes, self._counts = self._hashes[:KEPT_HASHES], self._counts[:KEPT_HASHES]


def look_at_rows(table: Table, kinds: Kinds) -> Oddities:
    """Oddities of rows in memory; where they have ``event_time`` and ``received_at``, one after the other is future."""
    found = OddityCount()
    hashes = found.begin(len(table) if isinstance(table, pd.DataFrame) else table.num_rows, frame_times(table))
    if hashes is not None:
        add_columns(hashes, lambda names: (table,), kinds)
    found.end(hashes)
    # Rows in memory come from the lake, which has sorted them: their order is not that of any clock.
    none = {"backwards": 0, "furthest_back": 0.0}
    return found.result().model_copy(update={"future": _received_before(table), **none})


def add_columns(hashes: RowHashes, slices_of: Callable[[Sequence[str]], Iterable[Table]], kinds: Kinds) -> None:
    """Add every column to the hashes."""
    for name, kind in kinds.items():
        for _ in hashes.passing(slices_of([name]), name, kind):
            pass


def merge_oddities(first: Oddities | None, second: Oddities | None) -> Oddities | None:
    """Of two parts of a window that share no event time; None where nobody looked at one of them."""
    if first is None or second is None:
        return None
    return Oddities(
        repeated=first.repeated + second.repeated,
        backwards=first.backwards + second.backwards,
        furthest_back=max(first.furthest_back, second.furthest_back),
        future=first.future + second.future,
    )


def _ascends(times: Times, latest: np.datetime64) -> bool:
    if not len(times):
        return True
    return bool((np.isnat(latest) or times[0] > latest) and (times[1:] > times[:-1]).all())


def _received_before(table: Table) -> int:
    if not isinstance(table, pd.DataFrame) or not {"event_time", "received_at"} <= set(table.columns):
        return 0
    return int((table["event_time"] > table["received_at"] + CLOCK_SLACK).sum())


def _words(column: Any, name: str, kind: Kind) -> Hashes | NDArray[np.float64]:
    """64 bits of each value."""
    if kind == "number":
        return as_numbers(column, name)
    if isinstance(column, pa.ChunkedArray):
        column = column.combine_chunks()
    if not isinstance(column, pa.DictionaryArray):
        column = as_texts(column).dictionary_encode()
    words = as_texts(column.dictionary).fill_null("").to_pylist()
    return _of_texts([*words, ""])[np.asarray(column.indices.fill_null(len(words)))]


def _of_texts(words: list[str]) -> Hashes:
    return pd.util.hash_array(np.array(words, dtype=object), categorize=False)


def _stir(words: Hashes | NDArray[np.float64], name: str, into: Hashes) -> None:
    """Add words to sums, so stirred, for each column in a way of its own, that sums over columns do not collide."""
    salt = _of_texts([name])
    for begin in range(0, len(words), _PIECE):
        piece = words[begin : begin + _PIECE]
        # Minus zero is zero.
        mixed = (piece + 0.0 if piece.dtype == np.float64 else piece).view(np.uint64) ^ salt
        for factor in (_FIRST, _SECOND, _FIRST):
            mixed *= factor
            mixed ^= mixed >> _SHIFT
        into[begin : begin + _PIECE] += mixed
