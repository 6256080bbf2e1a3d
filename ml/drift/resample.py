"""Windows without drift, made of the reference's own blocks."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ml.drift.matched import Matched, post_stratify

Floats = NDArray[np.float64]

DRAWS = 1000


class Draws:
    """Live windows and references of their own, made of runs of the reference's blocks.

    Attributes
    ----------
    pattern
        Share of the rows of each context that a live window has, the fullest as 1, of shape ``(n_contexts,)``.
    """

    def __init__(
        self,
        matched: Matched,
        of: int,
        *,
        rows: int,
        blocks: int,
        length: int,
        rng: np.random.Generator,
    ) -> None:
        total = len(matched.blocks)
        self._rng = rng
        self.live = _multiplicities(rng, of * blocks, length, total, groups=of, chances=matched.chances)
        self.reference = np.repeat(_multiplicities(rng, total, length, total, groups=1), of, axis=0)
        self.groups = of
        drawn = matched.rows @ self.live.T
        fullness = matched.mix / np.maximum(drawn.mean(axis=1), 1e-9)
        self.pattern = fullness / fullness.max()
        kept = self.pattern @ drawn
        keep = self.pattern[:, None] * np.minimum(rows / np.maximum(kept, 1), 1.0)
        # What a drawn reference has not seen is left out, as it is in a check.
        self._keep = np.where(matched.rows @ self.reference.T > 0, keep, 0.0)

    def tables(self, counts: Floats) -> tuple[Floats, Floats]:
        """Reference counts and live counts of a column, of shape ``(n_draws * of, n_bins)``."""
        references, lives = _sums(self.reference, counts), _sums(self.live, counts)
        return _matched_pair(references, [*map(self._thinned, lives, self._keep)])

    def _thinned(self, live: Floats, keep: Floats) -> Floats:
        if np.mean(keep) < 0.95:
            return self._rng.binomial(live.astype(np.int64), keep[:, None]).astype(np.float64)
        return live * (keep > 0)[:, None]


class Stretches:
    """Every contiguous stretch of live length within the reference, against the rest.

    Attributes
    ----------
    unbroken
        Stretches that are no longer than usual: contexts that come and go leave gaps between the blocks.
    """

    groups = 1

    def __init__(self, matched: Matched, blocks: int, pattern: Floats) -> None:
        total = len(matched.blocks)
        starts = np.arange(total - blocks + 1)[:, None]
        where = np.arange(total)[None, :]
        self.live = ((where >= starts) & (where < starts + blocks)).astype(np.float64)
        self._pattern = pattern
        spans = matched.positions[blocks - 1 :] - matched.positions[: total - blocks + 1]
        self.unbroken = (spans <= np.median(spans)) | (not matched.matched)

    def tables(self, counts: Floats) -> tuple[Floats, Floats]:
        """Counts of the rest and of each stretch, of shape ``(n_stretches, n_bins)``."""
        inside = _sums(self.live, counts)
        rest = [table.sum(axis=0) - live for table, live in zip(counts, inside, strict=True)]
        return _matched_pair(rest, [live * share for live, share in zip(inside, self._pattern, strict=True)])


def _sums(drawn: Floats, counts: Floats) -> list[Floats]:
    """Counts of drawn windows by context; a block takes part where it holds the context, which few do of a month."""
    if len(counts) == 1:
        return [drawn @ counts[0]]
    held = [np.flatnonzero(table.any(axis=1)) for table in counts]
    columns = np.ascontiguousarray(drawn.T)
    return [columns[some].T @ table[some] for some, table in zip(held, counts, strict=True)]


def _matched_pair(reference: list[Floats], live: list[Floats]) -> tuple[Floats, Floats]:
    """Counts by context as one table each, the reference in the live mix of each row."""
    if len(live) == 1:
        return reference[0], live[0]
    first, second = np.stack(reference), np.stack(live)
    second = second * (first.sum(axis=-1, keepdims=True) > 0)
    return post_stratify(first, second.sum(axis=-1)), second.sum(axis=0)


def _multiplicities(
    rng: np.random.Generator, blocks: int, length: int, total: int, *, groups: int, chances: Floats | None = None
) -> Floats:
    """How often each block of the reference is in each drawn window, of shape ``(draws * groups, total)``."""
    draws, size = DRAWS, (DRAWS, -(-blocks // length))
    runs = size[1]
    starts = rng.integers(0, total, size=size) if chances is None else rng.choice(total, size=size, p=chances)
    chain = ((starts[:, :, None] + np.arange(length)) % total).reshape(draws, runs * length)[:, :blocks]
    rows = chain.reshape(draws * groups, blocks // groups) + np.arange(draws * groups)[:, None] * total
    found = np.bincount(rows.ravel(), minlength=draws * groups * total)
    return found.reshape(draws * groups, total).astype(np.float64)
