"""A replica says every second what it serves: a release asks all of them, where a request reaches but one."""

from __future__ import annotations

import asyncio
import logging
import os
from datetime import UTC, datetime
from pathlib import Path

from ml.errors import DataError
from ml.records.release import Heartbeat
from ml.registry.fleet import HEARTBEAT_SUFFIX
from ml.serving.watch import Releases

BEAT_SECONDS = 1.0

log = logging.getLogger(__name__)


async def beat(folder: Path, replica: str, releases: Releases) -> None:
    """Write heartbeats until cancelled; then take the last one away, since the replica ends in order."""
    path, broken = folder / f"{replica}{HEARTBEAT_SUFFIX}", False
    _tell_of_predecessor(path, replica)
    try:
        while True:
            found = Heartbeat(
                replica=replica, pid=os.getpid(), at=datetime.now(UTC), use_cases=tuple(releases.status())
            )
            try:
                await asyncio.to_thread(_replace, path, found.model_dump_json())
                broken = False
            except OSError as error:  # a full disk: the silence says so
                if not broken:
                    log.warning("no heartbeat: %s", error)
                broken = True
            await asyncio.sleep(BEAT_SECONDS)
    finally:
        path.unlink(missing_ok=True)


def _tell_of_predecessor(path: Path, replica: str) -> None:
    """Whoever ended in order has taken its heartbeat away; of one that was killed or has crashed, it is still there."""
    try:
        before = Heartbeat.read(path)
    except DataError:
        return
    log.error("replica died: replica=%s pid %d was last heard at %s", replica, before.pid, f"{before.at:%H:%M:%S} UTC")


def _replace(path: Path, text: str) -> None:
    """In one step, but not through a power cut: an old heartbeat is none."""
    aside = path.with_name(f".{path.name}")
    aside.write_text(text, encoding="utf-8")
    aside.replace(path)
