"""Runs of DAGs on the local stack, as runbooks see and end them."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Callable
from typing import Any

import psutil

from ml.runbooks.runbook import TaskLife
from ml.settings import Settings
from ml.stack.airflow_api import AirflowApi
from ml.stack.processes import find_processes

_SCHEDULER = "airflow-scheduler"


class LocalRuns:
    """Runs of the local Airflow; see :class:`ml.runbooks.runbook.Runs`.

    Parameters
    ----------
    open_api
        Client of Airflow, asked for when it is first needed.
    """

    def __init__(self, settings: Settings, open_api: Callable[[], AirflowApi]) -> None:
        self._settings, self._open_api = settings, open_api
        self._api: AirflowApi | None = None

    def open_runs(self, dag: str) -> list[dict[str, Any]]:
        """Runs that are queued or running, oldest first."""
        return self._ask().open_runs(dag)

    def task_instances(self, dag: str, run: str) -> list[dict[str, Any]]:
        """Of a run."""
        return self._ask().task_instances(dag, run)

    def is_paused(self, dag: str) -> bool:
        """Whether no run of a DAG begins."""
        return self._ask().is_paused(dag)

    def fail_run(self, dag: str, run: str) -> None:
        """Mark as failed."""
        self._ask().set_run_state(dag, run, "failed")

    def clear_run(self, dag: str, run: str) -> None:
        """Do again."""
        self._ask().clear_run(dag, run)

    def task_life(self, hostname: str, pid: int) -> TaskLife:
        """By the process table, where the task is on this machine."""
        if hostname not in {socket.gethostname(), socket.getfqdn()}:
            return "unknown"
        try:
            process = psutil.Process(pid)
            status = process.status()
        except psutil.NoSuchProcess:
            return "gone"
        except psutil.Error:
            return "unknown"
        if status in {psutil.STATUS_ZOMBIE, psutil.STATUS_DEAD}:
            return "gone"
        return "hangs" if status == psutil.STATUS_STOPPED else "works"

    def kill_task(self, pid: int) -> None:
        """Kill a process that is one of the scheduler's; any other is left alone."""
        for process in find_processes(self._settings.var, service=_SCHEDULER):
            if process.pid == pid:
                with contextlib.suppress(psutil.Error):
                    process.kill()

    def _ask(self) -> AirflowApi:
        if self._api is None:
            self._api = self._open_api()
        return self._api
