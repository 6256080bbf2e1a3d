"""Resources of the machine under the stack: processor, memory, disk, open files."""

from __future__ import annotations

import contextlib
import os
import resource
import shutil
from collections.abc import Callable
from pathlib import Path

import psutil

from ml.records.health import Resource
from ml.settings import Settings
from ml.stack.processes import find_processes

#: Share of the disk, of memory and of a process's files from which on there is too little left.
FULL = 0.95
#: Processes that wait for a processor, per processor, in the mean of the last five minutes.
LOAD_LIMIT = 8.0
#: Share of five minutes in which every process waited for memory (PSI, Linux).
MEMORY_PRESSURE_LIMIT = 0.2


def judge(
    name: str,
    *,
    utilisation: float | None = None,
    full: float = 1.01,
    saturation: float | None = None,
    limit: float | None = None,
    detail: str = "",
) -> Resource:
    """A resource that was measured: not well when it is fuller than ``full``, or more waits than ``limit``.

    Examples
    --------
    >>> judge("disk", utilisation=0.99, full=0.95).verdict
    'not_well'
    """
    over = (utilisation is not None and utilisation > full) or (
        saturation is not None and limit is not None and saturation > limit
    )
    return Resource(
        name=name,
        verdict="not_well" if over else "well",
        utilisation=None if utilisation is None else round(utilisation, 4),
        saturation=None if saturation is None else round(saturation, 4),
        limit=limit,
        detail=detail,
    )


def measured(name: str, measure: Callable[[], Resource]) -> Resource:
    """What a measurement found; one that could not be made is unknown."""
    try:
        return measure()
    except Exception as error:  # whatever keeps us from knowing, it is not well
        return Resource(
            name=name, verdict="unknown", detail=f"{type(error).__name__}: {' '.join(str(error).split())}"[:300]
        )


def look_at_machine(settings: Settings) -> tuple[Resource, ...]:
    """Processor, memory, disk of the state folder, open files of the stack's processes."""
    return (
        measured("cpu", _cpu),
        measured("memory", _memory),
        measured("disk", lambda: _disk(settings)),
        measured("open_files", lambda: _open_files(settings)),
    )


def _cpu() -> Resource:
    load = os.getloadavg()[1] / (os.cpu_count() or 1)
    used = psutil.cpu_percent(interval=0.2) / 100
    return judge(
        "cpu", utilisation=used, saturation=load, limit=LOAD_LIMIT, detail="load of five minutes per processor"
    )


def _memory() -> Resource:
    memory = psutil.virtual_memory()
    used, pressure = 1 - memory.available / memory.total, _memory_pressure()
    told = f"{memory.available / 2**30:.1f} GiB available; share of time in which all waited for memory"
    return judge("memory", utilisation=used, full=FULL, saturation=pressure, limit=MEMORY_PRESSURE_LIMIT, detail=told)


def _memory_pressure() -> float | None:
    with contextlib.suppress(OSError, ValueError, IndexError):
        full = (
            Path("/proc/pressure/memory").read_text(encoding="ascii").splitlines()[1]
        )  # full avg10=0.00 avg60=0.00 avg300=0.00 total=0
        return float(full.split("avg300=")[1].split()[0]) / 100
    return None


def _disk(settings: Settings) -> Resource:
    folder = next(path for path in (settings.var, *settings.var.parents) if path.exists())
    usage = shutil.disk_usage(folder)
    used = 1 - usage.free / usage.total
    return judge("disk", utilisation=used, full=FULL, detail=f"{usage.free / 2**30:.1f} GiB free at {folder}")


def _open_files(settings: Settings) -> Resource:
    """The process that is nearest to its limit."""
    shares = []
    for process in find_processes(settings.var):
        with contextlib.suppress(psutil.Error):
            soft, _ = process.rlimit(psutil.RLIMIT_NOFILE)
            shares.append((process.num_fds() / max(1, soft), process.pid))
    if not shares:
        soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
        shares.append((psutil.Process().num_fds() / max(1, soft), os.getpid()))
    share, pid = max(shares)
    return judge("open_files", utilisation=share, full=0.9, detail=f"process {pid} is nearest to its limit")
