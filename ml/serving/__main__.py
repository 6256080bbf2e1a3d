"""``python -m ml.serving``: one replica of the scoring service, until it is told to stop."""

from __future__ import annotations

import argparse
import asyncio
import gc
import logging
import re
import signal
import socket
import ssl
import sys
from collections.abc import Coroutine
from pathlib import Path
from typing import Any

import uvicorn

from ml.errors import InputError, PerennialError, StackError
from ml.serving.app import App
from ml.serving.capture import Durability, Outbox
from ml.serving.connection import connections_of, sweep
from ml.serving.dead_man import DeadMan
from ml.serving.heartbeat import beat
from ml.serving.http import Receive, Scope, Send
from ml.serving.keys import Keys, needs_keys
from ml.serving.metrics import Metrics
from ml.serving.telemetry import TelemetryWriter
from ml.serving.watch import Releases
from ml.settings import Settings, settings
from ml.use_case import UseCase, load_all

DRAIN_SECONDS = 10

log = logging.getLogger("ml.serving")
#: A power cut takes what was recorded since so many seconds, at most.
SYNC_SECONDS = 1.0
#: Objects that are made before the collector looks at the new ones; a request of 1,000 rows makes some thousands.
_LOOKED_AT = 10_000


def main(arguments: list[str]) -> int:
    """Exit code of a replica: 0 stopped, 2 when it cannot start as configured."""
    parser = argparse.ArgumentParser(prog="python -m ml.serving", description=__doc__)
    parser.add_argument("--host", help="address to bind to; default PERENNIAL_HOST")
    parser.add_argument("--port", type=_port, help="port to bind to; default PERENNIAL_SCORING_PORT")
    parser.add_argument(
        "--outbox-id", default="replica-0", type=_outbox_id, help="name of this replica and of its outbox"
    )
    parser.add_argument(
        "--stale-after",
        type=float,
        metavar="SECONDS",
        help="age of the last round of alerting from which on somebody else looks; default: as the round says",
    )
    options = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s %(message)s")
    # Told to stop, the server ends in order and then asks to be ended once more: there is nothing left to end.
    signal.signal(signal.SIGTERM, _ignore)
    signal.signal(signal.SIGINT, _ignore)
    try:
        run(settings(), options.host, options.port, options.outbox_id, stale_after=options.stale_after)
    except PerennialError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    return 0


def run(
    current: Settings, host: str | None, port: int | None, replica: str, *, stale_after: float | None = None
) -> None:
    """Serve every use case of the settings' folder until SIGTERM, then finish what is in flight.

    Raises
    ------
    InputError
        There is no use case file, or one has problems.
    StackError
        The port is taken, the outbox cannot be written, no key would be let in, or TLS cannot be spoken.
    """
    releases = Releases(current.releases, _load_use_cases(current.use_cases))
    keys = Keys(current.keys if needs_keys(current.scoring_auth, host or current.host) else None)
    tls = _tls(current)
    bound = _bind(host or current.host, port or current.scoring_port, shared=current.scoring_replicas > 1)
    outbox = Outbox(current.outbox / f"{replica}.sqlite", _durability(releases.use_cases()))
    metrics = Metrics()
    app = App(replica, releases, outbox, metrics, keys)
    told = TelemetryWriter(
        replica,
        metrics,
        outbox=current.outbox / f"{replica}.sqlite",
        spool=current.telemetry / f"{replica}.sqlite",
    )
    dead_man = DeadMan(current.heartbeat, stale_seconds=stale_after)
    serving = _Serving(app, releases, outbox, beat(current.outbox, replica, releases))
    told.start()
    dead_man.start()
    config = uvicorn.Config(
        serving,
        loop="uvloop",
        http=connections_of(app),
        ws="none",
        lifespan="on",
        access_log=False,
        server_header=False,
        log_config=None,
        log_level="warning",
        timeout_graceful_shutdown=DRAIN_SECONDS,
        **tls,
    )
    server = uvicorn.Server(config)
    serving.connections = server.server_state.connections
    try:
        server.run(sockets=[bound])
    finally:
        dead_man.stop()
        told.stop()
        outbox.close()


def _load_use_cases(folder: Path) -> dict[str, UseCase]:
    use_cases = load_all(folder)
    if not use_cases:
        raise InputError("no use case file", where=str(folder), got="none", allowed="one *.yaml or more")
    return use_cases


def _durability(use_cases: dict[str, UseCase]) -> Durability:
    """What the one outbox must survive: the strictest use case decides."""
    return "power" if any(u.serving.durability == "power" for u in use_cases.values()) else "process"


def _tls(current: Settings) -> dict[str, Any]:
    """The server's options for TLS, tried out: what is wrong with the files is told before anybody connects."""
    if current.scoring_tls_certificate is None or current.scoring_tls_key is None:
        return {}
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(
            current.scoring_tls_certificate, current.scoring_tls_key
        )
    except OSError as error:  # ssl.SSLError is one
        raise StackError(
            "TLS cannot be spoken with these files",
            where="scoring_tls_certificate, scoring_tls_key",
            got=str(error),
            allowed="a PEM certificate and its private key",
        ) from error
    return {"ssl_certfile": current.scoring_tls_certificate, "ssl_keyfile": current.scoring_tls_key}


def _bind(host: str, port: int, *, shared: bool) -> socket.socket:
    bound = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
    bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT if shared else socket.SO_REUSEADDR, 1)
    try:
        bound.bind((host, port))
        bound.listen(1024)
    except OSError as error:
        bound.close()
        raise StackError(
            "port cannot be used", where="scoring_port", got=f"{host}:{port}: {error.strerror}", allowed="a free port"
        ) from error
    return bound


class _Serving:
    """The application, with what runs beside it as long as it does: watchers of releases, clients and the disk."""

    def __init__(self, app: App, releases: Releases, outbox: Outbox, beat: Coroutine[Any, Any, None]) -> None:
        self._app, self._releases, self._outbox, self._beat = app, releases, outbox, beat
        self.connections: set[Any] = set()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request, or the life of the server."""
        if scope["type"] != "lifespan":
            await self._app(scope, receive, send)
            return
        await receive()
        for name in self._releases.use_cases():
            await self._releases.refresh(name)
        _spare_collector()
        beside = [self._releases.watch(), sweep(self.connections), self._sync(), self._beat]
        tasks = [asyncio.create_task(task) for task in beside]
        await send({"type": "lifespan.startup.complete"})
        await receive()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await send({"type": "lifespan.shutdown.complete"})

    async def _sync(self) -> None:
        """Bring the outbox through a power cut, again and again."""
        while True:
            await asyncio.sleep(SYNC_SECONDS)
            try:
                await asyncio.to_thread(self._outbox.sync)
            except OSError as error:  # the disk refuses; the next second it is asked again
                log.error("outbox sync failed: %s", error)  # noqa: TRY400 - it says all


def _spare_collector() -> None:
    """Have the garbage collector never look at what is loaded again: that would hold everybody up for 30 ms."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(_LOOKED_AT)


def _port(text: str) -> int:
    if not text.isdecimal() or not 1 <= int(text) <= 65535:
        raise argparse.ArgumentTypeError(f"must be from 1 to 65535, got {text!r}")
    return int(text)


def _outbox_id(text: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,99}", text):
        raise argparse.ArgumentTypeError(f"must be letters, digits, '_', '.' and '-', got {text!r}")
    return text


def _ignore(number: int, frame: object) -> None:
    """Let the server's own handling of the signal be all there is."""


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
