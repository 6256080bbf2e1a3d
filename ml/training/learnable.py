"""Whether there is enough data yet to learn anything that holds in the newest part, and how much is missing."""

from __future__ import annotations

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ml.records.decision import Choice
from ml.training.assemble import InsufficientData
from ml.training.base_rates import forecast_base_rates
from ml.training.fit import answer_of, fit_pipeline
from ml.training.loss import LOSSES
from ml.training.tune import settled
from ml.use_case import UseCase

#: Of the validation rows, the newest that may be looked at, so many are learnt from and the newer ones are forecast.
_LEARNT = 2 / 3
#: Shares of those learnt from, the oldest first, that the points of the curve know beside all fit rows.
SHARES = (0.25, 0.5, 0.75, 1.0)

Curve = tuple[tuple[int, float], ...]


def check_learnable(use_case: UseCase, choice: Choice, fit: pd.DataFrame, validation: pd.DataFrame) -> None:
    """Pass when the chosen candidate forecasts the newest rows better than the base rates do.

    A model that is no better than the shares of the classes, or the mean, has not learnt what happens now, and the
    gate would reject it. Its validation loss tells; where that is too high, everything may have changed since the fit
    rows, and a challenger learns from the validation rows as well: then, and only then, a learning curve on these
    newest rows tells whether they suffice, or how many more it would take.

    Raises
    ------
    InsufficientData
        They do not; the message says how many rows are missing by the curve, or that none are foreseen to help.
    """
    if choice.result.loss.value is None or choice.result.loss.value < _base_loss(use_case, fit, validation):
        return
    learnt, judged = _cut(validation)
    base = _base_loss(use_case, pd.concat([fit, learnt]), judged)
    curve = learning_curve(use_case, choice, fit, validation)
    if curve and curve[-1][1] < base:
        return
    missing = rows_until(curve, base)
    told = "no number of rows is foreseen to change that" if missing is None else f"about {missing:,} more are needed"
    raise InsufficientData(
        f"what happens now cannot be learnt from {len(learnt):,} new rows yet; {told}",
        where=f"{use_case.name}: {choice.chosen} on validation",
        got=f"{use_case.gate.metric} {curve[-1][1]:.4f}" if curve else "a class without rows",
        allowed=f"below {base:.4f}, that of the base rates",
    )


def learning_curve(use_case: UseCase, choice: Choice, fit: pd.DataFrame, validation: pd.DataFrame) -> Curve:
    """Loss of the chosen candidate on the newest third of the validation rows, by how many of the others it has seen.

    Each point has learnt from all fit rows as well. Points that lack a class are left out.

    Returns
    -------
    tuple of (int, float)
        New rows that were learnt from, and mean loss in units of the metric; fewest first.
    """
    settings = settled(use_case, choice.result)
    learnt, judged = _cut(validation)
    labels, metric = judged["label"].to_numpy(), LOSSES[use_case.gate.metric]
    found = []
    for count in dict.fromkeys(max(int(share * len(learnt)), 1) for share in SHARES):
        rows = pd.concat([fit, learnt.head(count)], ignore_index=True)
        if not use_case.regression and len(set(rows["label"])) < len(use_case.answers):
            continue
        pipeline, _ = fit_pipeline(settings, choice.chosen, rows)
        told = answer_of(pipeline, use_case)(judged)
        found.append((min(count, len(learnt)), float(metric(labels, told, use_case.answers).mean())))
    return tuple(found)


def _cut(validation: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Older rows to learn from and newer ones to forecast."""
    count = int(_LEARNT * len(validation))
    return validation.iloc[:count], validation.iloc[count:]


def _base_loss(use_case: UseCase, trained: pd.DataFrame, judged: pd.DataFrame) -> float:
    told = forecast_base_rates(trained, judged, use_case)
    return float(LOSSES[use_case.gate.metric](judged["label"].to_numpy(), told, use_case.answers).mean())


def rows_until(curve: Curve, bound: float) -> int | None:
    """Further rows after which the loss is foreseen to fall below a bound; None when never, or with one point.

    The loss is ``limit + slope / rows``, fitted by least squares.

    References
    ----------
    Cortes et al. (1994), Learning curves: asymptotic values and rate of convergence, NIPS 6.

    Examples
    --------
    From 1.0 with 100 rows to 0.75 with 200 the limit is 0.5, and 0.6 is reached with 500:

    >>> rows_until(((100, 1.0), (200, 0.75)), 0.6)
    300
    >>> rows_until(((100, 1.0), (200, 0.75)), 0.5) is None
    True
    """
    if len(curve) < 2:
        return None
    rows: NDArray[np.float64] = np.array([point[0] for point in curve], dtype=np.float64)
    slope, limit = np.polyfit(1 / rows, [point[1] for point in curve], 1)
    if slope <= 0 or limit >= bound - 1e-12:
        return None
    return max(int(np.ceil(round(slope / (bound - limit) - rows[-1], 6))), 1)
