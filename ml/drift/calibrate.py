"""The drift threshold that a reference's own windows ask for, at a stated false-alarm budget."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from ml.drift.statistics import Statistic, find_statistic
from ml.drift.statistics.shares import same_bins
from ml.errors import DataError
from ml.records.profile import CategoryProfile, ColumnProfile, NumberProfile, Profile, ReferenceProfile

#: With fewer independent windows the quantile is a guess: false alarms were 14 to 37 % at a stated 5 %.
MINIMUM_BLOCKS = 8


def mean_distance(
    reference: Mapping[str, ColumnProfile], live: Mapping[str, ColumnProfile], statistic: Statistic
) -> float | None:
    """Mean over columns of their distance; None when there is no column or one of them is undefined.

    Raises
    ------
    DataError
        The columns differ, or were counted on different bins.
    """
    if reference.keys() != live.keys():
        raise DataError("profiles have other columns", got=f"{list(reference)} and {list(live)}")
    values = [statistic.distance(column, live[name]) for name, column in reference.items()]
    defined = [value for value in values if value is not None]
    return float(np.mean(defined)) if values and len(defined) == len(values) else None


def score_blocks(reference: ReferenceProfile, *, statistic: str) -> tuple[float | None, ...]:
    """Score of each block against all other training rows, oldest first; None where undefined.

    Raises
    ------
    DataError
        A block is not a part of the whole.
    """
    found = find_statistic(statistic)
    return tuple(mean_distance(_without(reference.whole, block), block.columns, found) for block in reference.blocks)


def calibrate_threshold(
    reference: ReferenceProfile,
    *,
    statistic: str,
    false_alarm_budget: float,
    minimum_blocks: int = MINIMUM_BLOCKS,
) -> float | None:
    """Threshold that the reference's own windows would exceed in the stated share of checks.

    Parameters
    ----------
    statistic
        Name of a drift statistic.
    false_alarm_budget
        Share of stationary checks that may alarm, in ``(0, 1)``; smaller gives a higher threshold.
    minimum_blocks
        Blocks needed to say anything.

    Returns
    -------
    float or None
        Linear quantile ``1 - false_alarm_budget`` of the blocks' scores, each against the rest of the training rows
        (a block is never compared with itself); None with fewer blocks. With few blocks it lies below their
        maximum, so new windows exceed it somewhat more often than the budget says.

    References
    ----------
    Politis, Romano and Wolf (1999), Subsampling, chapter 3: windows of a dependent series as draws of a statistic.
    """
    scores = [score for score in score_blocks(reference, statistic=statistic) if score is not None]
    if len(scores) < minimum_blocks:
        return None
    return float(np.quantile(scores, 1 - false_alarm_budget))


def _without(whole: Profile, block: Profile) -> dict[str, ColumnProfile]:
    if whole.columns.keys() != block.columns.keys():
        raise DataError("block is not a part of the reference", got=", ".join(block.columns))
    return {name: _subtract(name, column, block.columns[name]) for name, column in whole.columns.items()}


def _subtract(name: str, whole: ColumnProfile, part: ColumnProfile) -> ColumnProfile:
    """Counts of the rows outside the part; its moments are left alone, as no statistic here reads them."""
    if isinstance(whole, NumberProfile) and isinstance(part, NumberProfile) and same_bins(whole, part):
        counts = tuple(_minus(name, a, b) for a, b in zip(whole.counts, part.counts, strict=True))
        return whole.model_copy(update={"counts": counts, "missing": _minus(name, whole.missing, part.missing)})
    if isinstance(whole, CategoryProfile) and isinstance(part, CategoryProfile) and same_bins(whole, part):
        return CategoryProfile(
            counts={value: _minus(name, count, part.counts[value]) for value, count in whole.counts.items()},
            other=_minus(name, whole.other, part.other),
            missing=_minus(name, whole.missing, part.missing),
        )
    raise DataError("block has other bins than the reference", where=name)


def _minus(name: str, whole: int, part: int) -> int:
    if part > whole:
        raise DataError("block holds rows that the reference lacks", where=name, got=f"{part} of {whole}")
    return whole - part
