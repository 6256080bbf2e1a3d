"""The reference profile of a champion: its training rows, whole and cut into windows of the live window's length."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta

import pandas as pd

from ml.drift.profile import build_profile
from ml.errors import DataError
from ml.records.measure import Window
from ml.records.profile import ReferenceProfile
from ml.use_case import UseCase


def build_reference(frame: pd.DataFrame, use_case: UseCase, *, fingerprint: str) -> ReferenceProfile:
    """Reference profile of training rows.

    Parameters
    ----------
    frame
        Training rows with ``event_time`` (UTC) and the features.
    fingerprint
        Of the training data, for the record.

    Returns
    -------
    ReferenceProfile
        ``blocks`` are contiguous windows of ``monitoring.window`` from the newest row backwards, oldest first.
        The oldest, incomplete one is left out, as are blocks below ``monitoring.minimum_rows``.

    Raises
    ------
    DataError
        There are no rows, or a row has no event time.
    """
    if frame.empty or "event_time" not in frame.columns or frame["event_time"].isna().any():
        raise DataError("reference needs rows, each with an event time", where=use_case.name, got=f"{len(frame)} rows")
    hull = _hull(frame["event_time"])
    whole = build_profile(frame, use_case, window=hull)
    blocks = []
    for window in _windows_backwards(hull, use_case.monitoring.window):
        inside = frame[(frame["event_time"] >= window.start) & (frame["event_time"] < window.end)]
        if len(inside) >= use_case.monitoring.minimum_rows:
            blocks.append(build_profile(inside, use_case, window=window, edges=whole))
    return ReferenceProfile(
        use_case=use_case.name, whole=whole, blocks=tuple(reversed(blocks)), fingerprint=fingerprint
    )


def _hull(times: pd.Series) -> Window:
    """Window of all rows; it ends one usual spacing after the newest, so that a full window of hourly rows is whole."""
    distinct = times.drop_duplicates().sort_values()
    spacing = distinct.diff().median()
    if pd.isna(spacing):
        spacing = timedelta(microseconds=1)
    return Window(start=_moment(distinct.iloc[0]), end=_moment(distinct.iloc[-1] + spacing))


def _moment(stamp: pd.Timestamp) -> datetime:
    # Times are microseconds in the lake; a finer spacing must still move the end past the newest row.
    return stamp.ceil("us").to_pydatetime()


def _windows_backwards(hull: Window, length: timedelta) -> Iterator[Window]:
    end = hull.end
    while end - length >= hull.start:
        yield Window(start=end - length, end=end)
        end -= length
