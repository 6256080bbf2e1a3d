"""Leakage: a single feature that predicts the label better than any honest one does."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ml.records.decision import RuleResult
from ml.records.measure import Estimate
from ml.training.block_interval import mean_over_blocks
from ml.training.bounded import keep_below, undecidable
from ml.use_case import UseCase

Floats = NDArray[np.float64]

#: Quantiles that cut a number into bins: 32 alike, and tails, where a leak of a rare class would lie.
_TAIL = np.array([0.001, 0.003, 0.01])
QUANTILES = np.unique([*np.linspace(0, 1, 33)[1:-1], *_TAIL, *(1 - _TAIL)])
#: Parts of the time, each forecast from the others, so that chance in small bins explains nothing.
FOLDS = 5
#: Blocks without which an interval means little.
BLOCKS = 5
_PRIOR = 1.0  # rows that a bin is thought to hold of the whole's distribution
_SMALLEST = 1e-6


def check_leakage(frame: pd.DataFrame, use_case: UseCase) -> RuleResult:
    """Share of the label's uncertainty that the strongest feature explains alone, against ``training.checks.leakage``.

    A share fails when the low end of its interval lies above the bound. The column of ``baselines.persistence`` may be
    as strong as it likes: the label-time contract watches over it. For a number nothing is said, since honest ones
    that change slowly explain themselves nearly whole: the temperature of the next hour, 0.98.
    """
    bound = use_case.training.checks.leakage
    if not use_case.target.classes:
        return undecidable("leakage", "a number that changes slowly is explained whole", n=len(frame), bound=bound)
    exempt = {use_case.baselines.persistence} if use_case.target.horizon else set()
    found = {name: explained_share(frame, name, use_case) for name in use_case.features if name not in exempt}
    known = {name: share for name, share in found.items() if share.value is not None}
    if not known:
        reason = next((share.detail for share in found.values()), "there is no feature")
        return undecidable("leakage", reason, n=len(frame), bound=bound)
    strongest = max(known, key=lambda name: (known[name].low or 0.0, known[name].value or 0.0))
    detail = (
        f"{strongest} alone explains {known[strongest].value:.2f} of the label's uncertainty; "
        f"at most {bound:g}, or it was made of the label"
    )
    return keep_below("leakage", known[strongest], bound, detail)


def explained_share(frame: pd.DataFrame, feature: str, use_case: UseCase) -> Estimate:
    """Share of the loss of a constant forecast that a feature alone avoids, on time that it was not learnt from.

    Parameters
    ----------
    frame
        Has ``event_time``, ``label`` and the feature.

    Returns
    -------
    Estimate
        ``1 - loss / loss of the base rates``, ``(-inf, 1]``: 0 is worthless, 1 is certainty; log loss for classes,
        squared error for numbers. The interval is over blocks of ``gate.block``.

    Notes
    -----
    The measure is the uncertainty coefficient, or R squared, of a table of label by bin, cross-validated over
    contiguous parts of the time. On the harbour weather of a year persistence explains 0.44 and humidity 0.29, on its
    winter persistence 0.50; the best features of two easy textbook tasks explain 0.64 (breast cancer, perimeter) and
    0.76 (iris, petal width), and the default bound of 0.8 lets them all pass. A copy of the harbour's label explains
    1.00, one with 0.5 % of its values wrong 0.93, with 1 % 0.84, and with 5 % 0.61, which is not told from honest.

    References
    ----------
    Kaufman et al. (2012), Leakage in data mining: formulation, detection, and avoidance, ACM TKDD 6, section 5:
    looking for features that predict too well. Theil (1970), On the estimation of relationships involving qualitative
    variables, Am. J. Sociol. 76: the uncertainty coefficient. Cochran (1977), Sampling Techniques, 3rd ed., eq. 6.9:
    the interval of a ratio.
    """
    rows = frame.sort_values("event_time", kind="stable")
    times = pd.DatetimeIndex(rows["event_time"])
    blocks = np.asarray((times - times.min()) // use_case.gate.block) if len(rows) else np.array([])
    if len(np.unique(blocks)) < BLOCKS:
        return Estimate(value=None, n=len(rows), detail=f"fewer than {BLOCKS} blocks of rows")
    folds = np.unique(blocks, return_inverse=True)[1] * FOLDS // len(np.unique(blocks))
    by_base, by_feature = _losses(_bins(rows[feature]), _targets(rows, use_case), folds, bool(use_case.target.classes))
    whole = float(by_base.mean())
    if whole <= 0:
        return Estimate(value=None, n=len(rows), detail="the label never varies")
    share = 1 - float(by_feature.mean()) / whole
    # A ratio's interval is that of the mean of its residuals: a block where much was uncertain weighs more.
    residuals = ((1 - share) * by_base - by_feature) / whole
    return mean_over_blocks(share + residuals, rows["event_time"], block=use_case.gate.block)


def _bins(values: pd.Series) -> NDArray[np.int64]:
    """Number of each row's bin; a category is its own, rare ones and missing included."""
    if not pd.api.types.is_numeric_dtype(values.dtype):
        return np.asarray(pd.factorize(values.astype(object).where(values.notna(), ""))[0], dtype=np.int64)
    numbers = values.to_numpy(dtype=np.float64, na_value=np.nan)
    known = np.isfinite(numbers)
    edges = np.unique(np.quantile(numbers[known], QUANTILES)) if known.any() else np.array([])
    # A value that many rows have is an edge, and a bin of its own: zero is not the same as a little.
    bins = np.searchsorted(edges, numbers, side="left") + np.searchsorted(edges, numbers, side="right")
    return np.where(known, bins, 2 * len(edges) + 1).astype(np.int64)


def _targets(rows: pd.DataFrame, use_case: UseCase) -> Floats:
    """One column per class, 1 where it happened; or the numbers themselves as one column."""
    if not use_case.target.classes:
        return rows["label"].to_numpy(dtype=np.float64)[:, None]
    names = use_case.target.class_names
    happened: Floats = (rows["label"].to_numpy(dtype=object)[:, None] == np.array(names, dtype=object)).astype(float)
    return happened


def _losses(bins: NDArray[np.int64], targets: Floats, folds: NDArray[Any], classes: bool) -> tuple[Floats, Floats]:
    """Loss per row of the base rates and of the feature's bins, each learnt from the other parts."""
    by_base, by_feature = np.empty(len(bins)), np.empty(len(bins))
    loss = _log_loss if classes else _squares
    count = int(bins.max()) + 1
    for fold in np.unique(folds):
        out = folds == fold
        mean = targets[~out].mean(axis=0)
        rows = np.bincount(bins[~out], minlength=count)[:, None]
        sums = np.stack(
            [np.bincount(bins[~out], weights=column, minlength=count) for column in targets[~out].T], axis=1
        )
        told = (sums + _PRIOR * mean) / (rows + _PRIOR)
        by_base[out] = loss(targets[out], np.broadcast_to(mean, targets[out].shape))
        by_feature[out] = loss(targets[out], told[bins[out]])
    return by_base, by_feature


def _log_loss(happened: Floats, told: Floats) -> Floats:
    return np.asarray(-np.log(np.clip((happened * told).sum(axis=1), _SMALLEST, 1.0)), dtype=np.float64)


def _squares(happened: Floats, told: Floats) -> Floats:
    return np.asarray(((happened - told) ** 2).sum(axis=1), dtype=np.float64)
