"""The service as an ASGI application: a function of the models, the outbox and the counters.

==================================  =======================================================
``POST /score/{name}``              rows in, class names and probabilities out
``POST /labels/{name}``             late truth, by id
``POST /invocations[/{name}]``      MLflow's scoring protocol
``POST /v2/models/{name}/infer``    Open Inference Protocol V2; its other paths beside it
``GET /status``                     what this replica serves and wants to serve
``GET /health/live``                the process answers
``GET /health/ready``               no released use case is without a model
``GET /metrics``                    Prometheus
``GET /openapi.json``               this table, for machines
``GET /docs``                       the same for people
==================================  =======================================================
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from typing import Any

from ml.records.codes import Code
from ml.serving.aside import Aside
from ml.serving.capture import CaptureError, Outbox
from ml.serving.decode import Layout, compile_layout
from ml.serving.http import ClientGone, Receive, Reply, Scope, Send, read_body, reply_json, reply_problem, send_reply
from ml.serving.identity import new_id
from ml.serving.keys import Keys
from ml.serving.labels import decode_labels
from ml.serving.metrics import Metrics
from ml.serving.open_inference import Path
from ml.serving.pages import OPEN_PATHS, Pages
from ml.serving.problem import RequestRefused
from ml.serving.protocol import Question, Request
from ml.serving.record import record_refused_request
from ml.serving.repeats import Repeats
from ml.serving.routes import Route, find_route, protocol_of, read_request_id, scope_of, short_paths
from ml.serving.score import Scored
from ml.serving.tick import CAPTURE_FAILED, Answered, Asked, Tick, Turn, note_uncaptured, score_aside
from ml.serving.watch import Releases

#: What is larger is decoded, or scored, in a thread, so that it does not hold up the others.
THREAD_BYTES = 32 * 1024
THREAD_ROWS = 200

#: Refused before anything of them is worth a record, or can be recorded.
_WITHOUT_RECORD = frozenset({Code.NOT_ALLOWED, Code.OVERLOADED})

#: Reads the body of a request whose head is known.
ReadBody = Callable[[], Awaitable[bytes]]

log = logging.getLogger(__name__)
_failed = Repeats(log, "request failed")


class App:
    """ASGI application of one replica.

    Parameters
    ----------
    replica
        Name of the replica, also of its outbox.
    keys
        Of the clients; None when nobody is asked for one.
    """

    def __init__(
        self, replica: str, releases: Releases, outbox: Outbox, metrics: Metrics, keys: Keys | None = None
    ) -> None:
        self._keys = keys or Keys(None)
        self._releases, self._outbox, self._metrics = releases, outbox, metrics
        self._layouts = {name: compile_layout(use_case) for name, use_case in releases.use_cases().items()}
        self._pages = Pages(replica, releases, outbox, metrics)
        self._tick = Tick(releases, outbox, metrics)
        self._aside = Aside()
        self._tasks: set[asyncio.Task[None]] = set()
        metrics.depth = lambda: self._tick.depth + self._aside.depth + outbox.depth
        self._short = {path.encode(): route for name in self._layouts for path, route in short_paths(name)}

    @property
    def short(self) -> Mapping[bytes, Route]:
        """Routes of scoring requests that may go the short way, by path."""
        return self._short

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        started, headers = time.perf_counter(), dict(scope["headers"])
        request = Request(scope["method"], scope["path"], headers, b"", read_request_id(headers) or new_id())
        try:
            reply = await self.respond(request, lambda: read_body(scope, receive), started)
        except ClientGone:
            return
        await send_reply(send, reply, request.identity)

    def note_refused(self, refused: RequestRefused, name: str = "") -> None:
        """Count a request that leaves no record of its rows, under the use case that it named."""
        self._metrics.count_rows(name, int(refused.code))

    def take(self, request: Request, route: Route, started: float, done: Callable[[Reply], None]) -> None:
        """Have a request answered, a small one together with the others of this turn; ``done`` is told the reply, once.

        Whatever is not right with it goes the long way, where it is refused and recorded.
        """
        layout = self._layouts[route.name]

        def settle(reply: Reply | RequestRefused) -> None:
            if isinstance(reply, RequestRefused):
                if not reply.recorded:
                    self._respond_later(request, started, done)
                    return
                reply = reply_problem(reply, request.identity, route.protocol.explain(reply))
            self._metrics.count_reply(route.name, reply.status, time.perf_counter() - started)
            done(reply)

        try:
            self._keys.check(request.headers, route.kind)
            found = _read_small(route, layout, request)
        except Exception:  # it is told there
            self._respond_later(request, started, done)
            return
        if isinstance(found, Question):
            self._tick.ask(Asked(found, layout, request.identity, settle))
        else:
            self._start(self._settle_large(found, route, request, settle))

    async def _settle_large(
        self, read: Callable[[], Question], route: Route, request: Request, settle: Answered
    ) -> None:
        reply: Reply | RequestRefused
        try:
            reply = await self._score_large(read, route, request)
        except Exception as error:
            reply = error if isinstance(error, RequestRefused) else _own_fault(error, request.identity)
            if reply.code in _WITHOUT_RECORD:
                self.note_refused(reply, route.name)
        settle(reply)

    def _respond_later(self, request: Request, started: float, done: Callable[[Reply], None]) -> None:
        async def read() -> bytes:
            return request.body

        async def respond() -> None:
            done(await self.respond(request, read, started))

        self._start(respond())

    def _start(self, answering: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(answering)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def respond(self, request: Request, read: ReadBody, started: float) -> Reply:
        """Reply to a request whose body is still to be read.

        Parameters
        ----------
        started
            When its head had come, by ``time.perf_counter``.

        Raises
        ------
        ClientGone
            Nobody waits for a reply any more.
        """
        name = ""
        try:
            if request.path not in OPEN_PATHS:
                self._keys.check(request.headers, scope_of(request.path))
            route = find_route(request, self._layouts)
            if route is None:
                reply = await self._pages.show(request)
            else:
                name = self._known(route.name)
                reply = await self._take(route, request, read)
        except ClientGone:
            raise
        except Exception as error:
            refused = error if isinstance(error, RequestRefused) else _own_fault(error, request.identity)
            if refused.code in _WITHOUT_RECORD:
                self.note_refused(refused, name)
            reply = reply_problem(refused, request.identity, protocol_of(request.path).explain(refused))
        self._metrics.count_reply(name, reply.status, time.perf_counter() - started)
        return reply

    async def _take(self, route: Route, request: Request, read: ReadBody) -> Reply:
        """Answer a request with a body; one to be scored that is refused as a whole is recorded all the same."""
        if request.method != "POST":
            detail = f"{request.path[:200]} is written with POST"
            raise RequestRefused(Code.MALFORMED, detail, status=405, allow="POST")
        try:
            request = request.with_body(await read())
            layout = self._layout(route.name)
            return await (self._score if route.kind == "score" else self._label)(route, layout, request)
        except ClientGone:
            raise
        except Exception as error:
            refused = error if isinstance(error, RequestRefused) else _own_fault(error, request.identity)
            if route.kind == "label" and refused.code not in _WITHOUT_RECORD:
                self.note_refused(refused, self._known(route.name))
            if route.kind == "score" and not refused.recorded:
                await self._record_refused(route.name, request, refused)
            raise refused from error

    def _layout(self, name: str) -> Layout:
        if name not in self._layouts:
            detail = f"no such use case: {name[:100]}; allowed: {', '.join(self._layouts)}"
            raise RequestRefused(Code.MALFORMED, detail, status=404)
        return self._layouts[name]

    async def _score(self, route: Route, layout: Layout, request: Request) -> Reply:
        found = _read_small(route, layout, request)
        if not isinstance(found, Question):
            return await self._score_large(found, route, request)
        if route.version:
            Path(route.name, route.version, "").check(self._releases.require(route.name))
        return await self._ask_together(found, layout, request, pinned=bool(route.version))

    async def _score_large(self, read: Callable[[], Question], route: Route, request: Request) -> Reply:
        """Answer to a question that is read, and scored when it has many rows, in one visit to a thread."""
        turn, layout = self._turn(route, request), self._layouts[route.name]

        def work() -> Question | tuple[Scored, float]:
            question = read()
            if turn.asked is None:
                raise self._releases.no_model(route.name)
            if route.version:
                Path(route.name, route.version, "").check(turn.asked)
            if len(question.batch.ids) <= THREAD_ROWS:
                return question
            started = time.perf_counter()
            return score_aside(question, turn, layout, request.identity), time.perf_counter() - started

        found = await self._aside.run(work)
        if isinstance(found, Question):
            return await self._ask_together(found, layout, request, pinned=bool(route.version))
        scored, seconds = found
        if turn.trial is not None:
            turn.trial.count(turn.model, scored.asked_codes, seconds)
        return await self._wait(lambda done: self._tick.capture(scored, layout, request.identity, done))

    def _turn(self, route: Route, request: Request) -> Turn:
        name = route.name
        trial, spare = self._releases.trial(name), None if route.version else self._releases.spare(name)
        if trial is not None and not route.version and trial.takes(request.identity):
            return Turn(trial.candidate, self._releases.behind_candidate(name), trial)
        return Turn(self._releases.model(name), spare, trial)

    async def _ask_together(self, question: Question, layout: Layout, request: Request, *, pinned: bool) -> Reply:
        return await self._wait(lambda done: self._tick.ask(Asked(question, layout, request.identity, done, pinned)))

    async def _wait(self, start: Callable[[Callable[[Reply | RequestRefused], None]], None]) -> Reply:
        """Reply that something started here will tell."""
        told: asyncio.Future[Reply | RequestRefused] = asyncio.get_running_loop().create_future()

        def settle(reply: Reply | RequestRefused) -> None:
            if not told.done():
                told.set_result(reply)

        start(settle)
        reply = await told
        if isinstance(reply, RequestRefused):
            raise reply
        return reply

    async def _label(self, route: Route, layout: Layout, request: Request) -> Reply:
        def read() -> list[bytes]:
            return decode_labels(request.body, layout.use_case)

        labels = await self._aside.run(read) if len(request.body) > THREAD_BYTES else read()
        try:
            await self._outbox.append(layout.use_case.name, "label", request.identity, labels)
        except CaptureError as error:
            raise self._not_captured(layout.use_case.name, request, error) from error
        return reply_json(202, {"accepted": len(labels), "request_id": request.identity})

    async def _record_refused(self, name: str, request: Request, refused: RequestRefused) -> None:
        record = record_refused_request(request.record_id, refused.code, refused.detail, request.body)
        self._metrics.count_rows(self._known(name), int(refused.code))
        try:
            await self._outbox.append(self._known(name), "request", request.identity, [record])
        except CaptureError as error:
            fault = self._not_captured(self._known(name), request, error)
            if name not in self._layouts or self._layouts[name].use_case.serving.when_capture_fails == "refuse":
                raise fault from error
            self._metrics.count_lost(name, 1)

    def _not_captured(self, name: str, request: Request, error: CaptureError) -> RequestRefused:
        note_uncaptured(name, request.identity, error)
        return RequestRefused(Code.CAPTURE_FAILED, CAPTURE_FAILED)

    def _known(self, name: str) -> str:
        return name if name in self._layouts else ""


def _read_small(route: Route, layout: Layout, request: Request) -> Question | Callable[[], Question]:
    """The question of a request that is small; of a large one what gives it, for a thread.

    Raises
    ------
    RequestRefused
        A small body is not understood.
    """

    def read() -> Question:
        return route.protocol.read(request, layout)

    if len(request.body) > THREAD_BYTES:
        return read
    question = read()
    return question if len(question.batch.ids) <= THREAD_ROWS else lambda: question


def _own_fault(error: Exception, request_id: str) -> RequestRefused:
    """What the client is told of an exception that nobody expected: nothing; the log has all of it."""
    _failed.note("", f"request_id={request_id}", error)
    return RequestRefused(Code.PREPROCESSING_FAILED, "internal error")
