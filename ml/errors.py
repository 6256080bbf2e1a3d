"""The errors of Perennial, one tree.

::

    PerennialError                exit 1   an answer that could not be given
    ├── InputError                exit 2   the caller can mend it: a file, an option, a value
    │   ├── UseCaseError          exit 2   a use case file; lists every problem with its dotted path
    │   ├── DataError             exit 2   a data file or frame
    │   └── StackError            exit 2   a port in use, a folder that cannot be written
    ├── ServiceAway               exit 3   a needed service does not answer
    └── ConflictError             exit 1   somebody else holds the lease or moved the state meanwhile

A message says what is wrong, where, what was found and what is allowed, in that order.
Transport codes (HTTP, exit codes) are mapped at the edges, from these classes.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar


class PerennialError(Exception):
    """An error that names what is wrong, where, what was found and what is allowed.

    Parameters
    ----------
    what
        The fact, in a few words: ``"port is in use"``.
    where
        File with dotted path, column, service, setting.
    got
        What was found there.
    allowed
        What would have been accepted, or what to do.

    Examples
    --------
    >>> str(PerennialError("port is in use", where="scoring_port", got="8000", allowed="a free port"))
    'port is in use; where: scoring_port; got: 8000; allowed: a free port'
    """

    exit_code: ClassVar[int] = 1

    def __init__(self, what: str, *, where: str = "", got: str = "", allowed: str = "") -> None:
        self.what, self.where, self.got, self.allowed = what, where, got, allowed
        parts = [what]
        parts += [f"{name}: {text}" for name, text in (("where", where), ("got", got), ("allowed", allowed)) if text]
        super().__init__("; ".join(parts))


class InputError(PerennialError):
    """Input that the caller can mend."""

    exit_code = 2


class DataError(InputError):
    """A data file or frame that cannot be used as it is."""


class StackError(InputError):
    """The local stack cannot run here as configured: a port, a folder, a tool."""


class ServiceAway(PerennialError):  # noqa: N818 - named after the fact, like TimeoutError's siblings
    """A service that is needed does not answer."""

    exit_code = 3


class ConflictError(PerennialError):
    """Another run holds the lease, or moved the state in the meantime."""


@dataclass(frozen=True)
class Problem:
    """One thing wrong in a file.

    Attributes
    ----------
    path
        Dotted path inside the file, ``"features.0.type"``.
    message
        What was found there and what is allowed.
    """

    path: str
    message: str


class UseCaseError(InputError):
    """A use case file with one or more problems, all of them listed."""

    def __init__(self, file: str, problems: tuple[Problem, ...]) -> None:
        self.file, self.problems = file, problems
        lines = "".join(f"\n  {p.path}: {p.message}" for p in problems)
        super().__init__(f"use case file has {len(problems)} problem(s)", where=file, got=lines)
