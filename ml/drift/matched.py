"""The part of a reference that a live window may be compared with: the same contexts, in the live window's mix."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from functools import cached_property
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from ml.drift.context import name_contexts
from ml.drift.profile import counts_of
from ml.errors import DataError
from ml.records.profile import ColumnProfile, NumberProfile, Profile, ReferenceProfile

Floats = NDArray[np.float64]

#: So small a share of live rows in contexts that the reference has not seen is compared along with the others.
TOLERATED = 0.01


@dataclass(frozen=True, eq=False)
class Matched:
    """Blocks of a reference that hold a live window's contexts; without contexts, all of it as one context.

    Attributes
    ----------
    names
        Contexts that the live window and the reference both hold; one empty name without contexts.
    mix
        Live rows of each, of shape ``(n_contexts,)``; ones without contexts.
    blocks
        Which blocks of the reference hold any of them.
    rows
        Their rows by context and block, of shape ``(n_contexts, n_blocks)``.
    """

    reference: ReferenceProfile
    names: tuple[str, ...]
    mix: Floats
    blocks: NDArray[np.int64]
    rows: Floats

    @property
    def matched(self) -> bool:
        """Whether there are contexts."""
        return self.names != ("",)

    @property
    def n(self) -> int:
        """Rows of the reference that are compared with."""
        return int(self.rows.sum()) if self.matched else self.reference.whole.n

    @cached_property
    def positions(self) -> NDArray[np.int64]:
        """Of the blocks in time, in blocks."""
        return np.array(self.reference.positions, dtype=np.int64)[self.blocks]

    @cached_property
    def efficiency(self) -> float:
        """Share of the matched rows that would tell as much if they came in the live mix, ``(0, 1]``.

        Kish (1965), Survey Sampling, section 11.7: one over the mean square of the weights.
        """
        shares, held = self.mix / self.mix.sum(), self.rows.sum(axis=1) / self.rows.sum()
        return float(1 / np.sum(shares**2 / held))

    @cached_property
    def chances(self) -> Floats | None:
        """Of drawing each block, so that draws have the live mix; None where all are equal."""
        if len(self.names) == 1:
            return None
        weights = self.mix / self.rows.sum(axis=1)
        chances = weights @ self.rows / np.maximum(self.rows.sum(axis=0), 1)
        return chances / chances.sum()

    def live_blocks(self, length: timedelta) -> int:
        """Matched blocks that a window of event time usually holds, at least 1; the reference has a block length."""
        reach = max(round(length.total_seconds() / (self.reference.block or 1.0)), 1)
        held = np.searchsorted(self.positions, self.positions + reach) - np.arange(len(self.positions))
        return max(int(np.median(held)), 1)

    def table(self, name: str) -> Floats:
        """Counts of a column by context, block and bin, of shape ``(n_contexts, n_blocks, n_bins)``."""
        counts, contexts = self.reference.counts[name].unpack(), self.reference.contexts
        if contexts is None:
            return counts[None]
        block, context = np.nonzero(contexts.rows.unpack())
        found = np.zeros((len(self.names), len(self.reference.rows), counts.shape[1]))
        wanted = {known: i for i, known in enumerate(self.names)}
        at = (
            np.array([wanted.get(known, -1) for known in contexts.names])
            if self.matched
            else np.zeros(len(contexts.names), int)
        )
        chosen = at[context] >= 0
        np.add.at(found, (at[context[chosen]], block[chosen]), counts[chosen])
        return found[:, self.blocks]

    def counts(self, name: str) -> Floats:
        """Counts of a column that the live counts are compared with, of shape ``(n_bins,)``."""
        if not self.matched:
            return counts_of(self.reference.whole.columns[name])
        return post_stratify(self.table(name).sum(axis=1), self.mix)

    def profile(self) -> Profile:
        """Profile of these rows, to be drawn; counts are rounded and moments are read from the bins."""
        whole = self.reference.whole
        if not self.matched:
            return whole
        columns = {name: _with_counts(column, self.counts(name)) for name, column in whole.columns.items()}
        return whole.model_copy(update={"n": self.n, "columns": columns})


def match_reference(reference: ReferenceProfile, context: Sequence[str], mix: Mapping[str, int]) -> Matched:
    """Part of a reference in the contexts of a live window.

    Parameters
    ----------
    context
        What makes a context; empty matches nothing and takes all.
    mix
        Live rows by context; those of contexts that the reference has not seen are left out.

    Raises
    ------
    DataError
        The reference was cut by other contexts, or has seen none of these.
    """
    everything = np.arange(len(reference.rows))
    if not context:
        return Matched(reference, ("",), np.ones(1), everything, np.array([reference.rows], dtype=np.float64))
    contexts = reference.contexts
    if contexts is None or contexts.by != tuple(context):
        got = "none" if contexts is None else ", ".join(contexts.by)
        raise DataError("reference has other contexts", where="context", got=got, allowed=", ".join(context))
    table = contexts.rows.unpack()
    names = tuple(name for i, name in enumerate(contexts.names) if mix.get(name) and table[:, i].any())
    if not names:
        raise DataError("reference has seen no such context", got=name_contexts([*mix]))
    chosen = table[:, [contexts.names.index(name) for name in names]].T
    blocks = np.flatnonzero(chosen.sum(axis=0))
    return Matched(reference, names, np.array([mix[name] for name in names], float), blocks, chosen[:, blocks])


def newest_mix(reference: ReferenceProfile, blocks: int) -> dict[str, int]:
    """Rows by context of the reference's newest blocks; empty without contexts."""
    if reference.contexts is None:
        return {}
    rows = reference.contexts.rows.unpack()[-blocks:].sum(axis=0).astype(int).tolist()
    return {name: n for name, n in zip(reference.contexts.names, rows, strict=True) if n}


def post_stratify(counts: Floats, mix: Floats) -> Floats:
    """Counts as if the contexts had come in the live mix: each is weighted by live share over its own share.

    Parameters
    ----------
    counts
        Of shape ``(n_contexts, ..., n_bins)``.
    mix
        Live rows, of shape ``(n_contexts, ...)``; contexts without counts or without live rows take no part.

    Returns
    -------
    ndarray of shape (..., n_bins)
        The sum over bins is the number of rows of the contexts that take part.

    References
    ----------
    Cochran (1977), Sampling Techniques, 3rd edition, section 5A.9: post-stratification. Holt and Smith (1979), Post
    stratification, JRSS A 142.

    Examples
    --------
    >>> post_stratify(np.array([[30.0, 10.0], [0.0, 40.0]]), np.array([10.0, 30.0])).tolist()
    [15.0, 65.0]
    """
    held = counts.sum(axis=-1)
    wanted = np.where(held > 0, mix, 0.0)
    used = np.where(wanted > 0, held, 0.0)
    with np.errstate(invalid="ignore", divide="ignore"):
        weights = (wanted / wanted.sum(axis=0)) / (used / used.sum(axis=0))
    return np.sum(np.where(used > 0, weights, 0.0)[..., None] * counts, axis=0)


def context_obstacles(reference: ReferenceProfile, live: Profile, context: Sequence[str]) -> list[str]:
    """Why a live window cannot be matched, one sentence each; empty when it can, or where there are no contexts."""
    if not context:
        return []
    if reference.contexts is None or reference.contexts.by != tuple(context):
        cut = "no context" if reference.contexts is None else ", ".join(reference.contexts.by)
        return [f"The reference was cut by {cut}, not by {', '.join(context)}: make it anew, by a retraining."]
    told, counted = [], sum(live.contexts.values())
    if counted != live.n:
        told.append(f"The context ({', '.join(context)}) of {live.n - counted} of {live.n} live rows is not known.")
    seen = reference.contexts.rows.unpack().sum(axis=0)
    known = {name for name, rows in zip(reference.contexts.names, seen, strict=True) if rows}
    strange = sorted((name for name in live.contexts if name not in known), key=lambda name: -live.contexts[name])
    rows = sum(live.contexts[name] for name in strange)
    if rows > TOLERATED * live.n:
        told.append(f"The reference has not seen {name_contexts(strange)} ({rows} of {live.n} live rows).")
    return told


def _with_counts(column: ColumnProfile, counts: Floats) -> ColumnProfile:
    whole = np.round(counts).astype(int).tolist()
    if not isinstance(column, NumberProfile):
        named = dict(zip(sorted(column.counts), whole[:-2], strict=True))
        return column.model_copy(update={"counts": named, "other": whole[-2], "missing": whole[-1]})
    outer = [column.minimum or 0.0, *column.edges, column.maximum or 0.0]
    centres = np.array([(low + high) / 2 for low, high in pairwise(outer)])
    present = counts[:-1]
    mean = float(present @ centres / max(present.sum(), 1.0))
    m2 = float(present @ (centres - mean) ** 2)
    return column.model_copy(update={"counts": tuple(whole[:-1]), "missing": whole[-1], "mean": mean, "m2": m2})
