"""The same trouble again and again: the log has it at once, and then once a period with how often it has happened."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

#: Between two lines about the same trouble, seconds.
PERIOD_SECONDS = 10.0


class Repeats:
    """Bounds what is said of a trouble that each request meets; every time is in the count of one line.

    Parameters
    ----------
    say
        Told whose trouble it is, the newest of it, and how often it has happened since the line before.
    """

    def __init__(self, say: Callable[[str, str, int], None], *, period: float = PERIOD_SECONDS) -> None:
        self._say, self._period = say, period
        self._since: dict[str, tuple[str, int]] = {}

    def note(self, whose: str, told: str) -> None:
        """Say it now, or count it when it was said a moment ago; to be called in the event loop."""
        if whose in self._since:
            self._since[whose] = told, self._since[whose][1] + 1
            return
        self._say(whose, told, 1)
        self._wait(whose)

    def end(self) -> None:
        """Say what was counted and not said yet."""
        since, self._since = self._since, {}
        for whose, (told, count) in since.items():
            if count:
                self._say(whose, told, count)

    def _wait(self, whose: str) -> None:
        self._since[whose] = "", 0
        asyncio.get_running_loop().call_later(self._period, self._pass, whose)

    def _pass(self, whose: str) -> None:
        told, count = self._since.pop(whose, ("", 0))
        if count:
            self._say(whose, told, count)
            self._wait(whose)
