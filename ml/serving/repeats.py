"""The same trouble again and again: the log has it at once, and then once a period with how often it has happened."""

from __future__ import annotations

import logging
import threading
import time
from dataclasses import dataclass

#: Between two lines about the same trouble of the same use case, seconds.
PERIOD_SECONDS = 10.0


@dataclass
class _Said:
    """When a trouble was said, and what has come since."""

    at: float
    told: str = ""
    error: BaseException | None = None
    count: int = 0


class Repeats:
    """Bounds what the log says of a trouble that each request may meet; every time is in the count of one line.

    Parameters
    ----------
    log
        Logger that it is said by, as an error: ``what: use_case=... count=...`` and what was told last.
    what
        A few words: ``"capture failed"``.
    """

    def __init__(self, log: logging.Logger, what: str) -> None:
        self._log, self._what = log, what
        self._said: dict[str, _Said] = {}
        self._lock = threading.Lock()
        _ALL.append(self)

    def note(self, use_case: str, told: str = "", error: BaseException | None = None) -> None:
        """Say it now, or count it when it was said a moment ago.

        Parameters
        ----------
        error
            Whose trace the line has.
        """
        with self._lock:
            said = self._said.get(use_case)
            if said is not None:
                said.told, said.error, said.count = told, error, said.count + 1
                return
            self._said[use_case] = _Said(time.monotonic())
        self._say(use_case, told, error, 1)

    def say(self, now: float) -> None:
        """Say what has waited for a period, by ``time.monotonic``."""
        with self._lock:
            due = {name: said for name, said in self._said.items() if now - said.at >= PERIOD_SECONDS}
            for name, said in due.items():
                del self._said[name]
                if said.count and now != float("inf"):
                    self._said[name] = _Said(now)
        for name, said in due.items():
            if said.count:
                self._say(name, said.told, said.error, said.count)

    def _say(self, use_case: str, told: str, error: BaseException | None, count: int) -> None:
        self._log.error("%s: use_case=%s count=%d %s", self._what, use_case, count, told, exc_info=error)


_ALL: list[Repeats] = []


def say_repeated(now: float) -> None:
    """Have everybody say what has waited for a period; at infinity, whatever waits."""
    for one in _ALL:
        one.say(now)
