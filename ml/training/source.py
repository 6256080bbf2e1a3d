"""A CSV or Parquet file as typed rows; what cannot be read in a row is told beside it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ml.errors import DataError
from ml.training.class_names import read_labels
from ml.use_case import UseCase, check_source

_MISSING = frozenset({"", "na", "n/a", "nan", "null", "none", "<na>", "nat"})
_BOOLEANS = {"true": 1.0, "false": 0.0, "1": 1.0, "0": 0.0, "1.0": 1.0, "0.0": 0.0}


def read_source(use_case: UseCase, home: Path) -> tuple[pd.DataFrame, list[str]]:
    """Rows of the data file in its own order, and for each what of it could not be read.

    Returns
    -------
    rows : pandas.DataFrame
        ``id``, ``event_time`` (UTC), the features (numbers and booleans as float64, categories as text, missing ones
        NaN and None) and ``label`` (class name or number, missing where the value is none).
    unread : list of str
        Per row; empty where everything could be read.

    Raises
    ------
    DataError
        The file cannot be read, has no rows or lacks a column, or a time is unreadable.
    """
    raw = _read_file(use_case, home)
    times = _times(raw[use_case.time_column], f"time_column {use_case.time_column!r}: {_path(use_case, home)}")
    columns: dict[str, Any] = {"id": _ids(raw, times, use_case.entity_columns), "event_time": times}
    unread = [""] * len(raw)
    for name, feature in use_case.features.items():
        if feature.type == "category":
            columns[name] = pd.Series(_texts(raw[name]), dtype=object)
            continue
        columns[name], wrong = _booleans(raw[name]) if feature.type == "boolean" else _numbers(raw[name])
        for row in np.flatnonzero(wrong):
            unread[row] += f"{'; ' if unread[row] else ''}{name}: {raw[name].iloc[row]!r} is no {feature.type}"
    columns["label"] = read_labels(raw[use_case.target.column].tolist(), use_case)
    return pd.DataFrame(columns), unread


def read_targets(use_case: UseCase, home: Path) -> pd.Series:
    """Target column of the data file as it stands there; errors are those of :func:`read_source`."""
    return _read_file(use_case, home)[use_case.target.column]


def _read_file(use_case: UseCase, home: Path) -> pd.DataFrame:
    """Wanted columns of the file; a CSV's as text, so that nothing is guessed."""
    path, where = _path(use_case, home), f"training.history.file: {_path(use_case, home)}"
    try:
        problems = check_source(use_case, home)
        if problems:
            raise DataError(
                "data file lacks a column", where=where, got="; ".join(f"{p.path}: {p.message}" for p in problems)
            )
        wanted = [use_case.time_column, *use_case.entity_columns, *use_case.features, use_case.target.column]
        wanted = list(dict.fromkeys(wanted))
        raw = (
            pd.read_parquet(path, columns=wanted).reset_index(drop=True)  # rows belong together by place
            if path.suffix == ".parquet"
            # All columns, then a selection: with usecols, pandas lets a row with too many fields pass.
            else pd.read_csv(path, dtype=str, keep_default_na=False)[wanted]
        )
    except (OSError, ValueError) as error:  # what pandas and Arrow raise for a damaged file are ValueErrors
        raise DataError("data file cannot be read", where=where, got=f"{type(error).__name__}: {error}") from error
    if raw.empty:
        raise DataError("data file has no rows", where=where, got="0 rows", allowed="at least one")
    return raw


def _path(use_case: UseCase, home: Path) -> Path:
    return home / use_case.training.history.file


def _times(raw: pd.Series, where: str) -> pd.Series:
    times = pd.to_datetime(raw, utc=True, errors="coerce", format="ISO8601").astype("datetime64[us, UTC]")
    bad = np.flatnonzero(times.isna())
    if len(bad):
        raise DataError(
            "time is unreadable",
            where=where,
            got=f"{len(bad)} of {len(raw)} rows, the first is row {bad[0] + 1}: {raw.iloc[bad[0]]!r}",
            allowed="ISO 8601, such as 2013-01-01T06:00Z; without a zone it is UTC",
        )
    return times


def _ids(raw: pd.DataFrame, times: pd.Series, entities: tuple[str, ...]) -> list[str]:
    moments = {moment: moment.isoformat() for moment in times.unique()}
    parts = [raw[name].astype(str) for name in entities] + [times.map(moments)]
    return ["|".join(row) for row in zip(*parts, strict=True)]


def is_missing(raw: pd.Series) -> NDArray[np.bool_]:
    """Which values of a file's column stand for none: empty ones and words such as ``NA``."""
    missing: NDArray[np.bool_] = (raw.isna() | raw.astype(str).str.strip().str.lower().isin(_MISSING)).to_numpy(bool)
    return missing


def _numbers(raw: pd.Series) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Numbers with NaN for missing and unreadable ones, and which are unreadable or infinite."""
    values = pd.to_numeric(raw, errors="coerce").to_numpy(dtype=np.float64, na_value=np.nan).copy()
    values[~np.isfinite(values)] = np.nan
    return values, np.isnan(values) & ~is_missing(raw)


def _booleans(raw: pd.Series) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    words = raw.astype(str).str.strip().str.lower()
    values = np.array([_BOOLEANS.get(word, np.nan) for word in words], dtype=np.float64)
    return values, np.isnan(values) & ~is_missing(raw)


def _texts(raw: pd.Series) -> list[str | None]:
    """Texts with None for missing ones; only nothing at all is missing, "NA" may be a category."""
    return [None if absent or value == "" else str(value) for value, absent in zip(raw, raw.isna(), strict=True)]
