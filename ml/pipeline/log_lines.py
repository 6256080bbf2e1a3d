"""Error lines of a log, and what they have in common with others: numbers, names and times become places; pure.

Three forms of lines are read: JSON as Airflow's tasks write it, the console form of structlog, and Python's plain
logging; of a traceback the last line counts, which names the exception.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

_BAD_LEVELS = {"error", "critical", "exception", "fatal"}

_CONSOLE = re.compile(r"^\S+[T ]\S+ \[(?P<level>\w+) *\] (?P<event>.*?)(?: +\[[\w.]+\](?: \S+=.*)?)?$")
_PLAIN = re.compile(
    r"^(?:\[?\d{4}[-/]\d\d[-/]\d\d[T ][\d:.,]+\S*\]? )?(?:\S+ - )?(?P<level>ERROR|CRITICAL|FATAL)\b[: -]*(?P<event>.*)$"
)
_TRACEBACK = "Traceback (most recent call last):"
_EXCEPTION = re.compile(
    r"^[A-Za-z_][\w.]*(?:Error|Exception|Warning|Exit|Interrupt|Away|Fault)\b.*|^[A-Za-z_][\w.]*: .+"
)

#: What differs between lines that are alike, and what stands for it; in this order.
_PLACES = (
    (re.compile(r"(?i)\b(password|passwd|secret|token|api[_-]?key|authorization)(\W{1,4})\S+"), r"\1\2<secret>"),
    (re.compile(r"\b[a-z][a-z0-9+.-]*://[^\s'\"<>]+"), "<url>"),
    (re.compile(r"\b[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}\b"), "<id>"),
    (re.compile(r"\b(?:manual|scheduled|asset_triggered|backfill|alert)__[\w:.+-]+"), "<run>"),
    (re.compile(r"\b\d{4}-\d\d-\d\d(?:[T ]\d\d:?\d\d(?::?\d\d(?:[.,]\d+)?)?(?:Z|[+-]\d\d:?\d\d)?)?"), "<time>"),
    (re.compile(r"(?<![\w.])/[\w.@=+:%-]+(?:/[\w.@=+:%-]*)+"), "<path>"),
    (re.compile(r"\b0x[0-9a-fA-F]+\b"), "<id>"),
    (re.compile(r"\b(?=[0-9a-fA-F]*\d)(?=[0-9a-fA-F]*[a-fA-F])[0-9a-fA-F]{8,}\b"), "<id>"),
    (re.compile(r"(?<![A-Za-z_])[-+]?\d+(?:\.\d+)*(?:[eE][-+]?\d+)?"), "<n>"),
)
_LONGEST = 300


@dataclass(frozen=True)
class ErrorLine:
    """One error of a log, its text in one line."""

    text: str
    template: str


@dataclass(frozen=True)
class Reading:
    """Errors of a piece of log.

    Attributes
    ----------
    lines
        How many of the given lines are done with; a traceback that has not ended is read again next time.
    """

    errors: tuple[ErrorLine, ...]
    lines: int


def read_errors(lines: Iterable[str]) -> Reading:
    """Errors of a log's lines, in order.

    Examples
    --------
    >>> reading = read_errors(["2026-01-05 12:00:00,123 ERROR ml.serving disk 7 is full", "all well"])
    >>> [error.template for error in reading.errors]
    ['ml.serving disk <n> is full']
    """
    found: list[ErrorLine] = []
    begun = number = 0
    inside = False
    for number, line in enumerate(lines, start=1):
        if inside:
            if (inside := _goes_on(line)) or not _EXCEPTION.match(line):
                continue
            found.append(_error(line))
        elif line.startswith(_TRACEBACK):
            inside, begun = True, number
        elif text := _error_text(line):
            found.append(_error(text))
    return Reading(tuple(found), begun - 1 if inside else number)


def template_of(text: str) -> str:
    """What a line has in common with others of its kind; secrets are left out.

    Examples
    --------
    >>> template_of("run manual__2026-01-05T12:00:00+00:00_ab12 of 3f1e6c282b1f took 12.5 s, see /var/log/a.log")
    'run <run> of <id> took <n> s, see <path>'
    """
    for pattern, place in _PLACES:
        text = pattern.sub(place, text)
    return " ".join(text.split())[:_LONGEST]


def hide_secrets(text: str) -> str:
    """Text in one line, without what looks like a secret."""
    pattern, place = _PLACES[0]
    return " ".join(pattern.sub(place, text).split())[:_LONGEST]


def _goes_on(line: str) -> bool:
    """Whether a traceback has not come to its exception: frames are indented, chains are named in between."""
    return not line.strip() or line[:1].isspace() or line.startswith((_TRACEBACK, "During handling", "The above"))


def _error_text(line: str) -> str:
    """Text of an error line; empty for any other."""
    if line.startswith("{"):
        return _json_text(line)
    if console := _CONSOLE.match(line):
        return console["event"] if console["level"].lower() in _BAD_LEVELS else ""
    plain = _PLAIN.match(line)
    return plain["event"] if plain else ""


def _json_text(line: str) -> str:
    try:
        entry = json.loads(line)
    except ValueError:
        return ""
    if not isinstance(entry, dict) or str(entry.get("level", "")).lower() not in _BAD_LEVELS:
        return ""
    return _exception_text(entry.get("error_detail")) or str(entry.get("event", ""))


def _exception_text(detail: Any) -> str:
    """The exception of Airflow's structured traceback, the outermost of a chain."""
    first = detail[0] if isinstance(detail, list) and detail else None
    return f"{first.get('exc_type', '')}: {first.get('exc_value', '')}" if isinstance(first, dict) else ""


def _error(text: str) -> ErrorLine:
    return ErrorLine(hide_secrets(text), template_of(text))
