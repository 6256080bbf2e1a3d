"""What became of each row of a batch, and how our own JSON tells it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from itertools import repeat
from typing import Any

import msgspec
from msgspec import UNSET, UnsetType
from msgspec.structs import replace

from ml.serving.answers import Answers, Found, reference_of
from ml.serving.decode import Batch, Layout
from ml.serving.degraded import Degraded
from ml.serving.http import Reply, reply_json
from ml.serving.model import Model
from ml.serving.problem import Refusals, RowRefusal


class Outcome(msgspec.Struct, frozen=True, eq=False):
    """What became of each row of a batch.

    Attributes
    ----------
    model
        Who answered.
    answers, refusals
        Every row is in one of them.
    found
        What the graph had said; of a batch that is answered whole or not at all that may be more than its answers.
    """

    batch: Batch
    layout: Layout
    model: Model
    answers: Answers
    refusals: Refusals
    request_id: str
    found: Found

    @property
    def degraded(self) -> Degraded | None:
        """Why it was not the present version that answered; None when it was."""
        return self.found.degraded


#: The reply to an outcome of which at least one row was answered, in the form of one protocol.
Render = Callable[[Outcome], Reply]


class _Class(msgspec.Struct, gc=False):
    id: str
    predicted: str = msgspec.field(name="class")
    probability: float
    probabilities: list[float]
    out_of_distribution: bool | UnsetType
    notes: list[dict[str, Any]] | UnsetType


class _Number(msgspec.Struct, gc=False):
    id: str
    value: float
    out_of_distribution: bool | UnsetType
    notes: list[dict[str, Any]] | UnsetType


def render_rows(outcome: Outcome) -> Reply:
    """Reply of our own JSON: an entry per row, an answer or an error."""
    predictions: list[Any] = _tell_answers(outcome)
    if outcome.refusals:
        ids = outcome.batch.ids
        by_row: dict[int, Any] = dict(zip(outcome.answers.rows, predictions, strict=True))
        by_row |= {row: {"id": ids[row], "error": _error(refused)} for row, refused in outcome.refusals.items()}
        predictions = [by_row[row] for row in range(len(ids))]
    content = {"predictions": predictions, "model": outcome.model.described, "request_id": outcome.request_id}
    return reply_answers(outcome, content, 207 if outcome.refusals else 200)


def reply_answers(outcome: Outcome, content: dict[str, Any], status: int = 200) -> Reply:
    """Reply of JSON that says so when another version answered than the one that is to serve."""
    if outcome.degraded is None:
        return reply_json(status, content)
    return replace(
        reply_json(status, content | {"degraded": outcome.degraded.as_json()}), headers=outcome.degraded.headers
    )


def _tell_answers(outcome: Outcome) -> list[Any]:
    answers, place = outcome.answers, outcome.layout.place
    ids = [outcome.batch.ids[row] for row in answers.rows] if outcome.refusals else outcome.batch.ids
    told, (strange, notes) = answers.told.tolist(), _asides(outcome)
    if outcome.layout.use_case.regression:
        return list(map(_Number, ids, [numbers[0] for numbers in told], strange, notes))
    chosen = [numbers[place[label]] for label, numbers in zip(answers.labels, told, strict=True)]
    return list(map(_Class, ids, answers.labels, chosen, told, strange, notes))


def _asides(outcome: Outcome) -> tuple[Iterable[bool | UnsetType], Iterable[list[dict[str, Any]] | UnsetType]]:
    """What is told beside each answer: whether its row is unlike the training data, and what policies made of it."""
    rows, beyond, noted = outcome.answers.rows, outcome.found.beyond, outcome.batch.notes
    looked = reference_of(outcome.model, outcome.layout) is not None
    strange: Iterable[bool | UnsetType] = repeat(False if looked else UNSET)
    if beyond:
        strange = [row in beyond for row in rows]
    if not noted:
        return strange, repeat(UNSET)
    return strange, [[note.as_json() for note in noted[row]] if row in noted else UNSET for row in rows]


def _error(refusals: Sequence[RowRefusal]) -> dict[str, Any]:
    first, *others = [refusal.as_json() for refusal in refusals]
    return first | ({"others": others} if others else {})
