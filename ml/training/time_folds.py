"""Splits that keep to the order of time, with a gap, and keep groups apart; rows are never dealt out at random."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ml.training.entities import entities_of
from ml.use_case import UseCase

Positions = NDArray[np.int64]

#: Contiguous parts of the rows, each answered by a model of the others.
PARTS = 5


def time_folds(rows: pd.DataFrame, use_case: UseCase) -> tuple[tuple[Positions, Positions], ...]:
    """Positions to learn from and to forecast: each piece of time from what is older than it by ``target.horizon``.

    The time is cut into ``training.tuning.folds`` + 1 pieces of equal length; the oldest one is only learnt from. With
    ``training.tuning.group`` a piece's rows are those of some groups, and what is learnt from are the others.

    Returns
    -------
    tuple
        Splits with rows on both sides; fewer than asked for where the rows do not fill them.

    References
    ----------
    Bergmeir and Benitez (2012), On the use of cross-validation for time series predictor evaluation, Inf. Sci. 191.
    Roberts et al. (2017), Cross-validation strategies for data with temporal, spatial, hierarchical structure,
    Ecography 40.
    """
    times = rows["event_time"]
    start, count = times.min(), use_case.training.tuning.folds
    piece = (times.max() - start) / (count + 1)
    groups = _groups(rows, use_case)
    found = []
    for fold in range(1, count + 1):
        begin, end = start + fold * piece, start + (fold + 1) * piece
        inside = ((times >= begin) & ((times < end) | (fold == count))).to_numpy()
        before = (times + use_case.target.horizon < begin).to_numpy()
        if groups is not None:
            held = groups % count == fold - 1
            inside, before = inside & held, before & ~held & (groups >= 0)
        if inside.any() and before.any():
            found.append((np.flatnonzero(before), np.flatnonzero(inside)))
    return tuple(found)


class TimeParts:
    """Contiguous parts of rows in order of time, each to be answered by a model of the others.

    Parameters
    ----------
    gap
        Share of the rows at either side of a part that its model does not learn from.
    """

    def __init__(self, parts: int = PARTS, gap: float = 0.01) -> None:
        self.parts, self.gap = parts, gap

    def split(self, rows: Any, labels: Any = None, groups: Any = None) -> Iterator[tuple[Positions, Positions]]:
        """Positions to learn from and to answer, in scikit-learn's form.

        Examples
        --------
        >>> [(others.tolist(), part.tolist()) for others, part in TimeParts(3, gap=0.2).split(range(6))][1]
        ([0, 5], [2, 3])
        """
        del labels, groups
        count = len(rows)
        gap = int(self.gap * count)
        for part in np.array_split(np.arange(count), self.parts):
            if len(part):
                yield np.r_[0 : max(part[0] - gap, 0), min(part[-1] + 1 + gap, count) : count], part

    def get_n_splits(self, rows: Any = None, labels: Any = None, groups: Any = None) -> int:
        """Count of parts."""
        del rows, labels, groups
        return self.parts


def _groups(rows: pd.DataFrame, use_case: UseCase) -> Positions | None:
    """Number of each row's group, -1 where it is not known; None where no group is named."""
    name = use_case.training.tuning.group
    if name is None:
        return None
    values = rows[name] if name in rows.columns else entities_of(rows, use_case)
    return np.asarray(pd.factorize(values, sort=True)[0], dtype=np.int64)
