"""``python -m ml.serving``: one replica of the scoring service, until it is told to stop."""

from __future__ import annotations

import argparse
import asyncio
import logging
import re
import signal
import socket
import sys
from pathlib import Path

import uvicorn

from ml.errors import InputError, PerennialError, StackError
from ml.serving.app import App
from ml.serving.capture import Outbox
from ml.serving.dead_man import STALE_SECONDS, DeadMan
from ml.serving.http import Application, Receive, Scope, Send
from ml.serving.metrics import Metrics
from ml.serving.telemetry import TelemetryWriter
from ml.serving.watch import Releases
from ml.settings import Settings, settings
from ml.use_case import UseCase, load_all

#: Connections beyond which a client is told to come back (503).
MAX_CONCURRENCY = 1_000
DRAIN_SECONDS = 10


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
        default=STALE_SECONDS,
        type=float,
        metavar="SECONDS",
        help="age of the last round of alerting from which on somebody else looks; default %(default)g",
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
    current: Settings, host: str | None, port: int | None, replica: str, *, stale_after: float = STALE_SECONDS
) -> None:
    """Serve every use case of the settings' folder until SIGTERM, then finish what is in flight.

    Raises
    ------
    InputError
        There is no use case file, or one has problems.
    StackError
        The port is taken or the outbox cannot be written.
    """
    releases = Releases(current.releases, _load_use_cases(current.use_cases))
    bound = _bind(host or current.host, port or current.scoring_port)
    outbox = Outbox(current.outbox / f"{replica}.sqlite")
    metrics = Metrics()
    app = App(replica, releases, outbox, metrics)
    told = TelemetryWriter(
        replica,
        metrics,
        outbox=current.outbox / f"{replica}.sqlite",
        spool=current.telemetry / f"{replica}.sqlite",
    )
    dead_man = DeadMan(current.heartbeat, stale_seconds=stale_after)
    told.start()
    dead_man.start()
    config = uvicorn.Config(
        _with_watch(app, releases),
        loop="uvloop",
        http="httptools",
        ws="none",
        lifespan="on",
        access_log=False,
        server_header=False,
        log_config=None,
        log_level="warning",
        limit_concurrency=MAX_CONCURRENCY,
        timeout_graceful_shutdown=DRAIN_SECONDS,
    )
    try:
        uvicorn.Server(config).run(sockets=[bound])
    finally:
        dead_man.stop()
        told.stop()
        outbox.close()


def _load_use_cases(folder: Path) -> dict[str, UseCase]:
    use_cases = load_all(folder)
    if not use_cases:
        raise InputError("no use case file", where=str(folder), got="none", allowed="one *.yaml or more")
    return use_cases


def _bind(host: str, port: int) -> socket.socket:
    bound = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
    bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        bound.bind((host, port))
        bound.listen(1024)
    except OSError as error:
        bound.close()
        raise StackError(
            "port cannot be used", where="scoring_port", got=f"{host}:{port}: {error.strerror}", allowed="a free port"
        ) from error
    return bound


def _with_watch(app: App, releases: Releases) -> Application:
    """The application, with the watcher of releases running as long as it does."""

    async def serve(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "lifespan":
            await app(scope, receive, send)
            return
        await receive()
        for name in releases.use_cases():
            await releases.refresh(name)
        watcher = asyncio.create_task(releases.watch())
        await send({"type": "lifespan.startup.complete"})
        await receive()
        watcher.cancel()
        await send({"type": "lifespan.shutdown.complete"})

    return serve


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
