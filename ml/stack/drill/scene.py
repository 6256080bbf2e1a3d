"""What a fault may lay hands on: the processes, files and addresses of one local stack."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cached_property
from pathlib import Path
from typing import Any

import httpx
import pandas as pd
import psutil

from ml.errors import PerennialError, StackError
from ml.records.release import ReleaseManifest
from ml.registry.manifest import MODEL, manifest_path, read_manifest
from ml.settings import Settings
from ml.simulation.checked_traffic import open_client
from ml.stack.airflow_api import AirflowApi
from ml.stack.local import open_airflow
from ml.stack.processes import find_processes
from ml.stack.services import scoring_names
from ml.stack.supervision import Supervisor
from ml.training.history import load_history
from ml.use_case import UseCase

#: Rows of the history that are asked, newest first.
ROWS = 600
#: Drills take place so many years before the history, each in an hour of its own: their rows are in nobody's window,
#: and those of the traffic are not in the windows of the faults that have the monitor look.
_YEARS = {"traffic": 41, "drift": 30, "labels": 19}
_HOURS = 87_600


@dataclass(frozen=True)
class Scene:
    """One local stack and one use case of it that has a champion."""

    settings: Settings
    use_case: UseCase

    @cached_property
    def supervisor(self) -> Supervisor:
        """Of the stack's processes."""
        return Supervisor(self.settings)

    @cached_property
    def airflow(self) -> AirflowApi:
        """Client of the stack's Airflow."""
        return open_airflow(self.settings)

    @cached_property
    def http(self) -> httpx.Client:
        """Client of the scoring service."""
        return open_client(self.settings.scoring_url, self.settings.scoring_key, timeout=20.0)

    @cached_property
    def rows(self) -> pd.DataFrame:
        """Rows of the history that the use case's policies let pass, newest last."""
        rows, _ = load_history(self.use_case, self.settings.home)
        return rows.tail(ROWS).reset_index(drop=True)

    @property
    def folder(self) -> Path:
        """The use case's releases."""
        return self.settings.releases / self.use_case.name

    @property
    def manifest_file(self) -> Path:
        """Of the use case's manifest."""
        return manifest_path(self.settings.releases, self.use_case.name)

    @property
    def manifest(self) -> ReleaseManifest:
        """What is to be served.

        Raises
        ------
        StackError
            Nothing is released.
        """
        found = read_manifest(self.settings.releases, self.use_case.name)
        if found is None:
            raise StackError("no model is released", where=self.use_case.name, allowed="perennial demo, or a champion")
        return found

    @property
    def model_file(self) -> Path:
        """Graph of the served model."""
        return self.folder / self.manifest.artifact / MODEL

    @property
    def moment(self) -> datetime:
        """Event time of traffic in this minute's drill; see :meth:`moment_of`."""
        return self.moment_of("traffic")

    def moment_of(self, purpose: str) -> datetime:
        """Event time that belongs to this minute's drill alone, UTC, a whole hour long before the history."""
        oldest = self.rows["event_time"].min().to_pydatetime().astimezone(UTC)
        hours = int(time.time() // 60) % _HOURS
        return datetime(oldest.year - _YEARS[purpose], 1, 1, tzinfo=UTC) + timedelta(hours=hours)

    @property
    def outboxes(self) -> list[Path]:
        """Outboxes of the replicas."""
        return sorted(self.settings.outbox.glob("*.sqlite"))

    def replicas(self) -> list[psutil.Process]:
        """Main processes of the scoring replicas."""
        states = self.supervisor.states()
        pids = [states[name].pid for name in scoring_names(self.settings) if name in states]
        return [psutil.Process(pid) for pid in pids if pid]

    def pids(self) -> dict[str, int | None]:
        """Main process of each service."""
        return {name: state.pid for name, state in self.supervisor.states().items()}

    def status(self) -> dict[str, Any] | None:
        """What the replica that answers says about the use case; None when none does."""
        try:
            told = self.http.get("/status", timeout=2.0).json()["use_cases"]
        except (httpx.HTTPError, ValueError):
            return None
        return next((one for one in told if one["use_case"] == self.use_case.name), None)

    def serves(self) -> bool:
        """Whether a row is answered, from outside, by a replica that has nothing to complain of."""
        status = self.status()
        if status is None or status["state"] != "serving":
            return False
        try:
            ready = self.http.get("/health/ready", timeout=2.0)
        except httpx.HTTPError:
            return False
        return ready.is_success and self.answers()

    def answers(self) -> bool:
        """Whether a row is answered."""
        from ml.simulation.checked_traffic import to_json_rows

        (row,) = to_json_rows(self.rows.tail(1), self.use_case)
        body = {"rows": [row], "event_times": [self.moment.isoformat()]}
        try:
            return self.http.post(f"/score/{self.use_case.name}", json=body, timeout=3.0).status_code == httpx.codes.OK
        except httpx.HTTPError:
            return False

    def processes(self, service: str) -> list[psutil.Process]:
        """Everything of a service."""
        return find_processes(self.settings.var, service=service)


def wait_until(condition: Callable[[], bool], what: str, *, seconds: float) -> None:
    """Return when a condition holds.

    Raises
    ------
    PerennialError
        It did not in time.
    """
    until = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > until:
            raise PerennialError(f"waited in vain for {what}", where="drill", got=f"nothing after {seconds:g} s")
        time.sleep(0.25)


def send_signal(process: psutil.Process, number: int) -> None:
    """Signal a process that may be gone."""
    try:
        os.kill(process.pid, number)
    except ProcessLookupError:
        return
