"""Codes of the scoring service, one table: what each means and which HTTP status carries it."""

from __future__ import annotations

from enum import IntEnum


class Code(IntEnum):
    """Code of an answer or a refusal; ``OK`` is an answer."""

    OK = 0
    MALFORMED = 100
    ARTIFACT_NOT_FOUND = 101
    ARTIFACT_CORRUPT = 102
    NOT_ALLOWED = 103
    OVERLOADED = 104
    VALUE_NOT_FOUND = 201
    VALUE_OUT_OF_BOUNDS = 202
    UNKNOWN_CATEGORY = 203
    OUT_OF_DISTRIBUTION = 204
    PREPROCESSING_FAILED = 301
    INFERENCE_FAILED = 401
    CAPTURE_FAILED = 501
    RELEASE_REFUSED = 601


#: code: (title, HTTP status when the whole request is refused)
CODES: dict[Code, tuple[str, int]] = {
    Code.MALFORMED: ("request is not understood", 400),
    Code.ARTIFACT_NOT_FOUND: ("no model is released for this use case", 503),
    Code.ARTIFACT_CORRUPT: ("artifact does not match its digest", 503),
    Code.NOT_ALLOWED: ("key is missing or does not allow this", 401),
    Code.OVERLOADED: ("too many requests at once", 503),
    Code.VALUE_NOT_FOUND: ("value is missing or of the wrong type", 422),
    Code.VALUE_OUT_OF_BOUNDS: ("value is out of bounds", 422),
    Code.UNKNOWN_CATEGORY: ("category is not known", 422),
    Code.OUT_OF_DISTRIBUTION: ("row is unlike the training data", 422),
    Code.PREPROCESSING_FAILED: ("preprocessing failed", 500),
    Code.INFERENCE_FAILED: ("inference failed", 500),
    Code.CAPTURE_FAILED: ("the answer could not be recorded", 503),
    Code.RELEASE_REFUSED: ("the release was refused", 503),
}


def code_name(code: int) -> str:
    """Name of a code's events.

    Raises
    ------
    ValueError
        There is no such code.

    Examples
    --------
    >>> code_name(401)
    'inference_failed'
    """
    return Code(code).name.lower()
