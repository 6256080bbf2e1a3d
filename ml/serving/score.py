"""What becomes of batches: answers by one model, refusals, the replies and the records of both.

Nothing here waits or writes; large batches are scored in a thread. Small ones that arrive together are asked together.
"""

from __future__ import annotations

import itertools
import logging
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import msgspec
import numpy as np
from msgspec.structs import replace
from numpy.typing import NDArray

from ml.records.codes import Code
from ml.serving.decode import RAW_CHARACTERS, Batch, Layout, graph_inputs
from ml.serving.degraded import Degraded
from ml.serving.http import Reply, reply_json
from ml.serving.model import Model
from ml.serving.problem import Refusals, RequestRefused, RowRefusal, refuse_rows

log = logging.getLogger(__name__)

#: Class, its probability, and the probabilities of all classes; of a regression nothing, nothing, and the number.
Answer = tuple[str | None, float | None, list[float]]


class Found(msgspec.Struct, frozen=True):
    """What each row of a batch got, by row number.

    Attributes
    ----------
    failed
        Rows that the graph, or the model's abstention, left without an answer.
    beyond
        Features that lie beyond what training has seen, of rows that are unlike the training data.
    asked, first
        Rows that the graph was asked in one go, and the place of the batch's first one among them: sums are rounded
        by how many rows there are and where a row stands, so that only both give the same bits again. 0 when it was
        not asked.
    degraded
        Who answered in place of the present version; None when that one was asked.
    """

    answers: dict[int, Answer]
    failed: dict[int, tuple[RowRefusal, ...]]
    beyond: dict[int, int]
    asked: int = 0
    first: int = 0
    degraded: Degraded | None = None


#: Probabilities are float32: their rounding is no reason to refuse an answer.
_ROUNDING = 1e-4

SPARED = (RowRefusal(Code.MALFORMED, "another row of this all-or-nothing batch was refused"),)

_encode = msgspec.json.Encoder().encode


class Outcome(msgspec.Struct, frozen=True):
    """A batch of which at least one row was answered.

    Attributes
    ----------
    answers, refusals
        By row number; every row is in one of them.
    beyond
        As of :class:`Found`; None when it is not looked at.
    model, degraded
        Who answered, and why it was not the present version; None when it was.
    """

    batch: Batch
    model: Model
    answers: dict[int, Answer]
    refusals: Refusals
    request_id: str
    beyond: Mapping[int, int] | None = None
    degraded: Degraded | None = None

    @property
    def regression(self) -> bool:
        """Whether an answer is a number."""
        return self.model.regression


#: The reply to an outcome, in the form of one protocol.
Render = Callable[[Outcome], Reply]


class Scored(msgspec.Struct, frozen=True):
    """A scored batch.

    Attributes
    ----------
    reply
        What the client gets once the records are on disk: an answer, or the refusal of all rows.
    records
        One per row, in order.
    codes
        Rows by the code that they ended with.
    degraded
        As of :class:`Found`.
    """

    reply: Reply | RequestRefused
    records: list[bytes]
    codes: Mapping[int, int]
    degraded: Degraded | None = None

    @property
    def asked_codes(self) -> Mapping[int, int]:
        """Codes by which the version that was asked first is judged, whoever answered."""
        return self.codes if self.degraded is None else {int(self.degraded.code): 1}


class Record(msgspec.Struct, gc=False):
    """One row of a score request as the outbox keeps it; see :class:`ml.records.outbox.Captured`."""

    id: str
    event_time: str | None
    model_version: int | None
    code: int
    detail: str | None = None
    predicted: str | None = msgspec.field(name="class", default=None)
    probability: float | None = None
    probabilities: list[float] | None = None
    features: Any = None
    raw: str | None = None
    asked: int | None = None
    place: int | None = None
    #: Code of the failure of the version that was to answer; left out where that one did.
    degraded_code: int | msgspec.UnsetType = msgspec.UNSET


def render_rows(outcome: Outcome) -> Reply:
    """Reply of our own JSON: an entry per row, an answer or an error."""
    predictions: list[dict[str, Any]] = []
    answers, plain = outcome.answers, outcome.beyond is None and not outcome.batch.notes
    for row, row_id in enumerate(outcome.batch.ids):
        if row not in answers:
            predictions.append({"id": row_id, "error": _error(outcome.refusals[row])})
            continue
        told = _told(row_id, answers[row])
        predictions.append(told if plain else told | _aside(outcome, row))
    content = {"predictions": predictions, "model": outcome.model.described, "request_id": outcome.request_id}
    return reply_answers(outcome, content, 207 if outcome.refusals else 200)


def reply_answers(outcome: Outcome, content: dict[str, Any], status: int = 200) -> Reply:
    """Reply of JSON that says so when another version answered than the one that is to serve."""
    if outcome.degraded is None:
        return reply_json(status, content)
    return replace(
        reply_json(status, content | {"degraded": outcome.degraded.as_json()}), headers=outcome.degraded.headers
    )


def score_batch(
    batch: Batch,
    model: Model,
    layout: Layout,
    request_id: str,
    render: Render = render_rows,
    *,
    found: Found | None = None,
) -> Scored:
    """Reply and records of a batch, all by one model.

    Rows that the graph cannot answer are refused with code 301 or 401; a probability that is not a number is not an
    answer.

    Parameters
    ----------
    found
        What :func:`answer_batches` found for this batch; it is asked here when None.
    """
    refusals = dict(batch.refusals)
    found = found or answer_batches([batch], model, layout)[0]
    answers = found.answers
    refusals |= found.failed
    if found.degraded is not None:
        model = found.degraded.model
    if refusals and batch.all_or_nothing:
        answers = {}
    rows = range(len(batch.ids))
    outcome = refusals if len(answers) + len(refusals) == len(rows) else dict.fromkeys(rows, SPARED) | refusals
    reply: Reply | RequestRefused
    if answers:
        looked = layout.use_case.serving.out_of_distribution != "ignore" and model.reference is not None
        beyond = found.beyond if looked else None
        reply = render(Outcome(batch, model, answers, refusals, request_id, beyond, found.degraded))
    else:
        reply = refuse_rows(refusals, batch.ids)
    codes: Mapping[int, int] = {0: len(rows)}
    if outcome:
        codes = Counter(0 if row in answers else int(outcome[row][0].code) for row in rows)
    return Scored(reply, _records(batch, model, layout, found, outcome), codes, found.degraded)


def record_refused_request(record_id: str, code: Code, detail: str, body: bytes) -> bytes:
    """Record of a request that was refused as a whole: one row, with the beginning of its body."""
    raw = body[: RAW_CHARACTERS * 4].decode("utf-8", "replace")[:RAW_CHARACTERS]
    return msgspec.json.encode(Record(record_id, None, None, int(code), detail=detail[:RAW_CHARACTERS], raw=raw))


def answer_batches(batches: Sequence[Batch], model: Model, layout: Layout) -> list[Found]:
    """What the graph says to the good rows of each batch, asked in one go.

    A batch for which nothing can be answered is not asked. Where the graph fails, each batch is asked alone, so that
    none suffers from another one's rows.
    """
    asked = [batch for batch in batches if batch.good and not (batch.refusals and batch.all_or_nothing)]
    try:
        inputs = _join(asked)
    except Exception as error:  # whatever it is: these rows could not be made into what the graph takes
        log.exception("preprocessing failed: use_case=%s", layout.use_case.name)
        refusal = (RowRefusal(Code.PREPROCESSING_FAILED, f"inputs cannot be built: {type(error).__name__}"),)
        return [_fail(batch, refusal if batch in asked else None) for batch in batches]
    try:
        told = _ask(inputs, model, layout, sum(len(batch.good) for batch in asked)) if asked else []
    except Exception as error:  # onnxruntime's own exceptions have no common root
        if len(asked) > 1:
            return [answer_batches([batch], model, layout)[0] for batch in batches]
        log.exception("inference failed: use_case=%s", layout.use_case.name)
        refusal = (refuse_failure(error),)
        return [_fail(batch, refusal if batch in asked else None) for batch in batches]
    return _deal(batches, asked, told, _count_beyond(inputs, model, layout) if asked else [], layout)


def _fail(batch: Batch, refusal: tuple[RowRefusal, ...] | None) -> Found:
    return Found({}, dict.fromkeys(batch.good, refusal) if refusal else {}, {})


def _count_beyond(inputs: dict[str, NDArray[Any]], model: Model, layout: Layout) -> list[int]:
    """Features per row beyond what training has seen; 0 where that is too few to matter."""
    serving = layout.use_case.serving
    if model.reference is None or serving.out_of_distribution == "ignore":
        return [0] * len(next(iter(inputs.values())))
    least = serving.out_of_distribution_share * len(layout.use_case.features)
    return [count if count >= least else 0 for count in model.reference.count_beyond(inputs)]


def refuse_failure(error: Exception) -> RowRefusal:
    """Refusal of the rows for which the graph failed: 301 where the failing node belongs to the preprocessing."""
    text = " ".join(str(error).split())[:200]
    if PREPARING in str(error):
        return RowRefusal(Code.PREPROCESSING_FAILED, f"the graph's preprocessing failed: {text}")
    return RowRefusal(Code.INFERENCE_FAILED, f"the graph failed: {text}")


#: Nodes of the graph that prepare the features have names that begin so, and onnxruntime names the node that fails.
PREPARING = "Name:'prepare/"


def _join(batches: Sequence[Batch]) -> dict[str, NDArray[Any]]:
    if not batches:
        return {}
    numbers, categories = batches[0].numbers, batches[0].categories
    if len(batches) > 1:
        numbers = np.concatenate([batch.numbers for batch in batches])
        categories = np.concatenate([batch.categories for batch in batches])
    return graph_inputs(numbers, categories)


def _ask(inputs: dict[str, NDArray[Any]], model: Model, layout: Layout, n: int) -> list[Answer | None]:
    """Answer per row, None where the graph gave none.

    Raises
    ------
    Exception
        What onnxruntime raises, or ValueError when it answers something else.
    """
    labels, probabilities = model.answer(inputs)
    names = layout.answers
    if probabilities.shape != (n, len(names)) or not layout.labels.issuperset(labels):
        raise ValueError(f"graph answered {probabilities.shape} probabilities, classes {sorted(set(labels))[:5]}")
    if layout.use_case.regression:
        sound = np.isfinite(probabilities)
    else:
        sound = (probabilities >= -_ROUNDING) & (probabilities <= 1 + _ROUNDING)  # false where it is not a number
    values = probabilities.tolist()
    usable = [True] * n if sound.all() else np.all(sound, axis=1).tolist()
    if layout.use_case.regression:
        return [(None, None, found) if good else None for found, good in zip(values, usable, strict=True)]
    place = layout.place
    return [
        (label, found[place[label]], found) if good else None
        for label, found, good in zip(labels, values, usable, strict=True)
    ]


def _deal(
    batches: Sequence[Batch], asked: Sequence[Batch], told: list[Answer | None], beyond: list[int], layout: Layout
) -> list[Found]:
    """Answers of all rows, back to the batches that they came from."""
    what = "number" if layout.use_case.regression else "probabilities"
    refusal = (RowRefusal(Code.INFERENCE_FAILED, f"the graph gave no {what} for this row"),)
    abstains, width = layout.use_case.serving.out_of_distribution == "abstain", len(layout.use_case.features)
    dealt, results, remaining = [], zip(told, beyond, strict=True), iter(asked)
    following, first = next(remaining, None), 0
    for batch in batches:
        found = Found({}, {}, {})
        if batch is following:
            found = Found({}, {}, {}, len(told), first)
            first += len(batch.good)
            for row, (answer, count) in zip(batch.good, results, strict=False):
                if count:
                    found.beyond[row] = count
                if answer is None:
                    found.failed[row] = refusal
                elif count and abstains:
                    found.failed[row] = (RowRefusal(Code.OUT_OF_DISTRIBUTION, _say_beyond(count, width)),)
                else:
                    found.answers[row] = answer
            following = next(remaining, None)
        dealt.append(found)
    return dealt


def _say_beyond(count: int, width: int) -> str:
    return f"{count} of {width} features lie beyond what training has seen"


def _told(row_id: str, answer: Answer) -> dict[str, Any]:
    label, probability, all_of_them = answer
    if label is None:
        return {"id": row_id, "value": all_of_them[0]}
    return {"id": row_id, "class": label, "probability": probability, "probabilities": all_of_them}


def _aside(outcome: Outcome, row: int) -> dict[str, Any]:
    """What is told beside an answer."""
    aside: dict[str, Any] = {} if outcome.beyond is None else {"out_of_distribution": row in outcome.beyond}
    notes = outcome.batch.notes.get(row)
    return aside | ({"notes": [note.as_json() for note in notes]} if notes else {})


def _error(refusals: Sequence[RowRefusal]) -> dict[str, Any]:
    first, *others = [refusal.as_json() for refusal in refusals]
    return first | ({"others": others} if others else {})


def _records(batch: Batch, model: Model, layout: Layout, found: Found, refusals: Refusals) -> list[bytes]:
    features = dict(zip(batch.good, _features(batch, layout), strict=True))
    places = dict(zip(batch.good, itertools.count(found.first), strict=False)) if found.asked else {}
    version = model.manifest.model_version
    plain = not batch.notes and not found.beyond and found.degraded is None
    records = []
    for row, (row_id, event_time) in enumerate(zip(batch.ids, batch.event_times, strict=True)):
        if row in refusals:
            code, detail = int(refusals[row][0].code), "; ".join(map(str, refusals[row]))[:RAW_CHARACTERS]
            record = Record(
                row_id, event_time, version, code, detail, features=features.get(row), raw=batch.raw.get(row)
            )
        else:
            told = None if plain else _detail(batch, found, row, layout)
            record = Record(row_id, event_time, version, 0, told, *found.answers[row], features.get(row))
            if found.degraded:
                record.degraded_code = int(found.degraded.code)
        if row in places:
            record.asked, record.place = found.asked, places[row]
        records.append(_encode(record))
    return records


def _detail(batch: Batch, found: Found, row: int, layout: Layout) -> str | None:
    """What is on record beside an answer: what policies made of its row, None where they had no need to."""
    said = [*([str(found.degraded)] if found.degraded else ()), *map(str, batch.notes.get(row, ()))]
    if row in found.beyond:
        said.append(_say_beyond(found.beyond[row], len(layout.use_case.features)))
    return "; ".join(said)[:RAW_CHARACTERS] or None


def _features(batch: Batch, layout: Layout) -> list[Any]:
    """Values by name for each good row, as they were sent; missing is NaN, which is written as null, or None."""
    rows: list[list[Any]] = batch.numbers.tolist()
    if layout.category_names:
        texts = [[text or None for text in row] for row in batch.categories.tolist()]
        rows = [[*numbers, *row] for numbers, row in zip(rows, texts, strict=True)]
    if not batch.notes:
        return [layout.recorded(*row) for row in rows]
    names = (*layout.number_names, *layout.category_names)
    return [
        dict(zip(names, row, strict=True)) | {note.feature: note.sent for note in batch.notes.get(number, ())}
        for number, row in zip(batch.good, rows, strict=True)
    ]
