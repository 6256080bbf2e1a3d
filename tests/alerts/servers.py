"""Real servers on loopback: SMTP, and HTTP that answers as it is told."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from aiosmtpd.controller import Controller
from aiosmtpd.smtp import SMTP


@dataclass
class Post:
    """A server's post: what came in, and how many times it refuses before it takes something."""

    port: int = 0
    refusals: int = 0
    status: int = 200
    taken: list[Any] = field(default_factory=list)
    asked: int = 0


@contextmanager
def smtp_server(post: Post) -> Iterator[Post]:
    """An SMTP server that keeps envelopes."""

    class Handler:
        async def handle_DATA(self, server: SMTP, session: Any, envelope: Any) -> str:  # noqa: N802 - aiosmtpd's name
            post.asked += 1
            if post.asked <= post.refusals:
                return "451 try again later"
            post.taken.append(envelope)
            return "250 taken"

    with socket.socket() as probe:  # the library connects to the port that it was given, so it must be a real one
        probe.bind(("127.0.0.1", 0))
        post.port = probe.getsockname()[1]
    controller = Controller(Handler(), hostname="127.0.0.1", port=post.port)
    controller.start()
    try:
        yield post
    finally:
        controller.stop()


@contextmanager
def dripping_server() -> Iterator[int]:
    """A server that says a byte ten times a second and never ends a line; its port."""
    ended = threading.Event()
    server = socket.create_server(("127.0.0.1", 0))
    server.settimeout(0.1)

    def drip() -> None:
        while not ended.is_set():
            try:
                client, _ = server.accept()
            except TimeoutError:
                continue
            with client, suppress(OSError):
                while not ended.wait(0.1):
                    client.sendall(b"2")

    thread = threading.Thread(target=drip)
    thread.start()
    try:
        yield server.getsockname()[1]
    finally:
        ended.set()
        thread.join()
        server.close()


@contextmanager
def http_server(post: Post) -> Iterator[Post]:
    """An HTTP server that keeps headers and bodies."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            post.asked += 1
            refused = post.asked <= post.refusals
            if not refused:
                post.taken.append((self.path, dict(self.headers), body))
            self.send_response(500 if refused else post.status)
            self.send_header("Location", f"http://127.0.0.1:{post.port}/elsewhere")
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            """Quiet."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    post.port = server.server_address[1]
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield post
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
