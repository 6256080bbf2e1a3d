"""supervisord, which keeps the stack's processes alive and stops them as groups; driven by a generated file."""

from __future__ import annotations

import hashlib
import subprocess
import sys
import tempfile
import time
import xmlrpc.client
from pathlib import Path
from typing import Any

from supervisor.options import VERSION
from supervisor.xmlrpc import SupervisorTransport

from ml.errors import StackError
from ml.records.base import write_atomically
from ml.settings import Settings
from ml.stack.services import Service

_HEAD = """; generated for supervisor {version}; do not edit
[unix_http_server]
file={socket}
chmod=0700

[supervisord]
logfile={folder}/supervisord.log
pidfile={folder}/supervisord.pid
childlogdir={folder}
directory={home}
silent=true

[rpcinterface:supervisor]
supervisor.rpcinterface_factory = supervisor.rpcinterface:make_main_rpcinterface
"""

_PROGRAM = """
[program:{name}]
command={command}
directory={home}
autostart={autostart}
autorestart=true
startsecs=2
startretries=10
stopwaitsecs=20
stopasgroup=true
killasgroup=true
redirect_stderr=true
stdout_logfile={log}
stdout_logfile_maxbytes=20MB
stdout_logfile_backups=2
"""


class Supervisor:
    """The stack's supervisord: started, asked and stopped.

    Parameters
    ----------
    settings
        Whose state folder holds its file, its log and the logs of the services.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self.folder = settings.var / "stack"
        # A socket's path may have 107 bytes; a state folder's may be longer.
        name = hashlib.sha256(str(settings.var.resolve()).encode()).hexdigest()[:16]
        self._socket = Path(tempfile.gettempdir()) / f"perennial-{name}.sock"

    def log(self, service: str) -> Path:
        """Log file of a service."""
        return self.folder / f"{service}.log"

    def start(self, services: tuple[Service, ...], environment: dict[str, str], *, migrated: bool) -> None:
        """Start supervisord with the services; those that need a database wait until it is migrated.

        Raises
        ------
        StackError
            It did not start.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        path = self.folder / "supervisord.conf"
        write_atomically(path, self._render(services, migrated=migrated).encode())
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

    def states(self) -> dict[str, dict[str, Any]]:
        """What it says about each service, by name; empty when it does not run."""
        try:
            return {info["name"]: info for info in self._ask("getAllProcessInfo")}
        except (OSError, xmlrpc.client.Error):
            return {}

    def ensure_started(self, service: str) -> None:
        """Start a service that does not run."""
        if self.states()[service]["statename"] not in {"RUNNING", "STARTING", "BACKOFF"}:
            self._ask("startProcess", service, False)

    def stop(self, *, timeout: float = 40.0) -> None:
        """Stop all services and supervisord itself; nothing happens when it does not run."""
        try:
            self._ask("shutdown")
        except (OSError, xmlrpc.client.Error):
            return
        deadline = time.monotonic() + timeout
        while self.states() and time.monotonic() < deadline:
            time.sleep(0.1)

    def _ask(self, method: str, *arguments: Any) -> Any:
        transport = SupervisorTransport(None, None, f"unix://{self._socket}")
        with xmlrpc.client.ServerProxy("http://127.0.0.1", transport=transport, allow_none=True) as server:
            return getattr(server.supervisor, method)(*arguments)

    def _render(self, services: tuple[Service, ...], *, migrated: bool) -> str:
        home = _escape(str(self._settings.home))
        text = _HEAD.format(
            version=VERSION, socket=_escape(str(self._socket)), folder=_escape(str(self.folder)), home=home
        )
        for service in services:
            text += _PROGRAM.format(
                name=service.name,
                command=" ".join(_escape(f'"{part}"') for part in service.command),
                home=home,
                autostart=str(migrated or not service.needs_database).lower(),
                log=_escape(str(self.log(service.name))),
            )
        return text


def _escape(text: str) -> str:
    return text.replace("%", "%%")
