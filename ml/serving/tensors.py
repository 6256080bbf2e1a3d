"""Tensors of the Open Inference Protocol V2: values as JSON, or as little-endian bytes behind it."""

from __future__ import annotations

import math
import struct
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ml.records.codes import Code
from ml.serving.body import MAX_ROWS
from ml.serving.limits import Column
from ml.serving.problem import RequestRefused

#: NumPy's type of a datatype; BYTES has a length of its own before each value.
NUMERIC = {
    "BOOL": "<u1",
    "UINT8": "<u1",
    "UINT16": "<u2",
    "UINT32": "<u4",
    "UINT64": "<u8",
    "INT8": "<i1",
    "INT16": "<i2",
    "INT32": "<i4",
    "INT64": "<i8",
    "FP16": "<f2",
    "FP32": "<f4",
    "FP64": "<f8",
}
DATATYPES = (*NUMERIC, "BYTES")


def read_tensor(given: Any, binary: bytes | None) -> tuple[str, Column]:
    """Name and values of an input: one per row, or several per row when it has two dimensions.

    Numbers that came as bytes stay an array; nothing is parsed of them.

    Parameters
    ----------
    given
        ``{"name", "shape", "datatype", "data"?}``.
    binary
        Its bytes when it has no ``data``.

    Raises
    ------
    RequestRefused
        It is no such tensor (400), or has too many rows (413).
    """
    name, datatype, shape = given.get("name"), given.get("datatype"), given.get("shape")
    if not isinstance(name, str) or datatype not in DATATYPES:
        raise _wrong(name, f"name must be a text and datatype one of {', '.join(DATATYPES)}")
    if not _is_shape(shape):
        raise _wrong(name, "shape must be one or two whole numbers, the first of them the number of rows")
    if shape[0] > MAX_ROWS:
        raise RequestRefused(Code.MALFORMED, f"{shape[0]} rows; allowed: 1 to {MAX_ROWS}", status=413)
    values = _flat(given.get("data"), name) if binary is None else _unpack(binary, datatype, name)
    if len(values) != math.prod(shape):
        raise _wrong(name, f"shape {shape} needs {math.prod(shape)} values, got {len(values)}")
    if len(shape) == 1:
        return name, values
    if isinstance(values, np.ndarray):
        return name, values.reshape(shape)
    width = shape[1]
    return name, [values[i * width : (i + 1) * width] for i in range(shape[0])]


def _is_shape(shape: Any) -> bool:
    sizes = isinstance(shape, list) and all(type(size) is int and 0 < size < 2**31 for size in shape)
    return sizes and len(shape) in {1, 2}


def _flat(data: Any, name: str) -> list[Any]:
    """Values in order; the protocol leaves it open whether they are nested."""
    if not isinstance(data, list):
        raise _wrong(name, "data must be a list, or parameters.binary_data_size the number of its bytes")
    if data and all(isinstance(value, list) for value in data):
        data = [cell for value in data for cell in value]
    values: list[Any] = data
    return values


def _unpack(binary: bytes, datatype: str, name: str) -> Column:
    if datatype == "BYTES":
        return _texts(binary, name)
    kind = np.dtype(NUMERIC[datatype])
    if len(binary) % kind.itemsize:
        raise _wrong(name, f"{len(binary)} bytes are no whole number of {datatype}")
    return np.frombuffer(binary, kind)


def _texts(binary: bytes, name: str) -> list[Any]:
    texts, at = [], 0
    while at < len(binary):
        length = int.from_bytes(binary[at : at + 4], "little")
        end = at + 4 + length
        if end > len(binary) or at + 4 > len(binary):
            raise _wrong(name, "a length of BYTES goes beyond the end")
        try:
            texts.append(binary[at + 4 : end].decode("utf-8"))
        except UnicodeDecodeError as error:
            raise _wrong(name, "BYTES must be UTF-8") from error
        at = end
    return texts


def pack(values: Sequence[Any] | NDArray[Any], datatype: str) -> bytes:
    """Bytes of values."""
    if datatype != "BYTES":
        return np.asarray(values, NUMERIC[datatype]).tobytes()
    encoded = [text.encode() for text in values]
    return b"".join(struct.pack("<I", len(text)) + text for text in encoded)


def _wrong(name: Any, detail: str) -> RequestRefused:
    return RequestRefused(Code.MALFORMED, f"input {str(name)[:100]}: {detail}")
