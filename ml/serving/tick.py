"""One turn of the event loop: small requests that arrive together are asked together and recorded in one commit.

Nothing waits for company: whoever arrives alone is answered alone. The replies leave when the commit has.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable

import msgspec

from ml.records.codes import Code
from ml.serving.capture import CaptureError, Outbox
from ml.serving.decode import Layout
from ml.serving.degraded import Spare
from ml.serving.http import Reply
from ml.serving.last_good import answer_or_stand_in
from ml.serving.metrics import Metrics
from ml.serving.model import Model
from ml.serving.problem import RequestRefused
from ml.serving.protocol import Question
from ml.serving.repeats import Repeats
from ml.serving.score import Scored, score_batch
from ml.serving.trial import Trial
from ml.serving.watch import Releases

log = logging.getLogger(__name__)
_uncaptured, _failed = Repeats(log, "capture failed"), Repeats(log, "scoring failed")

#: Rows that are asked in one turn; the rest waits for the next one, so that sockets are read in between.
ROWS_PER_TURN = 400

Answered = Callable[[Reply | RequestRefused], None]

CAPTURE_FAILED = "the outbox cannot be written; nothing was answered"


class Asked(msgspec.Struct, frozen=True):
    """A question that waits for the end of the turn.

    Attributes
    ----------
    pinned
        It names the version that serves: no candidate answers it.
    """

    question: Question
    layout: Layout
    request_id: str
    done: Answered
    pinned: bool = False


class Turn(msgspec.Struct, frozen=True):
    """Who answers questions in this turn: a version, one behind it where that is declared, the canary if one runs."""

    model: Model | None
    spare: Spare | None
    trial: Trial | None

    @property
    def asked(self) -> Model | None:
        """Who is asked first; None when nobody can be."""
        return self.model if self.model is not None or self.spare is None else self.spare.model


class Tick:
    """What is asked in one turn, and how it ends.

    Parameters
    ----------
    releases
        Whose models are asked; each turn has one model per use case.
    """

    def __init__(self, releases: Releases, outbox: Outbox, metrics: Metrics) -> None:
        self._releases, self._outbox, self._metrics = releases, outbox, metrics
        self._asked: list[Asked] = []

    @property
    def depth(self) -> int:
        """Questions that wait for their turn."""
        return len(self._asked)

    def ask(self, asked: Asked) -> None:
        """Have a question answered at the end of this turn."""
        self._asked.append(asked)
        if len(self._asked) == 1:
            asyncio.get_running_loop().call_soon(self._end)

    def capture(self, scored: Scored, layout: Layout, request_id: str, done: Answered) -> None:
        """Record a scored batch, and tell its reply when it is on disk or its use case's policy lets it go."""
        name = layout.use_case.name

        def settle(fault: CaptureError | None) -> None:
            if fault is not None:
                note_uncaptured(name, request_id, fault)
                if layout.use_case.serving.when_capture_fails == "refuse":
                    self._metrics.count_rows(name, int(Code.CAPTURE_FAILED), scored.rows)
                    done(RequestRefused(Code.CAPTURE_FAILED, CAPTURE_FAILED))
                    return
                self._metrics.count_lost(name, scored.rows)
            for code, rows in scored.codes.items():
                self._metrics.count_rows(name, code, rows)
            if scored.degraded is not None:
                self._metrics.count_degraded(name, int(scored.degraded.code), scored.codes.get(0, 0))
            done(scored.reply)

        self._outbox.put(name, "request", request_id, (scored.record,), settle, rows=scored.rows)

    def _end(self) -> None:
        self._metrics.note_depth()
        asked = self._take()
        groups: dict[str, list[Asked]] = {}
        for one in asked:
            groups.setdefault(one.layout.use_case.name, []).append(one)
        for name, group in groups.items():
            trial, model, spare = self._releases.trial(name), self._releases.model(name), self._releases.spare(name)
            if trial is None:
                self._score_safely(group, Turn(model, spare, None))
                continue
            tried = [not one.pinned and trial.takes(one.request_id) for one in group]
            behind = self._releases.behind_candidate(name)
            for chosen, turn in ((False, Turn(model, spare, trial)), (True, Turn(trial.candidate, behind, trial))):
                part = [one for one, taken in zip(group, tried, strict=True) if taken is chosen]
                if part:
                    self._score_safely(part, turn)
        self._outbox.flush()

    def _take(self) -> list[Asked]:
        rows, taken = 0, 0
        for one in self._asked:
            taken += 1
            rows += len(one.question.batch.ids)
            if rows >= ROWS_PER_TURN:
                break
        asked, self._asked = self._asked[:taken], self._asked[taken:]
        if self._asked:
            asyncio.get_running_loop().call_soon(self._end)
        return asked

    def _score_safely(self, group: list[Asked], turn: Turn) -> None:
        try:
            self._score(group, turn)
        except Exception as error:  # of our own; nobody may wait for ever
            _failed.note(group[0].layout.use_case.name, error=error)
            for one in group:
                one.done(_fault(error))

    def _score(self, group: list[Asked], turn: Turn) -> None:
        model, trial = turn.asked, turn.trial
        if model is None:
            for one in group:
                one.done(self._releases.no_model(one.layout.use_case.name))
            return
        started = time.perf_counter()
        batches, pinned = [one.question.batch for one in group], [one.pinned for one in group]
        found = answer_or_stand_in(batches, turn.model, turn.spare, group[0].layout, pinned=pinned)
        scored = [
            score_batch(one.question.batch, model, one.layout, one.request_id, one.question.render, found=answers)
            for one, answers in zip(group, found, strict=True)
        ]
        seconds = time.perf_counter() - started
        for one, batch in zip(group, scored, strict=True):
            if trial is not None:
                trial.count(model, batch.asked_codes, seconds)
            self.capture(batch, one.layout, one.request_id, one.done)


def score_aside(question: Question, turn: Turn, layout: Layout, request_id: str) -> Scored:
    """Score a large batch; runs in a thread."""
    assert turn.asked is not None  # noqa: S101 - of its caller
    (found,) = answer_or_stand_in([question.batch], turn.model, turn.spare, layout)
    return score_batch(question.batch, turn.asked, layout, request_id, question.render, found=found)


def note_uncaptured(use_case: str, request_id: str, fault: CaptureError) -> None:
    """Say that a request could not be recorded."""
    _uncaptured.note(use_case, f"request_id={request_id} {fault}")


def _fault(_: Exception) -> RequestRefused:
    return RequestRefused(Code.PREPROCESSING_FAILED, "internal error")
