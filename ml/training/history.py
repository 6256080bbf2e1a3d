"""The data file of a use case: its older rows are the training history, its newer ones can be replayed as traffic."""

from __future__ import annotations

from itertools import compress
from pathlib import Path

import numpy as np
import pandas as pd

from ml.errors import DataError
from ml.records.measure import Window
from ml.training.screen import screen_rows
from ml.training.source import read_source
from ml.use_case import UseCase


def load_history(use_case: UseCase, home: Path) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Rows of the data file before ``training.history.until``, good ones and those set aside.

    Parameters
    ----------
    home
        Folder that the file's path is relative to.

    Returns
    -------
    rows : pandas.DataFrame
        ``id`` (entity values and ISO 8601 time joined by ``|``), ``event_time`` (UTC), the features and ``label``
        (class name), ordered by event time and id.
    quarantined : pandas.DataFrame
        The same columns and ``reason``: a value out of its range, missing where it may not be, an unknown category
        or class, something unreadable, or an id that an earlier row has.

    Raises
    ------
    DataError
        The file cannot be read, has no rows or lacks a column, a time is unreadable, or no row is usable.
    """
    rows, unread = read_source(use_case, home)
    until = use_case.training.history.until
    early = np.ones(len(rows), dtype=bool) if until is None else (rows["event_time"] < until).to_numpy()
    rows, unread = rows[early].reset_index(drop=True), list(compress(unread, early))
    reasons = _join(unread, screen_rows(rows, use_case), _repeated(rows))
    bad = (reasons != "").to_numpy()
    if bad.all():
        first = f", the first one refused: {reasons.iloc[0]}" if len(rows) else ""
        raise DataError(
            "history has no usable row",
            where=f"training.history: {home / use_case.training.history.file}",
            got=f"{len(rows)} rows before {until or 'any time'}{first}",
            allowed="at least one row within the ranges and classes of the use case file",
        )
    return _in_order(rows[~bad]), _in_order(rows[bad].assign(reason=reasons[bad]))


def load_stream(use_case: UseCase, home: Path, window: Window) -> pd.DataFrame:
    """Rows of the data file within a window as they are, bad values included, to be replayed as live traffic.

    Returns
    -------
    pandas.DataFrame
        Columns as in :func:`load_history`; what is unreadable is missing, an unknown class is None.

    Raises
    ------
    DataError
        The file cannot be read, has no rows or lacks a column, or a time is unreadable.
    """
    rows, _ = read_source(use_case, home)
    inside = (rows["event_time"] >= window.start) & (rows["event_time"] < window.end)
    return _in_order(rows[inside])


def _repeated(rows: pd.DataFrame) -> list[str]:
    again = rows["id"].duplicated()
    return [f"id: {name} occurred before" if known else "" for name, known in zip(rows["id"], again, strict=True)]


def _join(*reasons: list[str]) -> pd.Series:
    return pd.Series(["; ".join(filter(None, found)) for found in zip(*reasons, strict=True)], dtype=object)


def _in_order(rows: pd.DataFrame) -> pd.DataFrame:
    return rows.sort_values(["event_time", "id"], ignore_index=True)
