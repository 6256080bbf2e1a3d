"""A real stack of its own: state, ports, and a watcher that refuses every connection that would leave the machine."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
WATCHER = Path(__file__).parent / "watcher"


@dataclass(frozen=True)
class WatchedStack:
    """The command line on a stack of its own.

    Attributes
    ----------
    book
        File in which every attempt to leave the machine is written down.
    """

    var: Path
    environment: dict[str, str]
    ports: dict[str, int]
    book: Path

    def perennial(self, *arguments: str, timeout: float = 300) -> subprocess.CompletedProcess[str]:
        """Run the command as its user would."""
        return subprocess.run(
            [sys.executable, "-m", "ml.cli.main", *arguments],
            cwd=ROOT,
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
        )

    def answer(self, *arguments: str, timeout: float = 300) -> dict:
        """Answer of a command that reports; its exit code must be 0."""
        done = self.perennial(*arguments, "--json", timeout=timeout)
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)


def free_ports(count: int) -> list[int]:
    """Ports that nobody holds at the moment."""
    probes = [socket.socket() for _ in range(count)]
    try:
        for probe in probes:
            probe.bind(("127.0.0.1", 0))
        return [probe.getsockname()[1] for probe in probes]
    finally:
        for probe in probes:
            probe.close()


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[WatchedStack]:
    """A stack that is not started yet, and is down when the module's tests are over."""
    var = tmp_path_factory.mktemp("var")
    ports = dict(zip(("airflow_port", "mlflow_port", "scoring_port"), free_ports(3), strict=True))
    book = var / "left_the_machine.txt"
    environment = {
        **{name: value for name, value in os.environ.items() if not name.startswith(("AIRFLOW", "PERENNIAL_"))},
        **{f"PERENNIAL_{name.upper()}": str(port) for name, port in ports.items()},
        "PERENNIAL_VAR": str(var),
        "PERENNIAL_WATCH_BOOK": str(book),
        "PYTHONPATH": str(WATCHER),
    }
    watched = WatchedStack(var, environment, ports, book)
    yield watched
    watched.perennial("down", timeout=120)
