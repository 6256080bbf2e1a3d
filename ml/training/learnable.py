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

#: Shares of the fit rows, the newest ones, that the points of the curve have learnt from.
SHARES = (0.25, 0.5, 0.75, 1.0)

Curve = tuple[tuple[int, float], ...]


def check_learnable(use_case: UseCase, choice: Choice, fit: pd.DataFrame, validation: pd.DataFrame) -> None:
    """Pass when the chosen candidate's validation loss is below that of the base rates.

    A model that is no better than the shares of the classes, or the mean, on the newest rows but the holdout has not
    learnt what happens there, and the gate would reject it. Then, and only then, a learning curve is fitted, to say
    how many more rows it would take.

    Raises
    ------
    InsufficientData
        It is not; the message says how many rows are missing by the curve, or that none are foreseen to help.
    """
    loss = choice.result.loss.value
    labels, metric = validation["label"].to_numpy(), LOSSES[use_case.gate.metric]
    base = float(metric(labels, forecast_base_rates(fit, validation, use_case), use_case.answers).mean())
    if loss is None or loss < base:
        return
    curve = learning_curve(use_case, choice, fit, validation)
    missing = rows_until(curve, base)
    told = "no number of rows is foreseen to change that" if missing is None else f"about {missing:,} more are needed"
    raise InsufficientData(
        f"what happens now cannot be learnt from {len(fit):,} rows yet; {told}",
        where=f"{use_case.name}: {choice.chosen} on validation",
        got=f"{use_case.gate.metric} {loss:.4f}",
        allowed=f"below {base:.4f}, that of the base rates",
    )


def learning_curve(use_case: UseCase, choice: Choice, fit: pd.DataFrame, validation: pd.DataFrame) -> Curve:
    """Validation loss of the chosen candidate by how many of the newest fit rows it has learnt from, fewest first.

    Shares that lack a class are left out.
    """
    settings = settled(use_case, choice.result)
    labels, metric = validation["label"].to_numpy(), LOSSES[use_case.gate.metric]
    found = []
    for share in SHARES:
        rows = fit.iloc[len(fit) - max(int(share * len(fit)), 1) :]
        if not use_case.regression and len(set(rows["label"])) < len(use_case.answers):
            continue
        pipeline, _ = fit_pipeline(settings, choice.chosen, rows)
        told = answer_of(pipeline, use_case)(validation)
        found.append((len(rows), float(metric(labels, told, use_case.answers).mean())))
    return tuple(found)


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
