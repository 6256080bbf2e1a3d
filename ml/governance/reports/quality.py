"""How good a model's answers are on rows whose truth is known: loss, calibration, slices, each with its interval."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ml.evaluation.metrics import LOSSES
from ml.evaluation.reliability import reliability_curve
from ml.governance.reports.distributions import draw_number
from ml.governance.reports.small_cells import keep_back
from ml.records.measure import Estimate
from ml.records.report import Bars, BarSide, Line, Lines, Shapes
from ml.training.serial_interval import mean_in_time
from ml.use_case import UseCase

Floats = NDArray[np.float64]
#: One-sided; a two-sided interval of 90 %.
LEVEL = 0.05
_BINS = 10
_SHOWN = 40


def losses_of(rows: pd.DataFrame, answers: Floats, use_case: UseCase, metric: str | None = None) -> Floats:
    """Loss per row by a metric, the gate's where none is named; lower is better."""
    return LOSSES[metric or use_case.gate.metric](rows["label"].to_numpy(), answers, use_case.answers)


def mean_of(values: Floats, times: Any, limit: int) -> Estimate:
    """Mean loss with an interval that knows how long neighbours in time resemble each other; none of few rows."""
    if len(values) < limit:
        return Estimate(value=None, n=len(values), detail=f"fewer than {limit} rows")
    return _not_negative(mean_in_time(values, times).interval(LEVEL))


def _not_negative(found: Estimate) -> Estimate:
    """No loss is below 0, whatever an interval that is as wide to either side says."""
    return found if found.low is None else found.model_copy(update={"low": max(found.low, 0.0)})


def draw_answers(rows: pd.DataFrame, answers: Floats, use_case: UseCase, limit: int) -> Lines | Shapes:
    """Of a classification how often happened what was said; of a regression the errors."""
    if use_case.regression:
        errors = pd.Series(answers[:, 0] - rows["label"].to_numpy(dtype=np.float64))
        return draw_number({"errors": errors}, "Answer minus truth", use_case.target.unit or "unit", limit)
    return draw_calibration(rows, answers, use_case, limit)


def draw_calibration(rows: pd.DataFrame, answers: Floats, use_case: UseCase, limit: int) -> Lines:
    """Share of rows in which a class happened, against the probability that was said; of more than two every class."""
    positive = use_case.target.positive
    names = (positive or use_case.answers[-1],) if len(use_case.answers) == 2 else use_case.answers
    bins = min(_BINS, len(rows) // max(limit, 1))
    lines = tuple(_calibration_line(rows, name, answers[:, use_case.answers.index(name)], bins) for name in names)
    return Lines(
        title=f"Calibration: {', '.join(names)}",
        x_label="probability that was said (mean of the bin)",
        y_label="share in which it happened",
        diagonal=True,
        lines=lines,
        note="On the dotted line probabilities mean what they say. Bins hold equal numbers of rows; intervals 90 %.",
    )


def _calibration_line(rows: pd.DataFrame, name: str, said: Floats, bins: int) -> Line:
    happened = (rows["label"] == name).to_numpy(dtype=bool)
    found = reliability_curve(said, happened, rows["event_time"], bins=bins) if bins else ()
    return Line(
        name=name,
        x=tuple(one.said for one in found),
        y=tuple(one.happened.value for one in found),
        low=tuple(one.happened.low for one in found),
        high=tuple(one.happened.high for one in found),
        n=tuple(one.happened.n for one in found),
    )


def measure_slices(
    losses: Floats, times: Any, slices: Mapping[str, NDArray[np.bool_]], columns: Iterable[str], limit: int
) -> dict[str, Estimate | None]:
    """Mean loss of each slice; None for what is not shown: a slice of few rows, and one that would give it away.

    Parameters
    ----------
    columns
        That the slices are cut by: those of one column add up to all rows.
    """
    hidden: set[str] = set()
    for column in columns:
        hidden |= keep_back({name: int(mask.sum()) for name, mask in slices.items() if column in name}, limit)
    moments = pd.DatetimeIndex(times)
    return {
        name: None if name in hidden else _not_negative(mean_in_time(losses[mask], moments[mask]).interval(LEVEL))
        for name, mask in slices.items()
    }


def draw_slices(found: Mapping[str, Estimate | None], metric: str, n: int, limit: int) -> Bars:
    """Mean loss of each slice, the worst first; without those that are not shown."""
    known = {name: one for name, one in found.items() if one is not None and one.value is not None}
    order = sorted(known, key=lambda name: (-(known[name].value or 0.0), name))[:_SHOWN]
    side = BarSide(
        name="all slices",
        values=tuple(known[name].value for name in order),
        low=tuple(known[name].low for name in order),
        high=tuple(known[name].high for name in order),
        n=n,
    )
    hidden = len(found) - len(known)
    note = (
        f"Mean with 90 % interval, worst first. {hidden} slices are not shown: fewer than {limit} rows, or beside one."
    )
    note += f" The worst {_SHOWN} of {len(known)}." if len(known) > _SHOWN else ""
    names = tuple(f"{name} (n {known[name].n:,})" for name in order)
    return Bars(title="Loss by slice", unit=f"{metric}, lower is better", names=names, sides=(side,), note=note)
