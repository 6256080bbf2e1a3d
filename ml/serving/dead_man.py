"""The dead man's switch: the scoring service watches the watcher, and has somebody look in its place.

Alerting leaves a heartbeat after each round. When that is stale, a process of its own is started that says so and
looks itself (:mod:`ml.stack.stand_in`): this service stays as light as it is, and goes on answering.
"""

from __future__ import annotations

import logging
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path

import msgspec

#: Where the heartbeat does not say from which age on it is stale.
STALE_SECONDS = 110.0
#: At most so long between two looks at it.
_LOOK_SECONDS = 5.0
#: At least so long between two stand-ins.
AGAIN_SECONDS = 30.0

COMMAND = (sys.executable, "-m", "ml.stack.stand_in")

log = logging.getLogger(__name__)


class _Beat(msgspec.Struct):
    stale_after: float = STALE_SECONDS


class DeadMan:
    """Watches a heartbeat in a thread of its own.

    Parameters
    ----------
    heartbeat
        File; where there has never been one, nobody alerts and nothing is missed.
    stale_seconds
        Age from which it is stale, None for what it says itself; counted from the start of this watch at the
        earliest: a stack that is just starting finds the heartbeat of the day before.
    command
        What is started.
    """

    def __init__(
        self,
        heartbeat: Path,
        *,
        stale_seconds: float | None = None,
        again_seconds: float = AGAIN_SECONDS,
        command: Sequence[str] = COMMAND,
    ) -> None:
        self._heartbeat, self._stale, self._again, self._command = heartbeat, stale_seconds, again_seconds, command
        self._began, self._started = time.time(), float("-inf")
        self._process: subprocess.Popen[bytes] | None = None
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="dead-man", daemon=True)

    def start(self) -> None:
        """Begin to watch."""
        self._thread.start()

    def stop(self) -> None:
        """Watch no longer; a stand-in that runs ends by itself."""
        self._stop.set()
        self._thread.join(timeout=2.0)

    def is_stale(self, now: float) -> bool:
        """Whether alerting has missed its time, seconds since the epoch."""
        try:
            beat = self._heartbeat.stat().st_mtime
        except OSError:
            return False
        return now - max(beat, self._began) > self._patience()

    def _patience(self) -> float:
        if self._stale is not None:
            return self._stale
        try:
            return msgspec.json.decode(self._heartbeat.read_bytes(), type=_Beat).stale_after
        except (OSError, msgspec.MsgspecError):
            return STALE_SECONDS

    def _run(self) -> None:
        while not self._stop.wait(min(_LOOK_SECONDS, self._patience() / 4)):
            busy = self._process is not None and self._process.poll() is None
            rested = time.monotonic() - self._started >= self._again
            if not busy and rested and self.is_stale(time.time()):
                self._stand_in()

    def _stand_in(self) -> None:
        self._started = time.monotonic()
        log.warning("alerting is silent: a stand-in looks in its place")
        try:
            self._process = subprocess.Popen(self._command, start_new_session=True)  # its own, whatever becomes of us
        except OSError as error:
            log.error("stand-in cannot be started: %s", error)  # noqa: TRY400 - it says all
