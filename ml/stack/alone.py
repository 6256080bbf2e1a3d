"""One process at a time: a lock on a file, which dies with its holder."""

from __future__ import annotations

import fcntl
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from ml.errors import StackError


@contextmanager
def alone(path: Path, when_held: Callable[[], None]) -> Iterator[None]:
    """While no other process holds the lock of a file; the file itself stays.

    Parameters
    ----------
    when_held
        Called when another process holds the lock, before waiting for it; it may raise instead.

    Raises
    ------
    StackError
        The file cannot be made.
    """
    with _open(path) as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            when_held()
            fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _open(path: Path) -> IO[str]:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        return path.open("w")
    except OSError as error:
        got = f"{path}: {error.strerror}"
        raise StackError(
            "folder cannot be written", where="PERENNIAL_VAR", got=got, allowed="a writable one"
        ) from error
