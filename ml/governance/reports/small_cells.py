"""Counts that are too small to be shown, and what must be kept back with them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

#: Cells of fewer rows are not shown unless something else is asked for: a single person could be told from them.
SMALL_CELL = 10


def keep_back(counts: Mapping[str, int], limit: int) -> frozenset[str]:
    """Names whose cells are not shown: those of fewer than ``limit`` rows, and so many more that none can be told.

    Cells that are left out follow from the total and the others: of one alone its count, of several their sum. The
    next smallest are kept back, too, until at least two cells and ``limit`` rows are hidden together. Cells without
    rows tell of nobody and are shown.

    References
    ----------
    Hundepool et al. (2012), Statistical Disclosure Control, section 4.2: primary and secondary suppression.

    Examples
    --------
    >>> sorted(keep_back({"north": 500, "south": 3, "west": 80}, 50))
    ['south', 'west']
    >>> sorted(keep_back({"north": 500, "south": 60}, 50))
    []
    """
    hidden = {name for name, count in counts.items() if 0 < count < limit}
    others = sorted((count, name) for name, count in counts.items() if count >= max(limit, 1))
    while hidden and others and (len(hidden) < 2 or sum(counts[name] for name in hidden) < limit):
        hidden.add(others.pop(0)[1])
    return frozenset(hidden)


def merge_small(counts: Sequence[int], limit: int) -> tuple[tuple[int, int], ...]:
    """Runs of neighbouring bins, as ``(first, behind the last)``, that hold ``limit`` rows each, or none.

    Small bins are merged with their neighbours on the right, the last ones on the left. A single run of all bins is
    what is left when all rows together are too few.

    Examples
    --------
    >>> merge_small([0, 2, 9, 30, 0, 3], 10)
    ((0, 1), (1, 3), (3, 6))
    """
    runs: list[tuple[int, int]] = []
    first = total = 0
    for place, count in enumerate(counts):
        total += count
        if total == 0 or total >= limit:
            runs.append((first, place + 1))
            first, total = place + 1, 0
    if total:
        kept = len(runs)
        while kept and total < limit:  # empty runs before the rest do not help it
            kept -= 1
            total += sum(counts[slice(*runs[kept])])
        runs = [*runs[:kept], (runs[kept][0] if kept < len(runs) else first, len(counts))]
    return tuple(runs)


def spread_evenly(counts: Sequence[int], widths: Sequence[float], limit: int) -> tuple[float, ...]:
    """Rows of each bin such that no bin shows a count below ``limit``: merged bins share their rows by width."""
    told = [0.0] * len(counts)
    for first, last in merge_small(counts, limit):
        total, wide = sum(counts[first:last]), sum(widths[first:last])
        for place in range(first, last):
            told[place] = total * widths[place] / wide if wide else 0.0
    return tuple(told)
