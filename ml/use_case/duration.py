"""Durations as people write them in a use case file: ``"90m"``, ``"1h"``, ``"7d"``."""

from __future__ import annotations

import re
from datetime import timedelta
from typing import Annotated

from pydantic import BeforeValidator, PlainSerializer

_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days", "w": "weeks"}
_FORM = re.compile(r"(\d+(?:\.\d+)?)\s*([smhdw])")


def parse_duration(text: object) -> timedelta:
    """Duration of a text such as ``"7d"``; a timedelta passes through.

    Parameters
    ----------
    text
        A number and one unit of ``s m h d w``; never negative.

    Returns
    -------
    timedelta

    Raises
    ------
    ValueError
        The text has another form.

    Examples
    --------
    >>> parse_duration("90m")
    datetime.timedelta(seconds=5400)
    """
    if isinstance(text, timedelta):
        return text
    match = _FORM.fullmatch(text.strip()) if isinstance(text, str) else None
    if match is None:
        raise ValueError(f"must be a number with a unit of s, m, h, d or w, such as 7d; got {text!r}")
    try:
        return timedelta(**{_UNITS[match[2]]: float(match[1])})
    except OverflowError as error:
        raise ValueError(f"must be at most {timedelta.max.days} days, such as 7d; got {text!r}") from error


def format_duration(duration: timedelta) -> str:
    """Shortest text that :func:`parse_duration` reads back as the same duration.

    Examples
    --------
    >>> format_duration(timedelta(days=14)), format_duration(timedelta(minutes=90))
    ('14d', '90m')
    """
    seconds = duration.total_seconds()
    for unit, size in (("d", 86400), ("h", 3600), ("m", 60)):
        if seconds >= size and seconds % size == 0:
            return f"{int(seconds // size)}{unit}"
    return f"{seconds:f}".rstrip("0").rstrip(".") + "s"


Duration = Annotated[timedelta, BeforeValidator(parse_duration), PlainSerializer(format_duration)]
