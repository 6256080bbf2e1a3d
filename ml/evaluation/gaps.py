"""Largest differences of decisions between groups, from sums over rows."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Booleans = NDArray[np.bool_]


def gap_tables(gap: str, decided: Booleans, truth: Booleans, groups: NDArray[np.object_]) -> Floats:
    """Per row what it adds to the counts of its group, of shape ``(n_samples, n_counts * n_groups)``.

    Parameters
    ----------
    gap
        Key of :data:`GAPS`.
    decided, truth
        Whether a row is decided to be, and is, positive.
    groups
        Of each row.
    """
    _, group = np.unique(groups, return_inverse=True)
    member = np.eye(int(group.max()) + 1)[group]
    counts = [np.ones(len(group)), decided]
    if gap == "equalized_odds":
        counts = [truth, truth & decided, ~truth, ~truth & decided]
    return np.concatenate([member * np.asarray(count, dtype=np.float64)[:, None] for count in counts], axis=1)


def _demographic_parity(sums: Floats) -> Floats:
    rows, positive = np.split(sums, 2, axis=-1)
    return _spread(positive, rows)


def _equalized_odds(sums: Floats) -> Floats:
    positives, hits, negatives, alarms = np.split(sums, 4, axis=-1)
    return np.maximum(_spread(hits, positives), _spread(alarms, negatives))


def _spread(count: Floats, of: Floats) -> Floats:
    """Largest minus smallest share; NaN where a group has no such rows."""
    with np.errstate(invalid="ignore", divide="ignore"):
        share = np.where(of > 0, count / of, np.nan)
    found: Floats = share.max(axis=-1) - share.min(axis=-1)
    return found


#: Of sums of :func:`gap_tables`, ``[0, 1]``, 0 is equal: difference between groups in the share of positive decisions
#: (Agarwal et al. 2018, A reductions approach to fair classification, ICML, definition 1), or in the true or the false
#: positive rate, whichever is larger (Hardt et al. 2016, Equality of opportunity in supervised learning, NeurIPS).
GAPS: dict[str, Callable[[Floats], Floats]] = {
    "demographic_parity": _demographic_parity,
    "equalized_odds": _equalized_odds,
}
