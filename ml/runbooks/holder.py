"""Who holds the lease of repairs: a process, known by its machine, its number and its birth.

A lease alone says only until when nobody else may act. Whether its holder still lives is seen at once on the same
machine, so what a killed process has left is finished without waiting for the lease to run out.
"""

from __future__ import annotations

import os
import socket
import uuid
from contextlib import suppress
from pathlib import Path

import psutil

_SEPARATOR = "|"
_ZOMBIES = frozenset({"Z", "X"})


def name_holder() -> str:
    """Name of this process as a holder, another one at each call."""
    pid = os.getpid()
    return _SEPARATOR.join((_place(), str(pid), _birth(pid), uuid.uuid4().hex))


def is_gone(holder: str) -> bool:
    """Whether a holder was a process of this machine that does not live any more; False where that cannot be seen."""
    parts = holder.split(_SEPARATOR)
    if len(parts) != 4 or parts[0] != _place() or not parts[1].isdecimal():
        return False
    return _birth(int(parts[1])) != parts[2]


def _place() -> str:
    """Machine, its start, and whose process numbers: a container has its own."""
    told = [socket.gethostname()]
    with suppress(OSError):
        told.append(Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip())
    with suppress(OSError):
        told.append(str(Path("/proc/self/ns/pid").readlink()))
    return " ".join(told)


def _birth(pid: int) -> str:
    """When a process was started, in the words of its system; empty when it is gone.

    Linux counts from the start of the machine, so a clock that is set makes no other process of it.
    """
    with suppress(OSError, IndexError):
        fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
        return "" if fields[0] in _ZOMBIES else fields[19]
    if Path("/proc/self/stat").exists():
        return ""
    try:
        return str(int(psutil.Process(pid).create_time()))
    except psutil.NoSuchProcess:
        return ""
