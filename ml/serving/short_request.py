"""A small scoring request that is answered by one write, without a task, a queue or a timer of its own."""

from __future__ import annotations

import time
from collections.abc import Mapping

from ml.serving.identity import new_id
from ml.serving.routes import Route, read_request_id


class _Never:
    """Stands where uvicorn wakes a task that waits for a body; nobody waits here."""

    def set(self) -> None:
        """Do nothing."""


class ShortRequest:
    """A request that goes the short way; uvicorn looks at the first four when a connection ends or the server does."""

    def __init__(self, route: Route, headers: Mapping[bytes, bytes], *, keep_alive: bool) -> None:
        self.response_complete = self.disconnected = False
        self.keep_alive, self.message_event = keep_alive, _Never()
        self.route, self.headers, self.started = route, headers, time.perf_counter()
        self.identity = read_request_id(headers) or new_id()
        self.parts: list[bytes] = []
