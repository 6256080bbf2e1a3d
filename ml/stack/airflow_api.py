"""Airflow's REST API, as far as the command line and the demo need it."""

from __future__ import annotations

import secrets
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import httpx

from ml.errors import InputError, PerennialError, ServiceAway

#: How often a trigger is asked for when Airflow fails.
_TRIES = 5

_FINAL = {"success", "failed"}

#: Airflow gives no more at once by default.
_PAGE = 100


class AirflowApi:
    """Client of one Airflow.

    Parameters
    ----------
    url
        Base address of its api-server.
    user, password
        Account that may trigger DAGs.
    """

    def __init__(self, url: str, user: str, password: str) -> None:
        self._http = httpx.Client(base_url=url, timeout=30.0, trust_env=False)
        self._account = {"username": user, "password": password}
        self._token = ""

    def trigger(self, dag_id: str, conf: dict[str, Any], *, run_id: str = "") -> str:
        """Identity of the run that this call started.

        Parameters
        ----------
        run_id
            Identity that the run is to have: asked twice, it is one run. Empty for a new one.

        Raises
        ------
        InputError
            There is no such DAG, or its form refuses ``conf``.
        ServiceAway
            Airflow does not answer.
        """
        given = {key: value for key, value in conf.items() if value is not None}
        given_id, run_id = run_id, run_id or f"manual__{datetime.now(UTC).isoformat()}_{secrets.token_hex(3)}"
        body = {"dag_run_id": run_id, "logical_date": None, "conf": given}
        for attempt in range(_TRIES):
            try:
                self._call("POST", f"/api/v2/dags/{dag_id}/dagRuns", json=body)
                break
            except InputError as error:
                if not given_id or not error.got.startswith(f"HTTP {httpx.codes.CONFLICT}"):
                    raise
                break  # this run is there already
            except ServiceAway:  # SQLite is busy for a moment while Airflow starts; the id makes asking again safe
                if attempt == _TRIES - 1:
                    raise
                time.sleep(1.0)
                if any(run["dag_run_id"] == run_id for run in self.runs(dag_id)):
                    break
        return run_id

    def wait(self, dag_id: str, run_id: str, *, timeout: float) -> None:
        """Return when a run has succeeded.

        Raises
        ------
        PerennialError
            It failed, or did not end in ``timeout`` seconds.
        """
        deadline = time.monotonic() + timeout
        while time.monotonic() < deadline:
            state = self._call("GET", f"/api/v2/dags/{dag_id}/dagRuns/{run_id}")["state"]
            if state == "success":
                return
            if state in _FINAL:
                raise PerennialError(
                    "a run failed", where=f"{dag_id} {run_id}", got=", ".join(self._failed(dag_id, run_id))
                )
            time.sleep(0.2)
        raise PerennialError("a run did not end", where=f"{dag_id} {run_id}", got=f"nothing after {timeout:g} s")

    def runs(self, dag_id: str, *, limit: int = 10) -> list[dict[str, Any]]:
        """Newest runs first."""
        query = {"order_by": "-run_after", "limit": limit}
        return list(self._call("GET", f"/api/v2/dags/{dag_id}/dagRuns", params=query)["dag_runs"])

    def open_runs(self, dag_id: str) -> list[dict[str, Any]]:
        """Runs that are queued or running, oldest first; none of a DAG that there is not."""
        query = {"state": ["queued", "running"], "order_by": "run_after", "limit": 100}
        try:
            return list(self._call("GET", f"/api/v2/dags/{dag_id}/dagRuns", params=query)["dag_runs"])
        except InputError as error:
            if error.got.startswith(f"HTTP {httpx.codes.NOT_FOUND}"):
                return []
            raise

    def is_paused(self, dag_id: str) -> bool:
        """Whether no run of a DAG begins."""
        return bool(self._call("GET", f"/api/v2/dags/{dag_id}")["is_paused"])

    def set_run_state(self, dag_id: str, run_id: str, state: str) -> None:
        """Say how a run has ended; what of it is unfinished is ended with it."""
        self._call("PATCH", f"/api/v2/dags/{dag_id}/dagRuns/{run_id}", json={"state": state})

    def clear_run(self, dag_id: str, run_id: str) -> None:
        """Have a run done again."""
        self._call("POST", f"/api/v2/dags/{dag_id}/dagRuns/{run_id}/clear", json={"dry_run": False})

    def pause(self, dag_id: str, *, paused: bool) -> None:
        """Keep a DAG's runs from going on, or let them."""
        self._call("PATCH", f"/api/v2/dags/{dag_id}", params={"update_mask": "is_paused"}, json={"is_paused": paused})

    def delete_run(self, dag_id: str, run_id: str) -> None:
        """Forget a run; one that is gone already is left alone."""
        try:
            self._call("DELETE", f"/api/v2/dags/{dag_id}/dagRuns/{run_id}")
        except InputError as error:
            if not error.got.startswith(f"HTTP {httpx.codes.NOT_FOUND}"):
                raise

    def find_runs(self, dag_id: str, query: dict[str, Any]) -> list[dict[str, Any]]:
        """Runs of a DAG that Airflow finds by a query of its own."""
        return list(self._call("GET", f"/api/v2/dags/{dag_id}/dagRuns", params=query)["dag_runs"])

    def pages(self, path: str, key: str, query: dict[str, Any]) -> Iterator[dict[str, Any]]:
        """Everything that a listing holds, page by page; ``query`` must order it by what does not change."""
        offset = 0
        while True:
            page = self._call("GET", path, params=query | {"limit": _PAGE, "offset": offset})
            yield from page[key]
            offset += len(page[key])
            if not page[key] or offset >= page["total_entries"]:
                return

    def waiting_since(self) -> dict[str, datetime]:
        """Since when the run that has waited longest is to begin, UTC, by DAG; none of DAGs of which no run waits."""
        query = {"state": "queued", "order_by": "run_after", "limit": 100}
        found = self._call("GET", "/api/v2/dags/~/dagRuns", params=query)["dag_runs"]
        return {run["dag_id"]: datetime.fromisoformat(run["run_after"]) for run in reversed(found)}

    def running_tasks(self) -> list[dict[str, Any]]:
        """Tasks that run now, of every DAG; those that ran first come first."""
        query = {"state": "running", "order_by": "start_date", "limit": 100}
        return list(self._call("GET", "/api/v2/dags/~/dagRuns/~/taskInstances", params=query)["task_instances"])

    def dag_ids(self) -> set[str]:
        """DAGs that Airflow has parsed."""
        return {dag["dag_id"] for dag in self._dags()}

    def parsed_since(self, moment: datetime) -> set[str]:
        """DAGs that Airflow has parsed since a moment, UTC."""
        return {
            dag["dag_id"]
            for dag in self._dags()
            if dag["last_parsed_time"] and datetime.fromisoformat(dag["last_parsed_time"]) >= moment
        }

    def import_errors(self, *, since: datetime | None = None) -> list[str]:
        """DAG files that could not be parsed, since a moment or ever, each with the last line of its error."""
        found = self._call("GET", "/api/v2/importErrors", params={"limit": 100})["import_errors"]
        return [
            f"{error['filename']}: {error['stack_trace'].strip().splitlines()[-1]}"
            for error in found
            if since is None or datetime.fromisoformat(error["timestamp"]) >= since
        ]

    def task_instances(self, dag_id: str, run_id: str) -> list[dict[str, Any]]:
        """Task instances of a run, with their states."""
        path = f"/api/v2/dags/{dag_id}/dagRuns/{run_id}/taskInstances"
        return list(self._call("GET", path, params={"limit": 500})["task_instances"])

    def answer(self, dag_id: str, run_id: str, task: str, option: str, *, reason: str) -> bool:
        """Choose an option of a task that waits for a person; whether it waited.

        Raises
        ------
        ServiceAway
            Airflow does not answer.
        """
        path = f"/api/v2/dags/{dag_id}/dagRuns/{run_id}/taskInstances/{task}/-1/hitlDetails"
        try:
            self._call("PATCH", path, json={"chosen_options": [option], "params_input": {"reason": reason}})
        except InputError as error:
            if error.got.startswith((f"HTTP {httpx.codes.NOT_FOUND}", f"HTTP {httpx.codes.CONFLICT}")):
                return False  # there is no such question, or it was answered
            raise
        return True

    def is_over(self, dag_id: str, run_id: str) -> bool:
        """Whether a run has ended, or is unknown."""
        try:
            return self._call("GET", f"/api/v2/dags/{dag_id}/dagRuns/{run_id}")["state"] in _FINAL
        except InputError as error:
            if error.got.startswith(f"HTTP {httpx.codes.NOT_FOUND}"):
                return True
            raise

    def health(self) -> dict[str, Any]:
        """State of Airflow's own parts."""
        return dict(self._call("GET", "/api/v2/monitor/health"))

    def pool(self, name: str = "default_pool") -> dict[str, Any]:
        """Slots of a pool: ``slots``, ``occupied_slots``, ``queued_slots`` and others."""
        return dict(self._call("GET", f"/api/v2/pools/{name}"))

    def _failed(self, dag_id: str, run_id: str) -> list[str]:
        tasks = self.task_instances(dag_id, run_id)
        return [f"task {task['task_id']}" for task in tasks if task["state"] == "failed"]

    def _dags(self) -> list[dict[str, Any]]:
        return list(self._call("GET", "/api/v2/dags", params={"limit": 500})["dags"])

    def _call(self, method: str, path: str, **options: Any) -> Any:
        try:
            reply = self._send(method, path, **options)
            if reply.status_code == httpx.codes.UNAUTHORIZED:
                self._token = ""
                reply = self._send(method, path, **options)
        except httpx.HTTPError as error:
            raise ServiceAway("Airflow does not answer", where=str(self._http.base_url), got=str(error)) from error
        if reply.status_code >= httpx.codes.INTERNAL_SERVER_ERROR:
            raise ServiceAway("Airflow failed", where=path, got=f"HTTP {reply.status_code}")
        if reply.is_error:
            raise InputError("Airflow refused", where=path, got=f"HTTP {reply.status_code}: {reply.text[:500]}")
        return reply.json() if reply.content else None

    def _send(self, method: str, path: str, **options: Any) -> httpx.Response:
        if not self._token:
            reply = self._http.post("/auth/token", json=self._account)
            if reply.is_client_error:
                raise InputError(
                    "Airflow does not know this account", where="airflow_user", got=self._account["username"]
                )
            reply.raise_for_status()
            self._token = reply.json()["access_token"]
        return self._http.request(method, path, headers={"Authorization": f"Bearer {self._token}"}, **options)
