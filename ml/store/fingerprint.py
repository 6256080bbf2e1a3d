"""Fingerprints of frames: the same content has the same one, however it is stored."""

from __future__ import annotations

import hashlib
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ml.errors import DataError

#: Whole numbers up to here are exact as float64.
_EXACT = 2**53


def fingerprint(frame: pd.DataFrame) -> str:
    """SHA-256 of a frame's content, 64 hex digits.

    It does not depend on the order of rows or columns, on the index, or on how a value is stored (int or float, text
    type, unit of a time); it depends on every value, how often each row occurs, the names of the columns and whether
    a column holds numbers, booleans, text or times. All missing values are one; -0.0 is 0.0. Times count to the
    microsecond, naive ones as UTC.

    Raises
    ------
    DataError
        A column holds something else, or two columns have one name.

    Examples
    --------
    >>> rows = pd.DataFrame({"a": [1, 2]})
    >>> fingerprint(rows) == fingerprint(rows.iloc[::-1].astype(float))
    True
    """
    names = sorted(map(str, frame.columns))
    if len(set(names)) < len(names):
        raise DataError("two columns have one name", where="fingerprint", got=", ".join(names))
    columns = [_canonical(frame[name], name) for name in names]
    header = "\x1f".join(f"{name}\x1e{kind}" for name, (kind, _) in zip(names, columns, strict=True))
    rows = [b"".join(cells) for cells in zip(*(cells for _, cells in columns), strict=True)]
    digest = hashlib.sha256(f"{len(frame)}\x1d{header}\x1d".encode())
    for row in sorted(hashlib.sha256(row).digest() for row in rows):
        digest.update(row)
    return digest.hexdigest()


def _canonical(values: pd.Series, name: str) -> tuple[str, list[bytes]]:
    """Kind of a column and its cells as bytes; equal values give equal bytes, cells of a kind cannot run together."""
    if isinstance(values.dtype, pd.CategoricalDtype):
        values = values.astype(values.cat.categories.dtype)
    if pd.api.types.is_bool_dtype(values.dtype):
        return "boolean", _fixed(values.astype("boolean").astype("Int8").to_numpy(np.int64, na_value=-1), "<i8")
    if pd.api.types.is_numeric_dtype(values.dtype):
        return _numbers(values)
    if pd.api.types.is_datetime64_any_dtype(values.dtype):
        return "time", _times(values)
    return "text", _texts(values, name)


def _numbers(values: pd.Series) -> tuple[str, list[bytes]]:
    if pd.api.types.is_integer_dtype(values.dtype) and values.abs().max() > _EXACT:
        # Rare, and told apart by its own kind: rounding them would let two of them look alike.
        return "large integer", [b"" if pd.isna(value) else _framed(str(int(value))) for value in values]
    floats = values.to_numpy(dtype=np.float64, na_value=np.nan) + 0.0  # -0.0 + 0.0 is 0.0
    floats[np.isnan(floats)] = np.nan  # NaN has many bit patterns
    return "number", _fixed(floats, "<f8")


def _times(values: pd.Series) -> list[bytes]:
    utc = values.dt.tz_localize("UTC") if values.dt.tz is None else values.dt.tz_convert("UTC")
    return _fixed(utc.astype("datetime64[us, UTC]").astype("int64").to_numpy(), "<i8")


def _texts(values: pd.Series, name: str) -> list[bytes]:
    missing = values.isna().to_numpy()
    cells = []
    for value, absent in zip(values, missing, strict=True):
        if not (absent or isinstance(value, str)):
            raise DataError(
                "column cannot be fingerprinted",
                where=name,
                got=type(value).__name__,
                allowed="numbers, booleans, text, times",
            )
        cells.append(b"\x00" if absent else _framed(value))
    return cells


def _framed(text: str) -> bytes:
    encoded = text.encode("utf-8", "surrogatepass")
    return b"\x01" + len(encoded).to_bytes(8, "little") + encoded


def _fixed(values: NDArray[Any], layout: str) -> list[bytes]:
    """Eight bytes per value."""
    whole = np.ascontiguousarray(values, dtype=layout).tobytes()
    return [whole[start : start + 8] for start in range(0, len(whole), 8)]
