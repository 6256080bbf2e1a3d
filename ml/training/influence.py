"""How much each feature moves the model's answers."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pandas as pd
from numpy.typing import NDArray

#: Rows that are shuffled; the mean change is then known to about two percent of itself.
SAMPLE = 2000


def measure_influence(
    answer: Callable[[pd.DataFrame], NDArray[np.float64]],
    frame: pd.DataFrame,
    features: tuple[str, ...],
    *,
    rng: np.random.Generator,
) -> dict[str, float]:
    """Mean change of the answers when one feature is shuffled among rows, ``[0, 1]``; 0 is ignored.

    Parameters
    ----------
    answer
        The model: rows to probabilities of shape ``(n_rows, n_classes)``, or numbers of shape ``(n_rows, 1)``.
    frame
        Training rows; a sample of them is taken.

    Returns
    -------
    dict
        Half the summed absolute change over classes, mean over rows, per feature. Of numbers the mean absolute change
        in standard deviations of the answers, 1 at most. No labels are needed.

    References
    ----------
    Breiman (2001), Random forests, section 10: permutation; here of answers instead of errors.
    """
    rows = frame.iloc[np.sort(rng.permutation(len(frame))[:SAMPLE])].reset_index(drop=True)
    if rows.empty:
        return {}
    before = answer(rows)
    found = {}
    for name in features:
        shuffled = rows.assign(**{name: rows[name].to_numpy()[rng.permutation(len(rows))]})
        found[name] = float(np.abs(answer(shuffled) - before).sum(axis=1).mean())
    unit = 2.0 if before.shape[1] > 1 else float(before.std())
    return {name: min(change / unit, 1.0) if unit > 0 else 0.0 for name, change in found.items()}
