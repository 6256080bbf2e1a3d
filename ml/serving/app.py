"""The service as an ASGI application: a function of the models, the outbox and the counters.

=======================  =======================================================
``POST /score/{name}``   rows in, class names and probabilities out
``POST /labels/{name}``  late truth, by id
``GET /status``          what this replica serves and wants to serve
``GET /health/live``     the process answers
``GET /health/ready``    no released use case is without a model
``GET /metrics``         Prometheus
``GET /openapi.json``    this table, for machines
``GET /docs``            the same for people
=======================  =======================================================
"""

from __future__ import annotations

import asyncio
import logging
import os
import time
import uuid
from collections.abc import Awaitable, Callable
from typing import Literal, ParamSpec, TypeVar

from ml.records.codes import Code
from ml.serving.capture import CaptureError, Outbox
from ml.serving.decode import Layout, compile_layout, decode_batch
from ml.serving.http import ClientGone, Receive, Reply, Scope, Send, read_body, reply_json, reply_problem, send_reply
from ml.serving.labels import decode_labels
from ml.serving.metrics import Metrics
from ml.serving.openapi import describe_api, show_api
from ml.serving.problem import RequestRefused
from ml.serving.score import record_refused_request, score_batch
from ml.serving.watch import Releases

#: What is larger is decoded, or scored, in a thread, so that it does not hold up the others.
THREAD_BYTES = 32 * 1024
THREAD_ROWS = 200

P = ParamSpec("P")
T = TypeVar("T")

log = logging.getLogger(__name__)


class App:
    """ASGI application of one replica.

    Parameters
    ----------
    replica
        Name of the replica, also of its outbox.
    """

    def __init__(self, replica: str, releases: Releases, outbox: Outbox, metrics: Metrics) -> None:
        self._replica, self._releases, self._outbox, self._metrics = replica, releases, outbox, metrics
        self._layouts = {name: compile_layout(use_case) for name, use_case in releases.use_cases().items()}
        self._posts: dict[str, Callable[[Layout, bytes, str], Awaitable[Reply]]] = {
            "score": self._score,
            "labels": self._label,
        }
        self._pages: dict[str, Callable[[], Awaitable[Reply]]] = {
            "/status": self._status,
            "/health/live": self._live,
            "/health/ready": self._ready,
            "/metrics": self._show_metrics,
            "/openapi.json": self._openapi,
            "/docs": self._docs,
        }

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        request_id, started = str(uuid.uuid4()), time.perf_counter()
        kind, _, name = scope["path"].lstrip("/").partition("/")
        try:
            if kind in self._posts and name and "/" not in name:
                reply = await self._take(kind, name, scope, receive, request_id)
            else:
                reply = await self._show(scope)
        except ClientGone:
            return
        except RequestRefused as refused:
            reply = reply_problem(refused, request_id)
        except Exception:
            reply = reply_problem(_own_fault(request_id), request_id)
        self._metrics.count_reply(self._known(name), reply.status, time.perf_counter() - started)
        await send_reply(send, reply)

    async def _show(self, scope: Scope) -> Reply:
        page = self._pages.get(scope["path"])
        if page is None:
            raise RequestRefused(Code.MALFORMED, f"no such path: {scope['path'][:100]}", status=404)
        if scope["method"] not in {"GET", "HEAD"}:
            raise RequestRefused(Code.MALFORMED, f"{scope['path']} is read with GET", status=405, allow="GET, HEAD")
        return await page()

    async def _take(self, kind: str, name: str, scope: Scope, receive: Receive, request_id: str) -> Reply:
        """Answer a request with a body; one to be scored that is refused as a whole is recorded all the same."""
        if scope["method"] != "POST":
            raise RequestRefused(Code.MALFORMED, f"/{kind}/{name[:100]} is written with POST", status=405, allow="POST")
        body = b""
        try:
            body = await read_body(scope, receive)
            return await self._posts[kind](self._layout(name), body, request_id)
        except ClientGone:
            raise
        except Exception as error:
            refused = error if isinstance(error, RequestRefused) else _own_fault(request_id)
            if kind == "score":
                await self._record_refused(name, body, refused, request_id)
            raise refused from error

    def _layout(self, name: str) -> Layout:
        if name not in self._layouts:
            detail = f"no such use case: {name[:100]}; allowed: {', '.join(self._layouts)}"
            raise RequestRefused(Code.MALFORMED, detail, status=404)
        return self._layouts[name]

    async def _score(self, layout: Layout, body: bytes, request_id: str) -> Reply:
        name = layout.use_case.name
        batch = await _run(len(body) > THREAD_BYTES, decode_batch, body, layout)
        model = self._releases.model(name)
        if model is None:
            raise RequestRefused(Code.ARTIFACT_NOT_FOUND, f"no model of {name} is released yet")
        scored = await _run(len(batch.ids) > THREAD_ROWS, score_batch, batch, model, layout, request_id)
        await self._capture(name, "request", request_id, scored.records)
        for code, rows in scored.codes.items():
            self._metrics.count_rows(name, code, rows)
        return scored.reply

    async def _label(self, layout: Layout, body: bytes, request_id: str) -> Reply:
        labels = await _run(len(body) > THREAD_BYTES, decode_labels, body, layout.use_case)
        await self._capture(layout.use_case.name, "label", request_id, labels)
        return reply_json(202, {"accepted": len(labels), "request_id": request_id})

    async def _record_refused(self, name: str, body: bytes, refused: RequestRefused, request_id: str) -> None:
        if refused.code == Code.CAPTURE_FAILED:
            return
        record = record_refused_request(request_id, refused.code, refused.detail, body)
        await self._capture(self._known(name), "request", request_id, [record])
        self._metrics.count_rows(self._known(name), int(refused.code))

    async def _capture(
        self, name: str, kind: Literal["request", "label"], request_id: str, records: list[bytes]
    ) -> None:
        try:
            await self._outbox.append(name, kind, request_id, records)
        except CaptureError as error:
            log.error("capture failed: request_id=%s %s", request_id, error)  # noqa: TRY400 - a full disk has no use for tracebacks
            raise RequestRefused(Code.CAPTURE_FAILED, "the outbox cannot be written; nothing was answered") from error

    def _known(self, name: str) -> str:
        return name if name in self._layouts else ""

    async def _status(self) -> Reply:
        use_cases = [status.model_dump(mode="json") for status in self._releases.status()]
        return reply_json(200, {"replica": self._replica, "pid": os.getpid(), "use_cases": use_cases})

    async def _live(self) -> Reply:
        return reply_json(200, {"live": True})

    async def _ready(self) -> Reply:
        broken = [s.use_case for s in self._releases.status() if s.state == "degraded" and s.model_version is None]
        return reply_json(503 if broken else 200, {"ready": not broken, "without_a_model": broken})

    async def _show_metrics(self) -> Reply:
        versions = {status.use_case: status.model_version or 0 for status in self._releases.status()}
        backlog = await asyncio.to_thread(self._outbox.count_rows)
        text = self._metrics.render({"perennial_model_version": versions}, {"perennial_outbox_rows": backlog})
        return Reply(200, text.encode(), b"text/plain; version=0.0.4; charset=utf-8")

    async def _openapi(self) -> Reply:
        return reply_json(200, describe_api(self._releases.use_cases()))

    async def _docs(self) -> Reply:
        return Reply(200, show_api(self._releases.use_cases()).encode(), b"text/html; charset=utf-8")


def _own_fault(request_id: str) -> RequestRefused:
    """What the client is told of an exception that is being handled: nothing; the log has all of it."""
    log.exception("request failed: request_id=%s", request_id)
    return RequestRefused(Code.PREPROCESSING_FAILED, "internal error")


async def _run(aside: bool, function: Callable[P, T], *arguments: P.args, **options: P.kwargs) -> T:
    """Result of a function, computed in a thread when that is worth the detour."""
    if aside:
        return await asyncio.to_thread(function, *arguments, **options)
    return function(*arguments, **options)
