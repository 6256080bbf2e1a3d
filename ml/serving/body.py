"""JSON bodies: strict first, then as Python's own clients write JSON, so that what is wrong can be named."""

from __future__ import annotations

import json
from typing import Any, TypeVar

import msgspec

from ml.records.codes import Code
from ml.serving.problem import RequestRefused

T = TypeVar("T")

#: What msgspec raises about a body; text that is no UTF-8 is a ValueError.
NOT_READABLE = (msgspec.MsgspecError, ValueError, RecursionError)

#: Rows, or labels, of one request.
MAX_ROWS = 10_000
#: Longer ids would only fill the lake.
MAX_ID = 200


def read_json(body: bytes, kind: type[T]) -> T:
    """Content of a body, checked against a type.

    What is no clean JSON is read again: Python's ``json`` writes ``NaN`` and ``Infinity``, which JSON does not have,
    and numbers beyond any float. They are read here as floats, so that the row and the feature can be named instead of
    a byte position.

    Raises
    ------
    RequestRefused
        It is not JSON, or JSON of another shape: 400.
    """
    try:
        return msgspec.json.decode(body, type=kind)
    except NOT_READABLE:
        pass  # what is wrong with it, if anything, is said below
    try:
        content = _read_leniently(body.decode("utf-8"))
    except (ValueError, RecursionError) as error:
        raise RequestRefused(Code.MALFORMED, f"body is not JSON: {str(error)[:200]}") from error
    try:
        return msgspec.convert(content, kind)
    except msgspec.ValidationError as error:
        raise RequestRefused(Code.MALFORMED, str(error)[:500]) from error


def _read_leniently(text: str) -> Any:
    content = json.loads(text)
    if "\\u" in text:
        # Half of a surrogate pair is no text: nothing that is written later could hold it.
        json.dumps(content, ensure_ascii=False).encode()
    return content


def check_count(what: str, n: int) -> None:
    """Return when a request has a number of rows or labels that is taken.

    Raises
    ------
    RequestRefused
        None (422) or too many (413).
    """
    if n == 0:
        raise RequestRefused(Code.MALFORMED, f"{what} is empty; allowed: 1 to {MAX_ROWS}", status=422)
    if n > MAX_ROWS:
        raise RequestRefused(Code.MALFORMED, f"{what} has {n} entries; allowed: 1 to {MAX_ROWS}", status=413)
