"""supervisord, which keeps the stack's processes alive and stops them as groups; driven by a generated file."""

from __future__ import annotations

import contextlib
import hashlib
import subprocess
import sys
import tempfile
import time
import xmlrpc.client
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
from supervisor.options import VERSION
from supervisor.xmlrpc import SupervisorTransport

from ml.errors import StackError
from ml.records.base import write_atomically
from ml.settings import Settings
from ml.stack.services import Service

#: Longest path that a Unix socket may have on every system, bytes.
_SOCKET_PATH = 100
_GROUP = "perennial"
#: Stopped before the others: its running tasks report to Airflow's API. They are not signalled themselves, which would
#: fail them; they may end in peace, and one that takes too long is killed, and done again after the next start.
_FIRST_TO_STOP = "airflow-scheduler"

_HEAD = """; generated for supervisor {version}; do not edit
[unix_http_server]
file={socket}
chmod=0700

[supervisord]
logfile={folder}/supervisord.log
logfile_maxbytes=1MB
logfile_backups=1
pidfile={folder}/supervisord.pid
childlogdir={folder}
directory={home}
silent=true
nocleanup=true

[rpcinterface:supervisor]
supervisor.rpcinterface_factory = supervisor.rpcinterface:make_main_rpcinterface

[group:{group}]
programs={programs}
"""

# One group: its members are stopped side by side, not one after the other.
_PROGRAM = """
[program:{name}]
command="{python}" -m ml.stack.run_service {name}
directory={home}
autorestart=true
startsecs=2
startretries=6
stopwaitsecs=10
stopasgroup={as_group}
killasgroup=true
redirect_stderr=true
stdout_logfile={log}
stdout_logfile_maxbytes=20MB
stdout_logfile_backups=2
"""


@dataclass(frozen=True)
class ProcessState:
    """What supervisord says about a service.

    Attributes
    ----------
    word
        ``RUNNING``, ``STARTING``, ``BACKOFF`` (died, will be started again), ``FATAL`` (given up), ``STOPPED``, ...
    pid
        Of its main process; None when there is none.
    started
        Its last start, seconds since 1970.
    """

    word: str
    pid: int | None
    started: float


class Supervisor:
    """The stack's supervisord: started, asked and stopped.

    Parameters
    ----------
    settings
        Whose state folder holds its file, its log and the logs of the services.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self.folder = settings.var.resolve() / "stack"
        self._socket = _socket_path(self.folder)

    def log(self, service: str) -> Path:
        """Log file of a service."""
        return self.folder / f"{service}.log"

    def start(self, services: tuple[Service, ...], environment: Mapping[str, str]) -> None:
        """Start supervisord, and with it the services.

        Raises
        ------
        StackError
            It did not start.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        path = self.folder / "supervisord.conf"
        write_atomically(path, self._render(services).encode())
        command = [sys.executable, "-m", "supervisor.supervisord", "-c", str(path)]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            raise StackError("supervisord did not start", where=str(path), got=(done.stdout + done.stderr)[-800:])
        deadline = time.monotonic() + 15
        while not self.is_running():
            if time.monotonic() > deadline:
                raise StackError("supervisord does not answer", where=str(self.folder / "supervisord.log"))
            time.sleep(0.05)

    def is_running(self) -> bool:
        """Whether it answers."""
        try:
            return bool(self._ask("getState")["statename"] == "RUNNING")
        except (OSError, xmlrpc.client.Error):
            return False

    def states(self) -> dict[str, ProcessState]:
        """What it says about each service, by name; empty when it does not run."""
        try:
            found = self._ask("getAllProcessInfo")
        except (OSError, xmlrpc.client.Error):
            return {}
        return {
            info["name"]: ProcessState(word=info["statename"], pid=info["pid"] or None, started=info["start"])
            for info in found
        }

    def ensure_started(self, service: str) -> None:
        """Start a service that was given up or stopped; one that runs, or is about to, is left alone."""
        state = self.states().get(service)
        if state is not None and state.word not in {"RUNNING", "STARTING", "BACKOFF"}:
            self._ask("startProcess", f"{_GROUP}:{service}", False)

    def stop_service(self, service: str) -> None:
        """Stop one service, which stays stopped until somebody starts it; one that does not run is left alone."""
        with contextlib.suppress(xmlrpc.client.Fault):  # it does not run
            self._ask("stopProcess", f"{_GROUP}:{service}")

    def restart(self, service: str) -> None:
        """Stop a service, once it has finished what it is doing, and start it."""
        self.stop_service(service)
        self._ask("startProcess", f"{_GROUP}:{service}", False)

    def start_anew(self, service: str) -> None:
        """Kill a service, also one that hangs or is stopped, and start it; its children end with its next start."""
        before = self.states()[service].pid
        with contextlib.suppress(xmlrpc.client.Fault):  # it does not run
            self._ask("signalProcess", f"{_GROUP}:{service}", "KILL")
        deadline = time.monotonic() + 10
        while before is not None and self.states()[service].pid == before and time.monotonic() < deadline:
            time.sleep(0.05)
        with contextlib.suppress(xmlrpc.client.Fault):  # the supervisor was faster
            self.ensure_started(service)

    def stop(self, *, timeout: float = 25.0) -> None:
        """Stop all services and supervisord itself; nothing happens when it does not run."""
        try:
            process = psutil.Process(self._ask("getPID"))
            with contextlib.suppress(xmlrpc.client.Fault):  # it does not run
                self._ask("stopProcess", f"{_GROUP}:{_FIRST_TO_STOP}")
            self._ask("shutdown")
        except (OSError, xmlrpc.client.Error, psutil.Error):
            return
        with contextlib.suppress(psutil.Error):  # it answers no questions while it waits for the services
            process.wait(timeout)

    def _ask(self, method: str, *arguments: Any) -> Any:
        transport = SupervisorTransport(None, None, f"unix://{self._socket}")
        with xmlrpc.client.ServerProxy("http://127.0.0.1", transport=transport, allow_none=True) as server:
            return getattr(server.supervisor, method)(*arguments)

    def _render(self, services: tuple[Service, ...]) -> str:
        places = {
            "home": _escape(str(self._settings.home)),
            "folder": _escape(str(self.folder)),
            "socket": _escape(str(self._socket)),
            "python": _escape(sys.executable),
        }
        names = [service.name for service in services]
        head = _HEAD.format(**places, version=VERSION, group=_GROUP, programs=",".join(names))
        return head + "".join(self._render_program(name, places) for name in names)

    def _render_program(self, name: str, places: Mapping[str, str]) -> str:
        as_group = str(name != _FIRST_TO_STOP).lower()
        return _PROGRAM.format(**places, name=name, log=_escape(str(self.log(name))), as_group=as_group)


def _socket_path(folder: Path) -> Path:
    """In the state folder, or in the system's folder for temporary files when that path would be too long."""
    path = folder / "supervisor.sock"
    if len(str(path).encode()) <= _SOCKET_PATH:
        return path
    name = hashlib.sha256(str(folder).encode()).hexdigest()[:16]
    return Path(tempfile.gettempdir()) / f"perennial-{name}.sock"


def _escape(text: str) -> str:
    return text.replace("%", "%%")
