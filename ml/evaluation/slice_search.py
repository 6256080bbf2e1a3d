"""A beam search for conjunctions of conditions under which rows cost more than the others."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ml.evaluation.conditions import Column, Condition, conditions_on

Floats = NDArray[np.float64]
Mask = NDArray[np.bool_]

#: Of the rows: a slice that is most of them is no part that fails, and the few others would be the small sample.
LARGEST = 0.5
_GAIN = 1.0  # standard errors that a further condition must bring
_WIDTH = 30  # conjunctions that are continued, the worst ones
_CHOSEN = 5


@dataclass(frozen=True)
class Found:
    """A conjunction with its rows, and how it scores among the rows that no better one holds."""

    conditions: tuple[Condition, ...]
    rows: int
    excess: float


def search_slices(
    columns: Mapping[str, Column], cost: Floats, *, minimum_rows: int, depth: int, floor: float = -np.inf
) -> tuple[tuple[Found, ...], int]:
    """The few best conjunctions, each among the rows that the ones before leave, and how many were looked at.

    A conjunction scores by how many standard errors its rows' mean lies above that of the other rows (Welch's t, rows
    taken as independent: it only ranks), and must beat the slices that it is a part of by one.

    Parameters
    ----------
    columns
        Numbers and texts, of shape ``(n_samples,)`` each.
    cost
        Per row, lower is better.
    minimum_rows
        A slice has no fewer, and no more than half of the rows.
    depth
        Conditions in a conjunction, at most.
    floor
        The mean of a slice's rows is above it.
    """
    conditions = conditions_on(columns)
    holds = np.array([condition.holds(columns) for condition in conditions], dtype=bool).reshape(-1, len(cost))
    known, searched = _search(holds, cost, minimum_rows, depth)
    chosen = tuple(
        Found(tuple(conditions[i] for i in one.parts), int(one.rows.sum()), one.excess)
        for one in _choose(known, cost, minimum_rows, floor)
    )
    return chosen, searched


@dataclass(frozen=True)
class _Found:
    """A conjunction by the numbers of its conditions."""

    parts: tuple[int, ...]
    rows: Mask
    score: float
    excess: float


def _search(holds: Mask, cost: Floats, minimum_rows: int, depth: int) -> tuple[list[_Found], int]:
    """The best of each length, and how many were looked at."""
    beam = [_Found((), np.ones(len(cost), dtype=bool), 0.0, 0.0)]
    scores: dict[tuple[int, ...], float] = {(): 0.0}
    known: list[_Found] = []
    for _ in range(depth):
        longer: dict[tuple[int, ...], _Found] = {}
        for parent in beam:
            longer |= _continue(parent, holds, cost, minimum_rows)
        scores |= {parts: one.score for parts, one in longer.items()}
        paying = [one for one in longer.values() if _pays(one, scores)]
        beam = sorted(paying, key=lambda one: (-one.score, one.parts))[:_WIDTH]
        known += beam
    return known, len(scores) - 1


def _continue(parent: _Found, holds: Mask, cost: Floats, minimum_rows: int) -> dict[tuple[int, ...], _Found]:
    """The parent with each further condition that leaves enough rows."""
    rows = parent.rows & holds
    scores, excess, counts = _score(rows, cost)
    return {
        tuple(sorted((*parent.parts, i))): _Found(
            tuple(sorted((*parent.parts, i))), rows[i], float(scores[i]), float(excess[i])
        )
        for i in np.flatnonzero(counts >= minimum_rows).tolist()
        if i not in parent.parts
    }


def _pays(one: _Found, scores: Mapping[tuple[int, ...], float]) -> bool:
    """Whether it beats each slice that it is a part of by more than the luck of having tried many."""
    gain = _GAIN if len(one.parts) > 1 else 0.0
    parents = (one.parts[:i] + one.parts[i + 1 :] for i in range(len(one.parts)))
    return one.score > gain + max(scores.get(parent, 0.0) for parent in parents)


def _score(masks: Mask, cost: Floats) -> tuple[Floats, Floats, Floats]:
    """Welch's t of each slice against the other rows, the difference of means, and the slice's rows.

    The rows are taken as independent: it only ranks.
    """
    members = masks.astype(np.float64)
    total, squares, rows = cost.sum(), (cost**2).sum(), float(len(cost))
    n, sums, squared = members.sum(axis=1), members @ cost, members @ cost**2
    with np.errstate(invalid="ignore", divide="ignore"):
        inside, outside = sums / n, (total - sums) / (rows - n)
        spread = np.maximum(squared / n - inside**2, 0) / n
        spread = spread + np.maximum((squares - squared) / (rows - n) - outside**2, 0) / (rows - n)
        excess = inside - outside
        scores = np.where(spread > 0, excess / np.sqrt(spread), np.where(excess > 0, np.inf, 0.0))
    defined = (n > 0) & (n < rows)
    return np.where(defined, scores, -np.inf), np.where(defined, excess, 0.0), n


def _choose(known: Sequence[_Found], cost: Floats, minimum_rows: int, floor: float) -> Iterator[_Found]:
    """The best slice, then the best among the rows that it leaves, and so on."""
    left = np.ones(len(cost), dtype=bool)
    for _ in range(_CHOSEN if known else 0):
        masks = np.array([one.rows & left for one in known])
        scores, excess, counts = _score(masks[:, left], cost[left])
        fits = (counts >= minimum_rows) & (counts <= LARGEST * left.sum())
        means = masks @ np.where(left, cost, 0.0) / np.maximum(counts, 1)
        scores = np.where(fits & (means > floor), scores, -np.inf)
        best = min(range(len(known)), key=lambda i: (-scores[i], len(known[i].parts), known[i].parts))
        if scores[best] <= 0:
            return
        yield _Found(known[best].parts, masks[best], float(scores[best]), float(excess[best]))
        left &= ~known[best].rows
