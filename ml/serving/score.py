"""What becomes of a batch: answers by one model, refusals, the reply and the records of both.

Nothing here waits or writes; large batches are scored in a thread.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import msgspec
import numpy as np

from ml.records.codes import Code
from ml.serving.decode import RAW_CHARACTERS, Batch, Layout
from ml.serving.http import Reply, reply_json, reply_problem
from ml.serving.model import Model
from ml.serving.problem import Refusals, RowRefusal, refuse_rows

log = logging.getLogger(__name__)

#: Class, its probability, and the probabilities of all classes; of a regression nothing, nothing, and the number.
Answer = tuple[str | None, float | None, list[float]]

#: Probabilities are float32: their rounding is no reason to refuse an answer.
_ROUNDING = 1e-4

_SPARED = (RowRefusal(Code.MALFORMED, "another row of this all-or-nothing batch was refused"),)


@dataclass(frozen=True)
class Scored:
    """A scored batch.

    Attributes
    ----------
    reply
        What the client gets once the records are on disk.
    records
        One per row, in order.
    codes
        Rows by the code that they ended with.
    """

    reply: Reply
    records: list[bytes]
    codes: Counter[int]


class Record(msgspec.Struct):
    """One row of a score request as the outbox keeps it; see :class:`ml.records.outbox.Captured`."""

    id: str
    event_time: str | None
    model_version: int | None
    code: int
    detail: str | None = None
    predicted: str | None = msgspec.field(name="class", default=None)
    probability: float | None = None
    probabilities: list[float] | None = None
    features: dict[str, Any] | None = None
    raw: str | None = None


def score_batch(batch: Batch, model: Model, layout: Layout, request_id: str) -> Scored:
    """Reply and records of a batch, all by one model.

    Rows that the graph cannot answer are refused with code 401; a probability that is not a number is not an answer.
    """
    answers: dict[int, Answer] = {}
    refusals = dict(batch.refusals)
    if batch.good and not (refusals and batch.all_or_nothing):
        answers, failed = _ask(batch, model, layout)
        refusals |= failed
    if refusals and batch.all_or_nothing:
        answers = {}
    rows = range(len(batch.ids))
    outcome = refusals if len(answers) + len(refusals) == len(rows) else dict.fromkeys(rows, _SPARED) | refusals
    if answers:
        reply = reply_json(207 if refusals else 200, _content(batch, model, answers, refusals, request_id))
    else:
        reply = reply_problem(refuse_rows(refusals, batch.ids), request_id)
    codes = Counter(0 if row in answers else int(outcome[row][0].code) for row in rows)
    return Scored(reply, _records(batch, model, layout, answers, outcome), codes)


def record_refused_request(request_id: str, code: Code, detail: str, body: bytes) -> bytes:
    """Record of a request that was refused as a whole: one row, with the beginning of its body."""
    raw = body[: RAW_CHARACTERS * 4].decode("utf-8", "replace")[:RAW_CHARACTERS]
    return msgspec.json.encode(Record(request_id, None, None, int(code), detail=detail[:RAW_CHARACTERS], raw=raw))


def _ask(batch: Batch, model: Model, layout: Layout) -> tuple[dict[int, Answer], dict[int, tuple[RowRefusal, ...]]]:
    use_case = layout.use_case
    names, classes = use_case.answers, {""} if use_case.regression else set(use_case.answers)
    try:
        labels, probabilities = model.answer(batch.graph_inputs())
        if probabilities.shape != (len(batch.good), len(names)) or not set(labels) <= classes:
            raise ValueError(f"graph answered {probabilities.shape} probabilities, classes {sorted(set(labels))[:5]}")  # noqa: TRY301 - handled as what the graph raises itself
    except Exception as error:  # onnxruntime's own exceptions have no common root
        log.exception("inference failed: use_case=%s", use_case.name)
        refusal = RowRefusal(Code.INFERENCE_FAILED, f"the graph failed: {' '.join(str(error).split())[:200]}")
        return {}, dict.fromkeys(batch.good, (refusal,))
    sound = (probabilities >= -_ROUNDING) & (probabilities <= 1 + _ROUNDING)  # false where it is not a number
    if use_case.regression:
        sound = np.isfinite(probabilities)
    answers: dict[int, Answer] = {}
    failed: dict[int, tuple[RowRefusal, ...]] = {}
    place = {name: i for i, name in enumerate(names)}
    for row, label, found, usable in zip(
        batch.good, labels, probabilities.tolist(), np.all(sound, axis=1).tolist(), strict=True
    ):
        if usable:
            answers[row] = (None, None, found) if use_case.regression else (label, found[place[label]], found)
        else:
            what = "number" if use_case.regression else "probabilities"
            failed[row] = (RowRefusal(Code.INFERENCE_FAILED, f"the graph gave no {what} for this row"),)
    return answers, failed


def _content(
    batch: Batch, model: Model, answers: dict[int, Answer], refusals: Refusals, request_id: str
) -> dict[str, Any]:
    predictions: list[dict[str, Any]] = []
    for row, row_id in enumerate(batch.ids):
        if row in answers:
            predictions.append({"id": row_id} | _told(answers[row]))
        else:
            predictions.append({"id": row_id, "error": _error(refusals[row])})
    return {"predictions": predictions, "model": model.describe(), "request_id": request_id}


def _told(answer: Answer) -> dict[str, Any]:
    label, probability, all_of_them = answer
    if label is None:
        return {"value": all_of_them[0]}
    return {"class": label, "probability": probability, "probabilities": all_of_them}


def _error(refusals: Sequence[RowRefusal]) -> dict[str, Any]:
    first, *others = [refusal.as_json() for refusal in refusals]
    return first | ({"others": others} if others else {})


def _records(batch: Batch, model: Model, layout: Layout, answers: dict[int, Answer], refusals: Refusals) -> list[bytes]:
    features = dict(zip(batch.good, _features(batch, layout), strict=True))
    version, encode = model.manifest.model_version, msgspec.json.Encoder().encode
    records = []
    for row, (row_id, event_time) in enumerate(zip(batch.ids, batch.event_times, strict=True)):
        record = Record(row_id, event_time, version, 0, features=features.get(row), raw=batch.raw.get(row))
        if row in answers:
            record.predicted, record.probability, record.probabilities = answers[row]
        else:
            record.code = int(refusals[row][0].code)
            record.detail = "; ".join(map(str, refusals[row]))[:RAW_CHARACTERS]
        records.append(encode(record))
    return records


def _features(batch: Batch, layout: Layout) -> list[dict[str, Any]]:
    """Values by name for each good row; what is missing is NaN, which is written as null, or None."""
    use_case = layout.use_case
    names = use_case.numbers
    rows: list[dict[str, Any]] = [dict(zip(names, values, strict=True)) for values in batch.numbers.tolist()]
    if use_case.categories:
        for row, texts in zip(rows, batch.categories.tolist(), strict=True):
            row.update((name, text or None) for name, text in zip(use_case.categories, texts, strict=True))
    return rows
