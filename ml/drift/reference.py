"""The reference profile of a champion: its training rows, whole and cut into blocks."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ml.drift.answers import answer_columns
from ml.drift.calibrate import SEED, calibrate, live_blocks, rule_of
from ml.drift.columns import Kinds, Times, column_of, kinds_of, times_of
from ml.drift.context import MAXIMUM_CONTEXTS, label_contexts, name_contexts
from ml.drift.domain_classifier import Rows, calibrate_on_windows, encode_rows
from ml.drift.profile import Table, build_profile, count_columns, merge_profiles
from ml.drift.projection import fit_projection, with_joint_kind, with_joint_of_others
from ml.errors import DataError
from ml.records.measure import Window
from ml.records.profile import (
    BlockContexts,
    BlockCounts,
    Calibration,
    ClassifierCalibration,
    Profile,
    ReferenceProfile,
)
from ml.use_case import UseCase

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
    """

    def __init__(
        self,
        kinds: Kinds,
        edges: Profile,
        *,
        block: timedelta | None,
        run: int = 1,
        context: Sequence[str] = (),
    ) -> None:
        self._kinds, self._edges = kinds, edges
        self._block, self._run = block, run
        self._context = tuple(context)
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
        self.add_columns(lambda name: table, rows=rows, times=times)

    def add_columns(self, table_of: Callable[[str], Table], *, rows: int, times: Times | None = None) -> None:
        """The same for rows whose columns are had one by one."""
        positions = self._positions(rows, times)
        if not len(positions):
            return
        codes = self._codes(table_of, rows, times)
        cells, where = np.unique(positions * MAXIMUM_CONTEXTS + codes, return_inverse=True)
        found = count_columns(table_of, self._kinds, self._edges, blocks=where.astype(np.int32), n_blocks=len(cells))
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
            whole=self._whole,
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

    def _codes(self, table_of: Callable[[str], Table], rows: int, times: Times | None) -> NDArray[np.int64]:
        """Context of each row among all that were met so far."""
        if not self._context:
            return np.zeros(rows, dtype=np.int64)
        codes, names = label_contexts(
            self._context,
            rows=rows,
            kinds=self._kinds,
            column_of=lambda name: column_of(table_of(name), name),
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
    features, monitoring = kinds_of(use_case), use_case.monitoring
    kinds = features | {name: kind for name, (kind, _) in answers.items()}
    projection = fit_projection(frame, features) if "pca_reconstruction" in monitoring.multivariate else None
    if projection is not None:
        frame = with_joint_of_others(frame.sort_values("event_time", kind="stable"), projection, features)
        kinds = dict(with_joint_kind(kinds, projection))
    edges = build_profile(frame, kinds)
    builder = ReferenceBuilder(kinds, edges, block=monitoring.block, context=monitoring.context)
    builder.add(frame, times_of(frame["event_time"]))
    built = builder.build(use_case=use_case.name, window=monitoring.window, fingerprint=fingerprint)
    made = built.model_copy(
        update={
            "influence": influence or {},
            "roles": {name: role for name, (_, role) in answers.items()},
            "projection": projection,
            "calibration": _calibrate_for_windows(built, use_case),
        }
    )
    return made.model_copy(update={"classifier": _calibrate_classifier(made, frame, use_case)})


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


def encode_frame(frame: pd.DataFrame, use_case: UseCase, like: Profile) -> Rows:
    """Rows of a use case for the domain classifier; places are seconds of event time."""
    # Rows of one moment are in the order of their ids, whoever has read them.
    frame = frame.sort_values(["event_time", *(["id"] if "id" in frame.columns else [])])
    return encode_rows(frame, kinds_of(use_case), like, seconds_of(times_of(frame["event_time"])))


def seconds_of(times: Times) -> NDArray[np.float64]:
    """Seconds since 1970, UTC."""
    return times.astype("datetime64[us]").astype(np.int64) / 1e6


def gap_of(reference: ReferenceProfile, memory: float) -> float:
    """Autocorrelation time in seconds of event time; 0 without memory."""
    return memory * (reference.block or 0.0) if memory > 1 else 0.0


def _calibrate_classifier(
    reference: ReferenceProfile, frame: pd.DataFrame, use_case: UseCase
) -> ClassifierCalibration | None:
    rule = rule_of(use_case)
    if "domain_classifier" not in rule.multivariate or reference.calibration is None:
        return None
    return calibrate_on_windows(
        encode_frame(frame, use_case, reference.whole),
        length=use_case.monitoring.window.total_seconds(),
        rows=reference.calibration.rows,
        gap=gap_of(reference, reference.calibration.memory),
        budget=rule.share,
    )


def _calibrate_for_windows(reference: ReferenceProfile, use_case: UseCase) -> Calibration | None:
    """Calibration for live windows as full as the reference's own; the lengths of the others are made when needed."""
    blocks = live_blocks(reference, use_case.monitoring.window)
    rows = round(sum(reference.rows) / len(reference.rows) * blocks)
    rule = rule_of(use_case)
    return calibrate(
        reference,
        replace(rule, false_alarm_budget=rule.share),
        rows=rows,
        blocks=blocks,
        rng=np.random.default_rng(SEED),
    )


def _hull(times: Times) -> Window:
    """Window of all rows; it ends one usual spacing after the newest, so that a full window of hourly rows is whole."""
    distinct = np.unique(times.astype("datetime64[us]").astype(np.int64))
    spacing = int(np.median(np.diff(distinct))) if len(distinct) > 1 else 1
    return Window(start=_moment(int(distinct[0])), end=_moment(int(distinct[-1]) + max(spacing, 1)))


def _moment(ticks: int) -> datetime:
    # Times are microseconds in the lake; a finer spacing must still move the end past the newest row.
    return pd.Timestamp(ticks, unit="us", tz="UTC").to_pydatetime()
