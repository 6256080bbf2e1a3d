"""Fit, validation and holdout: a training set cut by time, with a gap so that no truth is shared."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

import pandas as pd

from ml.records.measure import Window
from ml.use_case import UseCase

PARTS = ("fit", "validation", "holdout")


@dataclass(frozen=True)
class Split:
    """Where the parts of a training set lie; oldest first, nothing overlaps."""

    fit: Window
    validation: Window
    holdout: Window


def split_by_time(use_case: UseCase, *, start: datetime, end: datetime) -> Split | None:
    """Newest ``training.holdout``, before it ``training.validation``, before that everything from ``start`` on.

    Between two parts lies a gap of ``target.horizon``: the truth of a part's last row is a moment before the next part
    begins. With strategy ``sliding_window``, fit and validation together are no longer than that.

    Returns
    -------
    Split or None
        None when nothing is left to fit on.

    Examples
    --------
    >>> from pathlib import Path
    >>> from ml.use_case import load
    >>> harbour = load(Path("use_cases/harbour_weather.yaml"))
    >>> split = split_by_time(harbour, start=datetime(2013, 1, 1), end=datetime(2013, 3, 1))
    >>> print(split.fit.end, split.validation.end, split.holdout.start, sep=", ")
    2013-02-07 23:00:00+00:00, 2013-02-21 23:00:00+00:00, 2013-02-22 00:00:00+00:00
    """
    training, gap = use_case.training, use_case.target.horizon
    holdout = Window(start=end - training.holdout, end=end)
    validation = Window(start=holdout.start - training.validation, end=holdout.start - gap)
    if training.sliding_window is not None:
        oldest = holdout.start - training.sliding_window
        start = max(Window(start=start, end=end).start, oldest)
    fit_end = validation.start - gap
    if Window(start=start, end=end).start >= fit_end:
        return None
    return Split(fit=Window(start=start, end=fit_end), validation=validation, holdout=holdout)


def assign_parts(frame: pd.DataFrame, split: Split) -> pd.DataFrame:
    """Rows of the three parts with a column ``part``; rows in the gaps and outside are left out."""
    parts = pd.Series("", index=frame.index, dtype=object)
    for name in PARTS:
        window: Window = getattr(split, name)
        parts[(frame["event_time"] >= window.start) & (frame["event_time"] < window.end)] = name
    return frame.assign(part=parts)[parts != ""]


def rows_of(frame: pd.DataFrame, *parts: str) -> pd.DataFrame:
    """Rows of some parts, ordered by event time and id: models depend on the order of their rows."""
    return frame[frame["part"].isin(parts)].sort_values(["event_time", "id"], ignore_index=True)


def shortest_history(use_case: UseCase) -> timedelta:
    """Length of data below which :func:`split_by_time` leaves nothing to fit on."""
    return use_case.training.holdout + use_case.training.validation + use_case.target.horizon
