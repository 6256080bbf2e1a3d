"""Clients that never pause, with prepared bytes: by ``wrk`` where it is installed, else by a process of our own.

``python -m benchmarks.load PORT PATH BODIES SECONDS CLIENTS`` is that process; it tells what it found as JSON. What
asks must cost less than what answers: wrk is written in C and takes a few microseconds a request.
"""

from __future__ import annotations

import asyncio
import json
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from itertools import cycle
from pathlib import Path
from typing import Any, TypeVar

from ml.settings import PROJECT

_SCRIPT = Path(__file__).with_name("wrk.lua")


@dataclass(frozen=True)
class Load:
    """What clients got.

    Attributes
    ----------
    failures
        Requests that were not answered with 200.
    p50, p99
        Of the time to an answer, seconds.
    """

    requests: int
    failures: int
    seconds: float
    p50: float
    p99: float

    @property
    def rate(self) -> float:
        """Answers a second."""
        return (self.requests - self.failures) / self.seconds


def generator() -> str:
    """What asks: ``wrk`` or ``our own``."""
    return "wrk" if shutil.which("wrk") else "our own"


def put_load(port: int, path: str, bodies: Path, *, seconds: float, clients: int) -> Load:
    """What so many clients got, each with one connection.

    Parameters
    ----------
    bodies
        File of JSON bodies, one a line, which are asked one after the other.
    """
    command = [sys.executable, "-m", "benchmarks.load", str(port), path, str(bodies), str(seconds), str(clients)]
    if generator() == "wrk":
        # wrk counts whole seconds and takes no fewer than one.
        command = ["wrk", "-t1", f"-c{clients}", f"-d{max(1, round(seconds))}s", "--timeout", "20s"]
        command += ["-s", str(_SCRIPT), f"http://127.0.0.1:{port}{path}", "--", str(bodies)]
    told = subprocess.run(command, cwd=PROJECT, capture_output=True, check=True, text=True).stdout
    return Load(**json.loads(told.strip().splitlines()[-1]))


class Client(asyncio.Protocol):
    """One connection: the next request leaves when the answer to the last has come whole."""

    def __init__(self, requests: Sequence[bytes], until: float) -> None:
        self._requests, self.until = cycle(requests), until
        self.times: list[float] = []
        self.failures = 0
        self.ended = asyncio.get_running_loop().create_future()
        self._received = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Send the first request."""
        self._transport = transport
        self.ask()

    def data_received(self, data: bytes) -> None:
        """Count a whole answer and ask again."""
        self._received += data
        head, separator, rest = self._received.partition(b"\r\n\r\n")
        if not separator or len(rest) < _length(head):
            return
        now = time.perf_counter()
        self.times.append(now - self._asked)
        if b" 200 " in head[:20]:
            self.judge(rest)
        else:
            self.failures += 1
        self._received = b""
        if now < self.until:
            self.ask()
        else:
            self.leave()

    def judge(self, content: bytes) -> None:
        """Look at an answer; what is in it does not matter here."""

    def connection_lost(self, error: Exception | None) -> None:
        """A connection that the server ends is a failure."""
        self.failures += error is not None
        self.ended.set_result(None)

    def leave(self) -> None:
        """Ask no more."""
        self._transport.close()

    def ask(self) -> None:
        """Send the next request."""
        self._asked = time.perf_counter()
        self._transport.write(next(self._requests))  # type: ignore[attr-defined]


def _length(head: bytes) -> int:
    for line in head.lower().split(b"\r\n"):
        if line.startswith(b"content-length:"):
            return int(line.partition(b":")[2])
    raise ValueError(f"an answer without a length: {head[:200]!r}")


def write_request(path: str, body: bytes) -> bytes:
    """A whole request with a JSON body."""
    head = f"POST {path} HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: {len(body)}\r\n\r\n"
    return head.encode() + body


C = TypeVar("C", bound=Client)


async def connect(port: int, clients: Sequence[C]) -> Sequence[C]:
    """The same clients, each with a connection, on which it asks."""
    loop = asyncio.get_running_loop()
    for client in clients:
        await loop.create_connection(lambda client=client: client, "127.0.0.1", port)  # type: ignore[misc]
    return clients


async def ask_all(port: int, path: str, bodies: Sequence[bytes], seconds: float, clients: int) -> Load:
    """The same by clients of this process."""
    requests = [write_request(path, body) for body in bodies]
    started = time.perf_counter()
    asked = await connect(port, [Client(requests, started + seconds) for _ in range(clients)])
    await asyncio.gather(*(client.ended for client in asked))
    times = sorted(taken for client in asked for taken in client.times) or [float("nan")]
    return Load(
        requests=len(times),
        failures=sum(client.failures for client in asked),
        seconds=time.perf_counter() - started,
        p50=times[len(times) // 2],
        p99=times[len(times) * 99 // 100],
    )


async def ask_until_told(port: int, clients: Sequence[C]) -> list[float]:
    """Seconds to each answer, ascending, of clients that ask until standard input ends."""
    await connect(port, clients)
    print("connected", flush=True)
    loop = asyncio.get_running_loop()
    ended = loop.create_future()
    loop.add_reader(sys.stdin, lambda: ended.done() or ended.set_result(None))
    await ended
    for client in clients:
        client.until = 0.0
    await asyncio.gather(*(client.ended for client in clients))
    return sorted(taken for client in clients for taken in client.times)


@contextmanager
def asking(module: str, *arguments: object) -> Iterator[dict[str, Any]]:
    """Clients in a process of their own while the block lasts; what they tell is in the mapping after it.

    Parameters
    ----------
    module
        Which calls :func:`ask_until_told` and prints JSON.
    """
    command = [sys.executable, "-m", module, *map(str, arguments)]
    told: dict[str, Any] = {}
    with subprocess.Popen(command, cwd=PROJECT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None  # noqa: S101 - a pipe
            process.stdout.readline()  # they are connected
            yield told
        finally:
            said, _ = process.communicate()  # its input ends, and so does it
        told |= json.loads(said)


def main(port: str, path: str, bodies: str, seconds: str, clients: str) -> None:
    """Ask and tell."""
    import uvloop

    lines = Path(bodies).read_bytes().splitlines()
    print(json.dumps(asdict(uvloop.run(ask_all(int(port), path, lines, float(seconds), int(clients))))))


if __name__ == "__main__":
    main(*sys.argv[1:])
