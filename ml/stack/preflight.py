"""What must hold before the stack starts: a folder to write to, ports that nobody holds."""

from __future__ import annotations

import contextlib
import socket
from pathlib import Path

import psutil

from ml.errors import StackError
from ml.settings import Settings

PORTS = ("airflow_port", "mlflow_port", "scoring_port")


def check_folder(var: Path) -> None:
    """Make the state folder.

    Raises
    ------
    StackError
        It cannot be made or written to.
    """
    try:
        var.mkdir(parents=True, exist_ok=True)
        probe = var / ".writable"
        probe.touch()
        probe.unlink()
    except OSError as error:
        raise StackError(
            "folder cannot be written",
            where="PERENNIAL_VAR",
            got=f"{var}: {error.strerror}",
            allowed="a folder of yours",
        ) from error


def check_ports(settings: Settings) -> None:
    """Every port of the stack can be bound.

    Raises
    ------
    StackError
        Some cannot; each is named with its setting and, where it can be known, its holder.
    """
    wanted = {name: getattr(settings, name) for name in PORTS}
    problems = [
        f"PERENNIAL_{name.upper()}={port} is held by {_holder(port)}"
        for name, port in wanted.items()
        if not _is_free(settings.host, port)
    ]
    ports = list(wanted.values())
    problems += [
        f"PERENNIAL_{name.upper()}={port} is given twice" for name, port in wanted.items() if ports.count(port) > 1
    ]
    if problems:
        raise StackError(
            "ports are in use",
            where=settings.host,
            got="; ".join(problems),
            allowed="free ports, set by these variables",
        )


def _is_free(host: str, port: int) -> bool:
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError:
            return False
    return True


def _holder(port: int) -> str:
    with contextlib.suppress(psutil.Error):
        for connection in psutil.net_connections("tcp"):
            if connection.laddr and connection.laddr.port == port and connection.status == psutil.CONN_LISTEN:
                if connection.pid is None:
                    break
                process = psutil.Process(connection.pid)
                return f"{process.name()} (pid {process.pid})"
    return "another process"
