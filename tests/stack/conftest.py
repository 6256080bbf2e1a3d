"""A real stack of its own: state, ports, and a watcher that refuses every connection that would leave the machine."""

from __future__ import annotations

import ctypes
import fcntl
import json
import os
import shutil
import signal
import socket
import struct
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from ml.settings import NO_TELEMETRY

ROOT = Path(__file__).parents[2]
WATCHER = Path(__file__).parent / "watcher"

CLONE_NEWNET, SIOCSIFFLAGS, IFF_UP_RUNNING = 0x40000000, 0x8914, 0x41
#: What the kernel counts when somebody tries to leave: no route (TCP, UDP, names), and a name server on loopback.
LEAVING = ("Ip:OutNoRoutes", "Udp:NoPorts", "Ip6OutNoRoutes", "Udp6NoPorts")

#: What tells a library that it is being tested, so that it would not report home even if we let it.
TELLING = {"CI", "GITHUB_ACTIONS", "PYTEST_CURRENT_TEST", "PYTEST_VERSION"}

Counts = Callable[[], dict[str, int]]


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

    def begin(self, *arguments: str) -> subprocess.Popen[str]:
        """Start the command, which can be interrupted as at a terminal; its stderr can be read line by line."""
        # Tests that were started in the background ignore interrupts, and so would all that they start.
        signal.signal(signal.SIGINT, signal.default_int_handler)
        return subprocess.Popen(
            [sys.executable, "-m", "ml.cli.main", *arguments],
            cwd=ROOT,
            env=self.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
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


def new_stack(var: Path, **settings: str) -> WatchedStack:
    """A stack that is not started yet, on ports of its own."""
    ports = dict(zip(("airflow_port", "mlflow_port", "scoring_port"), free_ports(3), strict=True))
    book = var / "left_the_machine.txt"
    environment = {
        **{
            name: value
            for name, value in os.environ.items()
            if not name.startswith(("AIRFLOW", "PERENNIAL_")) and name not in TELLING | set(NO_TELEMETRY)
        },
        **{f"PERENNIAL_{name.upper()}": str(port) for name, port in ports.items()},
        **settings,
        "PERENNIAL_VAR": str(var),
        "PERENNIAL_WATCH_BOOK": str(book),
        "PYTHONPATH": str(WATCHER),
    }
    return WatchedStack(var, environment, ports, book)


@pytest.fixture(scope="session")
def attempts_to_leave() -> Counts | None:
    """What the kernel has counted of attempts to leave the machine; None where the tests may not ask it.

    This process moves into a network of its own that has nothing but loopback, and everything that it starts is born
    there. So whatever opens a connection is seen, compiled code and event loops included, which raise no audit events.
    """
    if ctypes.CDLL(None, use_errno=True).unshare(CLONE_NEWNET) != 0:
        return None
    with socket.socket() as probe:
        fcntl.ioctl(probe, SIOCSIFFLAGS, struct.pack("16sH14s", b"lo", IFF_UP_RUNNING, b""))
    return count_attempts


def count_attempts() -> dict[str, int]:
    """The kernel's counters of this process's network, by name."""
    lines = Path("/proc/thread-self/net/snmp").read_text(encoding="ascii").splitlines()
    counts = {}
    for names, values in zip(lines[::2], lines[1::2], strict=True):
        group, *keys = names.split()
        counts |= {f"{group}{key}": int(value) for key, value in zip(keys, values.split()[1:], strict=True)}
    for line in Path("/proc/thread-self/net/snmp6").read_text(encoding="ascii").splitlines():
        name, value = line.split()
        counts[name] = int(value)
    return {name: counts[name] for name in LEAVING}


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory, attempts_to_leave: Counts | None) -> Iterator[WatchedStack]:
    """A stack that is not started yet, and is down when the module's tests are over."""
    use_cases = tmp_path_factory.mktemp("installation") / "use_cases"
    shutil.copytree(ROOT / "use_cases", use_cases)
    watched = new_stack(tmp_path_factory.mktemp("var"), PERENNIAL_USE_CASES=str(use_cases))
    yield watched
    watched.perennial("down", timeout=120)
