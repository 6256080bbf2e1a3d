"""One client's connection: uvicorn's, with limits on time and size, and a short way for requests that are not large.

A scoring request that is not large needs no queue and no timer: it is read here, a small one is asked at the end of
this turn of the event loop (:mod:`ml.serving.tick`), and answered by one write. Everything else goes uvicorn's way
through ASGI. A client that is slow, or sends what never ends, loses its connection and nobody else's time.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
from collections.abc import Callable, Collection, Mapping
from functools import partial
from typing import Any, ClassVar, Protocol

import httptools
from uvicorn.protocols.http.flow_control import FlowControl
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

from ml.records.codes import Code
from ml.serving.http import BODY_SECONDS, Reply, reply_problem
from ml.serving.identity import new_id
from ml.serving.problem import RequestRefused
from ml.serving.protocol import Request
from ml.serving.routes import Route
from ml.serving.short_request import ShortRequest

#: Connections at once; who comes then takes the place of whoever has kept us waiting longest.
MAX_CONNECTIONS = 1_000
#: Request line and headers together.
MAX_HEAD = 32 * 1024
#: Bodies that are read here, without a task that waits for their parts.
SHORT_BYTES = 128 * 1024

#: What a client may take, seconds: between two requests, for a request's head, and to read an answer.
IDLE_SECONDS = 30.0
HEAD_SECONDS = 10.0
WRITE_SECONDS = 30.0
SWEEP_SECONDS = 0.5

IDLE, HEAD, BODY, ANSWERING = range(4)
_LIMITS = {IDLE: IDLE_SECONDS, HEAD: HEAD_SECONDS, BODY: BODY_SECONDS}


class Application(Protocol):
    """What a connection needs of the application beside ASGI."""

    @property
    def short(self) -> Mapping[bytes, Route]:
        """Routes of small scoring requests, by path."""

    def take(self, request: Request, route: Route, started: float, done: Callable[[Reply], None]) -> None:
        """Have a whole request answered; ``done`` is called once, in this event loop."""

    def note_refused(self, refused: RequestRefused) -> None:
        """Count a request that was refused before it was one."""


class _Flow(FlowControl):
    """Nothing more is read while requests that have come wait for their turn: 50 bytes each become 2 kB in here."""

    def __init__(self, transport: asyncio.Transport, waiting: Collection[object]) -> None:
        super().__init__(transport)
        self._waiting = waiting

    def resume_reading(self) -> None:
        """Read on, unless a request waits."""
        if not self._waiting:
            super().resume_reading()


class Connection(HttpToolsProtocol):
    """Connection of a client of :attr:`application`."""

    application: ClassVar[Application]

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.phase, self.since, self.head_bytes = IDLE, self.loop.time(), 0
        self.stalled_since: float | None = None
        self._answering: Any = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Take a client, if need be in the place of the one that has kept us waiting longest."""
        super().connection_made(transport)
        self.flow = _Flow(transport, self.pipeline)
        if len(self.connections) <= MAX_CONNECTIONS:
            return
        others = (other for other in self.connections if isinstance(other, Connection) and other is not self)
        slow = [other for other in others if other.phase != ANSWERING and not other.transport.is_closing()]
        if slow:
            slowest = min(slow, key=lambda other: other.since)
            slowest.refuse(RequestRefused(Code.MALFORMED, "another client needs the connection", status=408))
        else:  # every other connection has a request that is being answered
            self.refuse(RequestRefused(Code.OVERLOADED, f"{MAX_CONNECTIONS} requests are being answered already"))

    def data_received(self, data: bytes) -> None:
        """Read what has come."""
        if self.phase == IDLE:
            self._enter(HEAD)
            self.head_bytes = 0  # of the request that begins here: as many at least as its head has
        if self.phase == HEAD:
            self.head_bytes += len(data)
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            return  # the request was answered as any other
        except httptools.HttpParserError:
            if self.head_bytes <= MAX_HEAD:
                self.refuse(RequestRefused(Code.MALFORMED, "this is not HTTP/1.1"))
                return
        if self.phase == HEAD and self.head_bytes > MAX_HEAD:
            detail = f"request line and headers are too large; allowed: {MAX_HEAD} bytes"
            self.refuse(RequestRefused(Code.MALFORMED, detail, status=431))

    def on_message_begin(self) -> None:
        """Begin a request; what ASGI needs of it is made when it goes that way."""
        self.url, self.headers = b"", []

    def on_header(self, name: bytes, value: bytes) -> None:
        """Take a header."""
        self.headers.append((name.lower(), value))

    def on_headers_complete(self) -> None:
        """Choose the way that a request goes."""
        if self.head_bytes > MAX_HEAD:  # what has come may be the head, or a body behind it
            self.head_bytes = len(self.url) + sum(len(name) + len(value) for name, value in self.headers)
            if self.head_bytes > MAX_HEAD:
                raise ValueError("head is too large")  # the parser stops here; data_received refuses
        route = self.application.short.get(self.url)
        headers = dict(self.headers)
        if route is None or not self._may_go_short(headers):
            self._enter(ANSWERING)
            self._go_long(headers)
            return
        self.cycle = ShortRequest(route, headers, keep_alive=self.parser.should_keep_alive())  # type: ignore[assignment]
        self.phase = BODY

    def _go_long(self, headers: Mapping[bytes, bytes]) -> None:
        url, given = self.url, self.headers
        super().on_message_begin()
        self.url, self.expect_100_continue = url, headers.get(b"expect", b"").lower() == b"100-continue"
        self.headers.extend(given)
        super().on_headers_complete()

    def _may_go_short(self, headers: Mapping[bytes, bytes]) -> bool:
        if self.parser.get_method() != b"POST" or self.parser.get_http_version() != "1.1":
            return False
        if self.flow.write_paused or not (self.cycle is None or self.cycle.response_complete):
            return False
        if b"content-encoding" in headers or b"transfer-encoding" in headers or b"expect" in headers:
            return False
        return int(headers.get(b"content-length", b"0")) <= SHORT_BYTES

    def on_body(self, body: bytes) -> None:
        """Keep a part of a body."""
        if isinstance(self.cycle, ShortRequest):
            self.cycle.parts.append(body)
        else:
            super().on_body(body)

    def on_message_complete(self) -> None:
        """Ask, when a short request is whole."""
        cycle: Any = self.cycle
        if not isinstance(cycle, ShortRequest):
            super().on_message_complete()
            return
        self.phase = ANSWERING
        body = cycle.parts[0] if len(cycle.parts) == 1 else b"".join(cycle.parts)
        request = Request("POST", self.url.decode("ascii"), cycle.headers, body, cycle.identity)
        self.application.take(request, cycle.route, cycle.started, partial(self._answer, cycle))

    def _answer(self, cycle: ShortRequest, reply: Reply) -> None:
        if cycle.response_complete or cycle.disconnected or self.transport.is_closing():
            return
        cycle.response_complete = True
        self._write(reply, cycle.identity, close=not cycle.keep_alive)
        self.on_response_complete()

    def refuse(self, refused: RequestRefused) -> None:
        """Tell a client why it is left, and leave it; in the middle of an answer it is only left."""
        if self.phase in {IDLE, HEAD, BODY} and not self.transport.is_closing():
            identity = new_id()
            self.application.note_refused(refused)
            self._write(reply_problem(refused, identity), identity, close=True)
            self.transport.close()
        else:
            self._forget_answer()
            self.transport.abort()

    def eof_received(self) -> None:
        """Nobody waits for an answer; the transport closes by itself."""
        self._forget_answer()

    def connection_lost(self, exc: Exception | None) -> None:
        """Nobody waits for an answer."""
        self._forget_answer()
        super().connection_lost(exc)

    def _forget_answer(self) -> None:
        """Have the answer that is being made go nowhere: a write on a connection that is gone raises."""
        for cycle in (self.cycle, self._answering):  # the newest request, and the one that is being answered
            if cycle is not None and not cycle.response_complete:
                cycle.disconnected = True
                cycle.message_event.set()

    def _start_asgi_task(self, cycle: Any, app: Any) -> None:
        self._answering = cycle
        super()._start_asgi_task(cycle, app)

    def _write(self, reply: Reply, identity: str, *, close: bool) -> None:
        length = str(len(reply.content)).encode()
        parts = [STATUS_LINE[reply.status], b"content-type: ", reply.media, b"\r\ncontent-length: ", length]
        parts += (b"\r\nx-request-id: ", identity.encode(), b"\r\n")
        for name, value in (*self.server_state.default_headers, *reply.headers):
            parts += [name, b": ", value, b"\r\n"]
        if close:
            parts.append(b"connection: close\r\n")
        self.transport.write(b"".join((*parts, b"\r\n", reply.content)))
        if close:
            self.transport.close()

    def on_response_complete(self) -> None:
        """Wait for the next request, or go on with the one that has come meanwhile."""
        self.server_state.total_requests += 1
        if self.transport.is_closing():
            return
        if self.pipeline:
            cycle, app = self.pipeline.pop()
            self._start_asgi_task(cycle, app)
        else:
            self._enter(IDLE)
        self.flow.resume_reading()

    def pause_writing(self) -> None:
        """Do not wait for ever for a client that does not read."""
        self.stalled_since = self.loop.time()
        super().pause_writing()

    def resume_writing(self) -> None:
        """Go on when it has read."""
        self.stalled_since = None
        super().resume_writing()

    def _enter(self, phase: int) -> None:
        self.phase, self.since = phase, self.loop.time()

    def sweep(self, now: float) -> None:
        """Leave the client when it has taken longer than its phase allows."""
        if self.transport.is_closing() and self.stalled_since is None:
            self.stalled_since = now  # what is left to be sent may never be read
        if self.stalled_since is not None and now - self.stalled_since > WRITE_SECONDS:
            _forget_unsent(self.transport)
            self.transport.abort()
            return
        limit = _LIMITS.get(self.phase)
        if limit is None or now - self.since <= limit:
            return
        if self.phase == IDLE:
            self.transport.close()
        else:
            what = "head" if self.phase == HEAD else "body"
            self.refuse(RequestRefused(Code.MALFORMED, f"{what} did not arrive within {limit:g} s", status=408))


def _forget_unsent(transport: asyncio.BaseTransport) -> None:
    """Let the end of a connection be a reset: else the kernel keeps what nobody reads, and the client waits with it."""
    bound = transport.get_extra_info("socket")
    with contextlib.suppress(OSError):  # it may be closed already
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


def connections_of(application: Application) -> type[Connection]:
    """Connections of one application's clients."""
    return type("BoundConnection", (Connection,), {"application": application})


async def sweep(connections: set[Any]) -> None:
    """Leave clients that take too long, until cancelled."""
    while True:
        await asyncio.sleep(SWEEP_SECONDS)
        now = asyncio.get_running_loop().time()
        for connection in list(connections):
            connection.sweep(now)
