"""Processes of one stack, known by a mark in their environment; others are never touched.

Airflow's tasks start sessions of their own, so neither a process group nor a parent leads to all of them; the
environment does, and it outlives the death of every parent.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable
from pathlib import Path

import psutil

STACK = "PERENNIAL_STACK"
SERVICE = "PERENNIAL_SERVICE"


def mark_stack(var: Path) -> dict[str, str]:
    """Environment variables that mark the processes of the stack whose state is in ``var``."""
    # A process that changes its title would write it over its environment, and the mark would be gone.
    return {STACK: str(var.resolve()), "SPT_NOENV": "1"}


def find_processes(var: Path, *, service: str | None = None) -> list[psutil.Process]:
    """Living processes of the stack, or of one of its services, whoever their parents are; never this process."""
    wanted = mark_stack(var)[STACK]
    own = psutil.Process().pid
    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error, OSError):
            environment = process.environ()
            marked = environment.get(STACK) == wanted and (service is None or environment.get(SERVICE) == service)
            if marked and process.pid != own and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
    return found


def end_processes(var: Path, *, service: str | None = None, grace: float = 5.0) -> int:
    """Number of processes of the stack, or of one of its services, that had to be ended: asked first, then killed.

    Parameters
    ----------
    grace
        Seconds between asking and killing.
    """
    ended: set[int] = set()
    for _ in range(5):  # a dying process may still start another
        left = find_processes(var, service=service)
        if not left:
            break
        ended |= {process.pid for process in left}
        _signal(left, "terminate")
        _, alive = psutil.wait_procs(left, timeout=grace)
        _signal(alive, "kill")
        psutil.wait_procs(alive, timeout=grace)
    return len(ended)


def measure_memory(processes: Iterable[psutil.Process]) -> float:
    """Resident memory of processes together, MiB; a page that some of them share is counted once.

    Where the system does not tell shares (PSS, Linux), it is the plain sum of resident sizes.
    """
    return sum(_share(process) for process in processes) / 2**20


def _share(process: psutil.Process) -> int:
    with contextlib.suppress(psutil.Error, OSError):
        full = process.memory_full_info()
        return int(getattr(full, "pss", 0) or full.rss)
    return 0


def _signal(processes: Iterable[psutil.Process], how: str) -> None:
    for process in processes:
        with contextlib.suppress(psutil.Error):
            getattr(process, how)()
