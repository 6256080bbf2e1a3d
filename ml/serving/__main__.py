"""``python -m ml.serving``: one replica of the scoring service, until it is told to stop."""

from __future__ import annotations

import argparse
import asyncio
import logging
import socket
import sys

import uvicorn

from ml.errors import PerennialError, StackError
from ml.serving.app import App
from ml.serving.capture import Outbox
from ml.serving.http import Receive, Scope, Send
from ml.serving.metrics import Metrics
from ml.serving.watch import Releases
from ml.settings import Settings, settings
from ml.use_case import load_all

#: Requests in flight beyond which a client is told to come back (503).
MAX_CONCURRENCY = 1_000
DRAIN_SECONDS = 10


def main(arguments: list[str]) -> int:
    """Exit code of a replica: 0 stopped, 2 when it cannot start as configured."""
    parser = argparse.ArgumentParser(prog="python -m ml.serving", description=__doc__)
    parser.add_argument("--host", help="address to bind to; default PERENNIAL_HOST")
    parser.add_argument("--port", type=int, help="port to bind to; default PERENNIAL_SCORING_PORT")
    parser.add_argument("--replica", default="replica-0", help="name of this replica and of its outbox")
    options = parser.parse_args(arguments)
    logging.basicConfig(level=logging.WARNING, format="%(asctime)s %(levelname)s %(name)s %(message)s")
    try:
        run(settings(), options.host, options.port, options.replica)
    except PerennialError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    return 0


def run(current: Settings, host: str | None, port: int | None, replica: str) -> None:
    """Serve every use case of the settings' folder until SIGTERM, then finish what is in flight.

    Raises
    ------
    UseCaseError
        A use case file has problems.
    StackError
        The port is taken or the outbox cannot be written.
    """
    releases = Releases(current.releases, load_all(current.use_cases))
    bound = _bind(host or current.host, port or current.scoring_port)
    outbox = Outbox(current.outbox / f"{replica}.sqlite")
    app = App(replica, releases, outbox, Metrics())
    config = uvicorn.Config(
        _with_lifespan(app, releases),
        loop="uvloop",
        http="httptools",
        access_log=False,
        server_header=False,
        log_level="warning",
        limit_concurrency=MAX_CONCURRENCY,
        timeout_graceful_shutdown=DRAIN_SECONDS,
    )
    try:
        uvicorn.Server(config).run(sockets=[bound])
    finally:
        outbox.close()


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


class _with_lifespan:  # noqa: N801 - wraps a callable, is called like one
    """The application, with the watcher of releases running as long as it does."""

    def __init__(self, app: App, releases: Releases) -> None:
        self._app, self._releases = app, releases

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "lifespan":
            await self._app(scope, receive, send)
            return
        await receive()
        for name in self._releases.use_cases():
            await self._releases.refresh(name)
        watcher = asyncio.create_task(self._releases.watch())
        await send({"type": "lifespan.startup.complete"})
        await receive()
        watcher.cancel()
        await send({"type": "lifespan.shutdown.complete"})


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
