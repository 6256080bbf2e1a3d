"""What is read from a replica: its state, its counters, its description, and the same in other protocols' words."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable
from importlib.metadata import version

from ml.records.codes import Code
from ml.serving.capture import Outbox
from ml.serving.http import Reply, reply_json
from ml.serving.metrics import Metrics
from ml.serving.open_inference import (
    Path,
    describe_config,
    describe_model,
    describe_repository,
    describe_server,
    describe_statistics,
    read_path,
)
from ml.serving.openapi import describe_api, show_api
from ml.serving.problem import RequestRefused
from ml.serving.protocol import Request
from ml.serving.watch import Releases

#: Paths that a client reads without a key: they tell whether the service works, and nothing else.
OPEN_PATHS = frozenset({"/health/live", "/health/ready", "/ping", "/health", "/v2/health/live", "/v2/health/ready"})
_POSTED = frozenset({"/v2/repository/index"})


class Pages:
    """Everything of a replica that is read with GET.

    Parameters
    ----------
    replica
        Its name.
    """

    def __init__(self, replica: str, releases: Releases, outbox: Outbox, metrics: Metrics) -> None:
        self._replica, self._releases, self._outbox, self._metrics = replica, releases, outbox, metrics
        self._pages: dict[str, Callable[[], Awaitable[Reply]]] = {
            "/status": self._status,
            "/health/live": self._live,
            "/health/ready": self._ready,
            "/metrics": self._show_metrics,
            "/openapi.json": self._openapi,
            "/docs": self._docs,
            "/ping": self._ping,
            "/health": self._ping,
            "/version": self._version,
            "/v2": self._server,
            "/v2/health/live": self._live,
            "/v2/health/ready": self._ready,
            "/v2/models/stats": self._all_statistics,
            "/v2/repository/index": self._repository,
        }

    async def show(self, request: Request) -> Reply:
        """Reply with a page.

        Raises
        ------
        RequestRefused
            There is none (404), it is not read like this (405), or speaks of a model that does not serve (404, 503).
        """
        page, model = self._pages.get(request.path), read_path(request.path)
        if page is None and model is None:
            raise RequestRefused(Code.MALFORMED, f"no such path: {request.path[:100]}", status=404)
        allowed = {"POST", "GET"} if request.path in _POSTED else {"GET", "HEAD"}
        if request.method not in allowed:
            allow = ", ".join(sorted(allowed))
            detail = f"{request.path[:100]} is read with {allow}"
            raise RequestRefused(Code.MALFORMED, detail, status=405, allow=allow)
        return await page() if page else self._model(model)  # type: ignore[arg-type]

    def _model(self, path: Path) -> Reply:
        use_cases = self._releases.use_cases()
        if path.name not in use_cases:
            detail = f"no such use case: {path.name[:100]}; allowed: {', '.join(use_cases)}"
            raise RequestRefused(Code.MALFORMED, detail, status=404)
        use_case, model = use_cases[path.name], path.check(self._releases.require(path.name))
        if path.verb == "ready":
            return reply_json(200, {"name": path.name, "ready": True})
        if path.verb == "config":
            return reply_json(200, describe_config(use_case))
        if path.verb == "stats":
            return reply_json(200, describe_statistics(use_case, model, self._metrics.rows(path.name)))
        return reply_json(200, describe_model(use_case, model))

    async def _status(self) -> Reply:
        use_cases = [status.model_dump(mode="json") for status in self._releases.status()]
        return reply_json(200, {"replica": self._replica, "pid": os.getpid(), "use_cases": use_cases})

    async def _live(self) -> Reply:
        return reply_json(200, {"live": True})

    def _broken(self) -> list[str]:
        broken = (s for s in self._releases.status() if s.state == "degraded" and s.model_version is None)
        return [status.use_case for status in broken if status.last_good is None]

    def _must_record(self) -> bool:
        return any(u.serving.when_capture_fails == "refuse" for u in self._releases.use_cases().values())

    async def _ready(self) -> Reply:
        broken, fault = self._broken(), self._outbox.try_again() if self._must_record() else ""
        told = {"ready": not broken and not fault, "without_a_model": broken}
        return reply_json(503 if broken or fault else 200, told | ({"cannot_record": fault} if fault else {}))

    async def _ping(self) -> Reply:
        return Reply(503 if self._broken() else 200, b"\n")

    async def _version(self) -> Reply:
        return Reply(200, version("perennial").encode(), b"text/plain; charset=utf-8")

    async def _server(self) -> Reply:
        return reply_json(200, describe_server(version("perennial")))

    async def _repository(self) -> Reply:
        models = {n: self._releases.model(n) or self._releases.no_model(n).detail for n in self._releases.use_cases()}
        return reply_json(200, describe_repository(models))

    async def _all_statistics(self) -> Reply:
        told = []
        for name, use_case in self._releases.use_cases().items():
            model = self._releases.model(name)
            if model is not None:
                told += describe_statistics(use_case, model, self._metrics.rows(name))["model_stats"]
        return reply_json(200, {"model_stats": told})

    async def _show_metrics(self) -> Reply:
        versions = {status.use_case: status.model_version or 0 for status in self._releases.status()}
        backlog = await asyncio.to_thread(self._outbox.count_rows)
        text = self._metrics.render({"perennial_model_version": versions}, {"perennial_outbox_rows": backlog})
        return Reply(200, text.encode(), b"text/plain; version=0.0.4; charset=utf-8")

    async def _openapi(self) -> Reply:
        return reply_json(200, describe_api(self._releases.use_cases()))

    async def _docs(self) -> Reply:
        return Reply(200, show_api(self._releases.use_cases()).encode(), b"text/html; charset=utf-8")
