"""``python -m benchmarks.load PORT PATH BODY SECONDS``: requests a second of 16 clients that never pause, as JSON.

A process of its own, so that it does not share the server's interpreter; it sends prepared bytes and only counts.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from pathlib import Path

import uvloop

CLIENTS = 16


class Client(asyncio.Protocol):
    """One connection: the next request leaves when the answer to the last has come whole."""

    def __init__(self, request: bytes, until: float) -> None:
        self.request, self.until = request, until
        self.answers = self.failures = 0
        self.ended = asyncio.get_running_loop().create_future()
        self._received = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Send the first request."""
        self._transport = transport
        transport.write(self.request)  # type: ignore[attr-defined]

    def data_received(self, data: bytes) -> None:
        """Count a whole answer and ask again."""
        self._received += data
        head, separator, rest = self._received.partition(b"\r\n\r\n")
        if not separator or len(rest) < _length(head):
            return
        self.answers += 1
        self.failures += head[:10] != b"HTTP/1.1 2"  # 207: some of its rows were refused
        self._received = b""
        if time.perf_counter() < self.until:
            self._transport.write(self.request)  # type: ignore[attr-defined]
        else:
            self._transport.close()

    def connection_lost(self, error: Exception | None) -> None:
        """A connection that the server ends is a failure."""
        self.failures += error is not None
        self.ended.set_result(None)


def _length(head: bytes) -> int:
    for line in head.lower().split(b"\r\n"):
        if line.startswith(b"content-length:"):
            return int(line.partition(b":")[2])
    raise ValueError(f"an answer without a length: {head[:200]!r}")


async def measure(port: int, path: str, body: bytes, seconds: float) -> dict[str, float]:
    """Answers a second, and failures."""
    head = f"POST {path} HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: {len(body)}\r\n\r\n"
    request = head.encode() + body
    started = time.perf_counter()
    loop = asyncio.get_running_loop()
    made = [
        await loop.create_connection(lambda: Client(request, started + seconds), "127.0.0.1", port)
        for _ in range(CLIENTS)
    ]
    clients = [client for _, client in made]
    await asyncio.gather(*(client.ended for client in clients))
    answers = sum(client.answers for client in clients)
    failures = sum(client.failures for client in clients)
    return {"per_second": answers / (time.perf_counter() - started), "failures": failures}


if __name__ == "__main__":
    found = uvloop.run(measure(int(sys.argv[1]), sys.argv[2], Path(sys.argv[3]).read_bytes(), float(sys.argv[4])))
    print(json.dumps(found))
