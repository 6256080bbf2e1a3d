"""A deadline over a whole conversation: a peer that says one byte now and then never runs into a socket's time-out."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

#: Longest greeting, and longest conversation after it, seconds; both together shorter than a claim on a notice lasts.
TALK_SECONDS = 25.0


@contextmanager
def cut_after(find_socket: Callable[[], socket.socket | None], seconds: float | None = None) -> Iterator[None]:
    """Cut a connection when a conversation takes longer; whoever reads from it then meets its end.

    Parameters
    ----------
    find_socket
        The connection as it is then; None when there is none.
    seconds
        ``TALK_SECONDS`` when None.
    """

    def cut() -> None:
        found = find_socket()
        if found is not None:
            with suppress(OSError):
                found.shutdown(socket.SHUT_RDWR)

    timer = threading.Timer(TALK_SECONDS if seconds is None else seconds, cut)
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()
