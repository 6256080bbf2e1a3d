"""A rejected challenger meets the champion again, on all rows that have become known since it was trained."""

from __future__ import annotations

from datetime import timedelta

import pandas as pd

from ml.records.measure import Window
from ml.training.parts import rows_of


def meet_again(trained: pd.DataFrame, known: pd.DataFrame, horizon: timedelta) -> tuple[pd.DataFrame, Window]:
    """Rows that a rejected challenger was trained on, and as its holdout all newer ones of a later training set.

    A week proves little: most challengers that are better fail for lack of proof. By the next retraining the rejected
    one has been right or wrong on more rows, which neither it nor the champion was trained on.

    Parameters
    ----------
    trained
        Rows of the training set that made the challenger, with ``part``.
    known
        Rows of a newer training set.
    horizon
        Distance between what was trained on and the holdout, ``target.horizon``.

    Returns
    -------
    frame, holdout
        As :func:`ml.evaluation.evidence.collect_evidence` takes them.

    Examples
    --------
    >>> days = pd.date_range("2013-03-01", periods=4, tz="UTC")
    >>> parts = {"id": list("abcd"), "event_time": days, "part": ["fit", "fit", "validation", "holdout"]}
    >>> newer = pd.DataFrame({"id": list("cdef"), "event_time": days + timedelta(days=2), "part": "fit"})
    >>> frame, holdout = meet_again(pd.DataFrame(parts), newer, timedelta(hours=1))
    >>> list(frame["id"]), list(frame["part"]), holdout.start.date().isoformat()
    (['a', 'b', 'c', 'd', 'e', 'f'], ['fit', 'fit', 'validation', 'holdout', 'holdout', 'holdout'], '2013-03-04')
    """
    learnt = rows_of(trained, "fit", "validation")
    newer = known[known["event_time"] > learnt["event_time"].max() + horizon].assign(part="holdout")
    moments = newer["event_time"]
    holdout = Window(start=moments.min().to_pydatetime(), end=moments.max().to_pydatetime() + timedelta(microseconds=1))
    return pd.concat([learnt, newer], ignore_index=True), holdout
