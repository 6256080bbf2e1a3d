"""Work on large requests, done beside the event loop so that it does not hold up the others."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from ml.records.codes import Code
from ml.serving.problem import RequestRefused

T = TypeVar("T")

#: Threads for large requests, and how many of them may be at work or wait; who comes then is told to come back.
THREADS = 2
MAX_ASIDE = 32


class Aside:
    """A few threads, and a bound of what waits for them.

    Attributes
    ----------
    depth
        Requests that are being worked on or wait.
    """

    def __init__(self) -> None:
        self._threads = ThreadPoolExecutor(THREADS, thread_name_prefix="large")
        self.depth = 0

    async def run(self, work: Callable[[], T]) -> T:
        """Result of some work, done in a thread.

        Raises
        ------
        RequestRefused
            Too many wait for a thread (503).
        """
        if self.depth >= MAX_ASIDE:
            raise RequestRefused(Code.OVERLOADED, f"{MAX_ASIDE} large requests are being worked on already")
        self.depth += 1
        try:
            return await asyncio.get_running_loop().run_in_executor(self._threads, work)
        finally:
            self.depth -= 1
