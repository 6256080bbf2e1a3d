"""The probe: what a client of the scoring service would see, asked from outside."""

from __future__ import annotations

import time
import urllib.request
from datetime import datetime
from http.client import HTTPException
from pathlib import Path
from urllib.error import HTTPError

from ml.records.event import Event
from ml.records.rollup import Rollup
from ml.registry.fleet import read_heartbeats

TIMEOUT_SECONDS = 5.0

#: The service is asked directly, whatever proxy the environment names.
_DIRECT = urllib.request.build_opener(urllib.request.ProxyHandler({}))


def probe_mlflow(mlflow_url: str, *, now: datetime, timeout: float = TIMEOUT_SECONDS) -> list[Rollup]:
    """``service_up`` of MLflow: 1 when it answers, 0 when it does not."""
    try:
        with _DIRECT.open(f"{mlflow_url.rstrip('/')}/health", timeout=timeout) as reply:
            reply.read(1 << 10)
        up = 1.0
    except (OSError, HTTPException, ValueError) as error:
        if isinstance(error, HTTPError):
            error.close()
        up = 0.0
    told = {"time": now, "seconds": 0.0, "source": "probe", "name": "service_up", "label": "mlflow"}
    return [Rollup.model_validate(told | {"n": 1, "total": up, "high": up})]


def probe_replicas(folder: Path, *, now: datetime) -> list[Rollup]:
    """``replica_silent_seconds``: age of the last word of each replica here that has not ended in order."""
    found = []
    for beat in read_heartbeats(folder):
        silent = max(0.0, (now - beat.at).total_seconds())
        told = {"time": now, "seconds": 0.0, "source": beat.replica, "name": "replica_silent_seconds"}
        found.append(Rollup.model_validate(told | {"n": 1, "total": silent, "high": silent}))
    return found


def probe(scoring_url: str, *, now: datetime, timeout: float = TIMEOUT_SECONDS) -> tuple[list[Event], list[Rollup]]:
    """Ask whether the service is ready; an event when it is not, and how long it took either way.

    ``probe_up`` is 1 when it answered that it is ready and 0 when it did not; ``probe_seconds`` is how long that took.
    """
    url, began = f"{scoring_url.rstrip('/')}/health/ready", time.monotonic()
    try:
        with _DIRECT.open(url, timeout=timeout) as reply:
            reply.read(1 << 16)
        fault = ""
    except (OSError, HTTPException, ValueError) as error:
        if isinstance(error, HTTPError):
            error.close()  # it is the open reply as well
        fault = f"{url}: {type(error).__name__}: {' '.join(str(error).split())[:300]}"
    seconds = time.monotonic() - began
    measured = {"probe_up": float(not fault), "probe_seconds": seconds}
    rollups = [
        Rollup(time=now, seconds=0.0, source="probe", name=name, n=1, total=value, high=value)
        for name, value in measured.items()
    ]
    if not fault:
        return [], rollups
    failed = Event(time=now, use_case=None, source="probe", name="probe_failed", severity="error", message=fault)
    return [failed], rollups
