"""Processes of one stack, known by a mark in their environment; others are never touched.

Airflow's tasks start sessions of their own, so neither a process group nor a parent leads to all of them; the
environment does, and it outlives the death of every parent.
"""

from __future__ import annotations

import contextlib
from pathlib import Path

import psutil

MARK = "PERENNIAL_STACK"


def mark_of(var: Path) -> dict[str, str]:
    """Environment variable that marks the processes of the stack whose state is in ``var``."""
    return {MARK: str(var.resolve())}


def find_processes(var: Path) -> list[psutil.Process]:
    """Living processes of the stack, whoever their parents are."""
    wanted = mark_of(var)[MARK]
    own = psutil.Process().pid
    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error, OSError):
            if (
                process.pid != own
                and process.environ().get(MARK) == wanted
                and process.status() != psutil.STATUS_ZOMBIE
            ):
                found.append(process)
    return found


def end_processes(var: Path, *, grace: float = 5.0) -> int:
    """Number of processes of the stack that had to be ended: asked first, then killed.

    Parameters
    ----------
    grace
        Seconds between asking and killing.
    """
    ended: set[int] = set()
    for _ in range(5):  # a dying process may still start another
        left = find_processes(var)
        if not left:
            break
        ended |= {process.pid for process in left}
        for process in left:
            with contextlib.suppress(psutil.Error):
                process.terminate()
        _, alive = psutil.wait_procs(left, timeout=grace)
        for process in alive:
            with contextlib.suppress(psutil.Error):
                process.kill()
        psutil.wait_procs(alive, timeout=grace)
    return len(ended)
