"""What must hold before the stack starts: folders to read and write, ports that nobody else holds."""

from __future__ import annotations

import contextlib
import socket
from pathlib import Path

import psutil

from ml.errors import StackError
from ml.settings import Settings
from ml.stack.processes import find_processes

PORTS = ("airflow_port", "mlflow_port", "scoring_port")


def check_machine(settings: Settings) -> None:
    """The stack can start here, as far as folders and ports tell; the state folder is made.

    Raises
    ------
    StackError
        Something is in the way; every problem is listed with its setting, and a port's with its holder.
    """
    problems = (*_folder_problems(settings), *_port_problems(settings))
    if problems:
        raise StackError(
            "the stack cannot start here",
            where=", ".join(setting for setting, _ in problems),
            got="".join(f"\n  {text}" for _, text in problems),
            allowed="free ports and a writable folder, set by these variables",
        )


def _folder_problems(settings: Settings) -> tuple[tuple[str, str], ...]:
    problems = []
    if not (settings.home / "dags").is_dir():
        problems.append(("PERENNIAL_HOME", f"PERENNIAL_HOME={settings.home} holds no folder dags"))
    try:
        _write_probe(settings.var)
    except OSError as error:
        problems.append(("PERENNIAL_VAR", f"PERENNIAL_VAR={settings.var} cannot be written: {error.strerror}"))
    return tuple(problems)


def _write_probe(folder: Path) -> None:
    (folder / "stack").mkdir(parents=True, exist_ok=True)
    probe = folder / "stack" / ".writable"
    probe.write_text("", encoding="ascii")
    probe.unlink()


def _port_problems(settings: Settings) -> tuple[tuple[str, str], ...]:
    wanted = {f"PERENNIAL_{name.upper()}": int(getattr(settings, name)) for name in PORTS}
    ports = list(wanted.values())
    ours: set[int] | None = None
    problems = []
    for setting, port in wanted.items():
        if ports.count(port) > 1:
            problems.append((setting, f"{setting}={port} is given twice"))
        elif not _is_free(settings.host, port):
            ours = {process.pid for process in find_processes(settings.var)} if ours is None else ours
            holder = _holder(port)
            if holder is None or holder.pid not in ours:  # what a killed stack left is ended before the start
                problems.append((setting, f"{setting}={port} is held by {_describe(holder)}"))
    return tuple(problems)


def _is_free(host: str, port: int) -> bool:
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError:
            return False
    return True


def _holder(port: int) -> psutil.Process | None:
    """Process that listens on a port; None when the system does not tell (it may be another user's)."""
    with contextlib.suppress(psutil.Error):
        for connection in psutil.net_connections("tcp"):
            at = connection.laddr.port if connection.laddr else None
            if at == port and connection.status == psutil.CONN_LISTEN and connection.pid is not None:
                return psutil.Process(connection.pid)
    return None


def _describe(holder: psutil.Process | None) -> str:
    if holder is None:
        return "another process"
    with contextlib.suppress(psutil.Error):
        return f"{holder.name()} (pid {holder.pid}): {' '.join(holder.cmdline())[:120]}"
    return f"pid {holder.pid}"
