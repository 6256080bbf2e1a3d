"""The service as an ASGI application: a function of the models, the outbox and the counters.

=======================  =======================================================
``POST /score/{name}``   rows in, class names and probabilities out
``POST /labels/{name}``  late truth, by id
``GET /status``          what this replica serves and wants to serve
``GET /health/live``     the process answers
``GET /health/ready``    at least one use case is served, or none is released yet
``GET /metrics``         Prometheus
``GET /openapi.json``    this table, for machines
=======================  =======================================================
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import time
import uuid
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ml.records.codes import Code
from ml.serving.capture import CaptureError, Outbox
from ml.serving.decode import Batch, decode_batch, decode_labels, graph_inputs
from ml.serving.http import ClientGone, Receive, Scope, Send, read_body, send_bytes, send_json, send_problem
from ml.serving.metrics import Metrics
from ml.serving.model import Model
from ml.serving.openapi import describe_api
from ml.serving.problem import RequestRefused, RowRefusal, refuse_rows
from ml.serving.watch import Releases
from ml.use_case import UseCase

#: Larger batches are decoded and scored in a thread, so that they do not hold up the others.
THREAD_ROWS = 200
THREAD_BYTES = 64 * 1024
#: Characters of a refused body that are recorded.
RAW_CHARACTERS = 2_000

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Scored:
    """What became of a batch.

    Attributes
    ----------
    answers
        By row number: class, its probability, all probabilities.
    refusals
        By row number; answers and refusals together are all rows.
    """

    batch: Batch
    model: Model
    answers: dict[int, tuple[str, float, list[float]]]
    refusals: dict[int, RowRefusal]


class App:
    """ASGI application of one replica.

    Parameters
    ----------
    replica
        Name of the replica, also of its outbox.
    """

    def __init__(self, replica: str, releases: Releases, outbox: Outbox, metrics: Metrics) -> None:
        self._replica, self._releases, self._outbox, self._metrics = replica, releases, outbox, metrics
        self._routes = {
            ("POST", "score"): self._score,
            ("POST", "labels"): self._label,
        }
        self._pages = {
            "/status": self._status,
            "/health/live": self._live,
            "/health/ready": self._ready,
            "/metrics": self._show_metrics,
            "/openapi.json": self._openapi,
        }

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request; requests of another kind than HTTP are not ours."""
        if scope["type"] != "http":
            return
        request_id, started = str(uuid.uuid4()), time.perf_counter()
        parts = scope["path"].strip("/").split("/")
        name = parts[1] if len(parts) == 2 and self._releases.use_case(parts[1]) else ""
        try:
            status = await self._dispatch(scope, receive, send, parts, request_id)
        except ClientGone:
            return
        except RequestRefused as refused:
            status = refused.status
            await send_problem(send, refused, request_id)
        except Exception:
            log.exception("request failed: request_id=%s", request_id)
            status = 500
            await send_problem(send, RequestRefused(Code.INFERENCE_FAILED, "internal error"), request_id)
        self._metrics.count_reply(name, status, time.perf_counter() - started)

    async def _dispatch(self, scope: Scope, receive: Receive, send: Send, parts: list[str], request_id: str) -> int:
        page = self._pages.get(scope["path"])
        if page is not None:
            if scope["method"] not in {"GET", "HEAD"}:
                raise RequestRefused(Code.MALFORMED, f"{scope['path']} is read with GET", status=405)
            return await page(send)
        route = self._routes.get((scope["method"], parts[0])) if len(parts) == 2 else None
        if route is None:
            known = len(parts) == 2 and parts[0] in {"score", "labels"}
            detail = f"{scope['path'][:100]} is written with POST" if known else f"no such path: {scope['path'][:100]}"
            raise RequestRefused(Code.MALFORMED, detail, status=405 if known else 404)
        body = b""
        try:
            body = await read_body(scope, receive)
            return await route(self._use_case(parts[1]), body, send, request_id)
        except RequestRefused as refused:
            if parts[0] == "score" and not refused.errors:  # refused rows are on record already
                await self._record_refused(parts[1], body, refused, request_id)
            raise

    def _use_case(self, name: str) -> UseCase:
        use_case = self._releases.use_case(name)
        if use_case is None:
            raise RequestRefused(Code.MALFORMED, f"no such use case: {name[:100]}", status=404)
        return use_case

    async def _score(self, use_case: UseCase, body: bytes, send: Send, request_id: str) -> int:
        large = len(body) > THREAD_BYTES
        batch = await asyncio.to_thread(decode_batch, body, use_case) if large else decode_batch(body, use_case)
        model = self._releases.model(use_case.name)
        if model is None:
            raise RequestRefused(Code.ARTIFACT_NOT_FOUND, f"no model of {use_case.name} is released yet")
        scored = await _answer(batch, model, use_case)
        await self._record(use_case, scored, request_id)
        for row in range(len(batch.ids)):
            refusal = scored.refusals.get(row)
            self._metrics.count_rows(use_case.name, int(refusal.code) if refusal else 0)
        if not scored.answers:
            raise refuse_rows(scored.refusals, batch.ids)
        status = 207 if scored.refusals else 200
        await send_json(send, status, _reply(scored, request_id))
        return status

    async def _label(self, use_case: UseCase, body: bytes, send: Send, request_id: str) -> int:
        labels = decode_labels(body, use_case)
        await self._capture(use_case.name, "label", request_id, labels)
        await send_json(send, 202, {"accepted": len(labels), "request_id": request_id})
        return 202

    async def _record(self, use_case: UseCase, scored: Scored, request_id: str) -> None:
        payloads = [_payload(scored, row, use_case) for row in range(len(scored.batch.ids))]
        await self._capture(use_case.name, "request", request_id, payloads)

    async def _record_refused(self, name: str, body: bytes, refused: RequestRefused, request_id: str) -> None:
        if refused.code == Code.CAPTURE_FAILED:
            return
        known = self._releases.use_case(name) is not None
        raw = body[: RAW_CHARACTERS * 4].decode("utf-8", "replace")[:RAW_CHARACTERS]
        payload = _refused_payload(request_id, None, None, code=int(refused.code), detail=refused.detail, raw=raw)
        await self._capture(name if known else "", "request", request_id, [payload])
        self._metrics.count_rows(name if known else "", int(refused.code))

    async def _capture(self, name: str, kind: Any, request_id: str, payloads: list[dict[str, Any]]) -> None:
        try:
            await self._outbox.append(name, kind, request_id, payloads)
        except CaptureError as error:
            log.exception("capture failed: request_id=%s", request_id)
            raise RequestRefused(Code.CAPTURE_FAILED, "the outbox cannot be written; nothing was answered") from error

    async def _status(self, send: Send) -> int:
        use_cases = [status.model_dump(mode="json") for status in self._releases.status()]
        await send_json(send, 200, {"replica": self._replica, "pid": os.getpid(), "use_cases": use_cases})
        return 200

    async def _live(self, send: Send) -> int:
        await send_json(send, 200, {"live": True})
        return 200

    async def _ready(self, send: Send) -> int:
        broken = [s.use_case for s in self._releases.status() if s.state == "degraded" and s.model_version is None]
        await send_json(send, 503 if broken else 200, {"ready": not broken, "without_a_model": broken})
        return 503 if broken else 200

    async def _show_metrics(self, send: Send) -> int:
        gauges = {"perennial_outbox_rows": float(self._outbox.backlog)}
        for status in self._releases.status():
            gauges[f'perennial_model_version{{use_case="{status.use_case}"}}'] = float(status.model_version or 0)
        text = self._metrics.render(gauges)
        await send_bytes(send, 200, text.encode(), media=b"text/plain; version=0.0.4")
        return 200

    async def _openapi(self, send: Send) -> int:
        await send_json(send, 200, describe_api(self._releases.use_cases()))
        return 200


async def _answer(batch: Batch, model: Model, use_case: UseCase) -> Scored:
    refusals, answers = dict(batch.refusals), {}
    rows = batch.good
    if rows and not (refusals and batch.all_or_nothing):
        inputs = graph_inputs(batch, rows, use_case)
        try:
            large = len(rows) > THREAD_ROWS
            labels, probabilities = await asyncio.to_thread(model.answer, inputs) if large else model.answer(inputs)
        except Exception as error:  # onnxruntime's own exceptions have no common root
            log.exception("inference failed")
            labels, probabilities = [], np.empty((0, 0))
            refusals |= dict.fromkeys(rows, RowRefusal(Code.INFERENCE_FAILED, f"the graph failed: {str(error)[:200]}"))
        found, failed = _read_answers(rows, labels, probabilities, use_case)
        answers, refusals = found, refusals | failed
    if refusals and batch.all_or_nothing:
        spared = RowRefusal(Code.MALFORMED, "another row of this all-or-nothing batch was refused")
        refusals |= {row: spared for row in range(len(batch.ids)) if row not in refusals}
        answers = {}
    return Scored(batch, model, answers, refusals)


def _read_answers(
    rows: list[int], labels: list[str], probabilities: NDArray[np.float64], use_case: UseCase
) -> tuple[dict[int, tuple[str, float, list[float]]], dict[int, RowRefusal]]:
    """Answers by row, and refusals of rows whose probabilities are no numbers: those are never answered."""
    classes = use_case.target.class_names
    answers, failed = {}, {}
    for row, label, found in zip(rows, labels, probabilities.tolist(), strict=False):
        if label in classes and all(0.0 <= p <= 1.0001 for p in found):
            answers[row] = (label, found[classes.index(label)], found)
        else:
            failed[row] = RowRefusal(Code.INFERENCE_FAILED, "the graph gave no probabilities for this row")
    return answers, failed


def _reply(scored: Scored, request_id: str) -> dict[str, Any]:
    predictions: list[dict[str, Any]] = []
    for row, row_id in enumerate(scored.batch.ids):
        refusal = scored.refusals.get(row)
        if refusal is not None:
            predictions.append({"id": row_id, "error": refusal.as_json()})
            continue
        label, probability, probabilities = scored.answers[row]
        predictions.append({"id": row_id, "class": label, "probability": probability, "probabilities": probabilities})
    return {"predictions": predictions, "model": scored.model.describe(), "request_id": request_id}


def _payload(scored: Scored, row: int, use_case: UseCase) -> dict[str, Any]:
    batch, refusal = scored.batch, scored.refusals.get(row)
    version, event_time = scored.model.manifest.model_version, batch.event_times[row]
    if refusal is not None:
        raw = json.dumps(batch.raw[row])[:RAW_CHARACTERS]
        detail = f"{refusal.feature}: {refusal.detail}" if refusal.feature else refusal.detail
        return _refused_payload(batch.ids[row], event_time, version, code=int(refusal.code), detail=detail, raw=raw)
    label, probability, probabilities = scored.answers[row]
    return {
        "id": batch.ids[row],
        "event_time": event_time,
        "model_version": version,
        "code": 0,
        "detail": None,
        "class": label,
        "probability": probability,
        "probabilities": probabilities,
        "features": dict(zip(use_case.features, batch.values[row] or [], strict=True)),
        "raw": None,
    }


def _refused_payload(
    row_id: str, event_time: str | None, version: int | None, *, code: int, detail: str, raw: str
) -> dict[str, Any]:
    return {
        "id": row_id,
        "event_time": event_time,
        "model_version": version,
        "code": code,
        "detail": detail[:RAW_CHARACTERS],
        "class": None,
        "probability": None,
        "probabilities": None,
        "features": None,
        "raw": raw,
    }
