"""Resources of the machine under the stack: processor, memory, disk, open files."""

from __future__ import annotations

import contextlib
import os
import resource
import shutil
from collections.abc import Callable
from pathlib import Path

import psutil

from ml.alerts.health_limits import HealthLimits
from ml.records.health import Resource
from ml.settings import Settings
from ml.stack.processes import find_processes


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


def look_at_machine(settings: Settings, limits: HealthLimits) -> tuple[Resource, ...]:
    """Processor, memory, disk of the state folder, open files of the stack's processes."""
    return (
        measured("cpu", lambda: _cpu(limits)),
        measured("memory", lambda: _memory(limits)),
        measured("disk", lambda: _disk(settings, limits)),
        measured("open_files", lambda: _open_files(settings, limits)),
    )


def _cpu(limits: HealthLimits) -> Resource:
    load = os.getloadavg()[1] / (os.cpu_count() or 1)
    used = psutil.cpu_percent(interval=0.2) / 100
    return judge(
        "cpu", utilisation=used, saturation=load, limit=limits.cpu_load, detail="load of five minutes per processor"
    )


def _memory(limits: HealthLimits) -> Resource:
    memory = psutil.virtual_memory()
    used, pressure = 1 - memory.available / memory.total, _memory_pressure()
    told = f"{memory.available / 2**30:.1f} GiB available; share of time in which all waited for memory"
    full, limit = limits.memory_used, limits.memory_pressure
    return judge("memory", utilisation=used, full=full, saturation=pressure, limit=limit, detail=told)


def _memory_pressure() -> float | None:
    with contextlib.suppress(OSError, ValueError, IndexError):
        full = (
            Path("/proc/pressure/memory").read_text(encoding="ascii").splitlines()[1]
        )  # full avg10=0.00 avg60=0.00 avg300=0.00 total=0
        return float(full.split("avg300=")[1].split()[0]) / 100
    return None


def _disk(settings: Settings, limits: HealthLimits) -> Resource:
    folder = next(path for path in (settings.var, *settings.var.parents) if path.exists())
    usage = shutil.disk_usage(folder)
    used = 1 - usage.free / usage.total
    told = f"{usage.free / 2**30:.1f} GiB free at {folder}"
    return judge("disk", utilisation=used, full=limits.disk_used, detail=told)


def _open_files(settings: Settings, limits: HealthLimits) -> Resource:
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
    told = f"process {pid} is nearest to its limit"
    return judge("open_files", utilisation=share, full=limits.open_files_used, detail=told)
