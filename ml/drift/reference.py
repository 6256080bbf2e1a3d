"""The reference profile of a champion: its training rows, whole and cut into blocks."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import datetime, timedelta
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ml.drift.answers import answer_columns
from ml.drift.calibrate import SEED, calibrate, live_blocks, rule_of
from ml.drift.columns import Kinds, kinds_of
from ml.drift.profile import Table, build_profile, count_columns, merge_profiles
from ml.errors import DataError
from ml.records.measure import Window
from ml.records.profile import BlockCounts, Calibration, Profile, ReferenceProfile
from ml.use_case import UseCase

#: More blocks than this tell nothing more and cost storage: they are joined, or the oldest are left out.
MAXIMUM_BLOCKS = 400
_MICROSECOND = timedelta(microseconds=1)

Times = NDArray[np.datetime64]


class ReferenceBuilder:
    """Takes the rows of a reference in any number of tables, in one pass.

    Parameters
    ----------
    edges
        Profile of a sample of the rows, whose bins are used.
    block
        Length of a block of event time; None counts runs of ``run`` rows instead.
    """

    def __init__(self, kinds: Kinds, edges: Profile, *, block: timedelta | None, run: int = 1) -> None:
        self._kinds, self._edges = kinds, edges
        self._block, self._run = block, run
        self._whole: Profile | None = None
        self._parts: list[tuple[NDArray[np.int64], NDArray[np.int64], dict[str, NDArray[np.int64]]]] = []
        self._rows = 0

    def add(self, table: Table, times: Times | None = None) -> None:
        """Count a table's rows; ``times`` are their event times, UTC, where blocks are of time.

        Raises
        ------
        DataError
            A column is absent or not numeric, or a row has no event time.
        """
        rows = len(table) if isinstance(table, pd.DataFrame) else table.num_rows
        self.add_columns(lambda name: table, rows=rows, times=times)

    def add_columns(self, table_of: Callable[[str], Table], *, rows: int, times: Times | None = None) -> None:
        """The same for rows whose columns are had one by one."""
        positions = self._positions(rows, times)
        if not len(positions):
            return
        blocks, where = np.unique(positions, return_inverse=True)
        found = count_columns(table_of, self._kinds, self._edges, blocks=where.astype(np.int32), n_blocks=len(blocks))
        columns = {name: column for name, (column, _) in found.items()}
        profile = Profile(window=None if times is None else _hull(times), n=rows, columns=columns)
        self._whole = profile if self._whole is None else merge_profiles(self._whole, profile)
        counts = {name: table for name, (_, table) in found.items()}
        self._parts.append((blocks, np.bincount(where, minlength=len(blocks)), counts))

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
        blocks = np.unique(np.concatenate([part[0] for part in self._parts]))
        factor = self._factor(blocks, window)
        joined, where = np.unique(blocks // factor, return_inverse=True)
        newest = slice(max(len(joined) - MAXIMUM_BLOCKS, 0), None)
        rows = np.zeros(len(joined), dtype=np.int64)
        counts = {n: np.zeros((len(joined), self._parts[0][2][n].shape[1]), np.int64) for n in self._kinds}
        for found, sizes, tables in self._parts:
            target = where[np.searchsorted(blocks, found)]
            np.add.at(rows, target, sizes)
            for name, table in tables.items():
                np.add.at(counts[name], target, table)
        seconds = None if self._block is None else self._block.total_seconds() * int(factor)
        return ReferenceProfile(
            use_case=use_case,
            whole=self._whole,
            block=seconds,
            first=None if seconds is None else _moment(int(joined[newest][0]) * int(factor) * self._ticks()),
            positions=tuple((joined[newest] - joined[newest][0]).tolist()),
            rows=tuple(rows[newest].tolist()),
            counts={name: BlockCounts.pack(table[newest]) for name, table in counts.items()},
            fingerprint=fingerprint,
        )

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

    def _factor(self, blocks: NDArray[np.int64], window: timedelta | None) -> int:
        if len(blocks) <= MAXIMUM_BLOCKS:
            return 1
        if self._block is None or window is None:
            return -(-len(blocks) // MAXIMUM_BLOCKS)
        per_window = max(window // self._block, 1)
        divisors = [f for f in range(1, per_window + 1) if per_window % f == 0]
        few = [f for f in divisors if len(np.unique(blocks // f)) <= MAXIMUM_BLOCKS]
        return few[0] if few else divisors[-1]


def build_reference(
    frame: pd.DataFrame, use_case: UseCase, *, fingerprint: str, influence: dict[str, float] | None = None
) -> ReferenceProfile:
    """Reference profile of training rows.

    Parameters
    ----------
    frame
        Training rows with ``event_time`` (UTC), the features, and where they are known the columns of
        :func:`ml.drift.answers.with_answers`, as the answers of models that have not seen the rows.
    fingerprint
        Of the training data, for the record.
    influence
        Of each feature on the champion, :func:`ml.training.influence.measure_influence`.

    Raises
    ------
    DataError
        There are no rows, or a row has no event time.
    """
    if frame.empty or "event_time" not in frame.columns or frame["event_time"].isna().any():
        raise DataError("reference needs rows, each with an event time", where=use_case.name, got=f"{len(frame)} rows")
    answers = {name: what for name, what in answer_columns(use_case).items() if name in frame.columns}
    kinds = kinds_of(use_case) | {name: kind for name, (kind, _) in answers.items()}
    monitoring = use_case.monitoring
    edges = build_profile(frame, kinds)
    builder = ReferenceBuilder(kinds, edges, block=monitoring.block)
    builder.add(frame, times_of(frame["event_time"]))
    built = builder.build(use_case=use_case.name, window=monitoring.window, fingerprint=fingerprint)
    return built.model_copy(
        update={
            "influence": influence or {},
            "roles": {name: role for name, (_, role) in answers.items()},
            "calibration": _calibrate_for_windows(built, use_case),
        }
    )


def keep_columns(reference: ReferenceProfile, names: Iterable[str]) -> ReferenceProfile:
    """The same reference with some of its columns; its calibration, which was for all of them, is left out."""
    kept = [name for name in reference.whole.columns if name in set(names)]
    return reference.model_copy(
        update={
            "whole": reference.whole.model_copy(update={"columns": {n: reference.whole.columns[n] for n in kept}}),
            "counts": {name: reference.counts[name] for name in kept},
            "influence": {name: value for name, value in reference.influence.items() if name in kept},
            "roles": {name: role for name, role in reference.roles.items() if name in kept},
            "calibration": None,
        }
    )


def _calibrate_for_windows(reference: ReferenceProfile, use_case: UseCase) -> Calibration | None:
    """Calibration for live windows as full as the reference's own; the lengths of the others are made when needed."""
    blocks = live_blocks(reference, use_case.monitoring.window)
    rows = round(sum(reference.rows) / len(reference.rows) * blocks)
    return calibrate(reference, rule_of(use_case), rows=rows, blocks=blocks, rng=np.random.default_rng(SEED))


def times_of(column: Any) -> Times:
    """Event times as UTC without a zone; a naive one is taken as UTC."""
    index = pd.DatetimeIndex(column)
    return (
        index.tz_localize(None).to_numpy() if index.tz is None else index.tz_convert("UTC").tz_localize(None).to_numpy()
    )


def _hull(times: Times) -> Window:
    """Window of all rows; it ends one usual spacing after the newest, so that a full window of hourly rows is whole."""
    distinct = np.unique(times.astype("datetime64[us]").astype(np.int64))
    spacing = int(np.median(np.diff(distinct))) if len(distinct) > 1 else 1
    return Window(start=_moment(int(distinct[0])), end=_moment(int(distinct[-1]) + max(spacing, 1)))


def _moment(ticks: int) -> datetime:
    # Times are microseconds in the lake; a finer spacing must still move the end past the newest row.
    return pd.Timestamp(ticks, unit="us", tz="UTC").to_pydatetime()
