"""Records of what became of a batch: one for all its rows (:mod:`ml.records.row_record`)."""

from __future__ import annotations

from ml.records.codes import Code
from ml.records.row_record import BatchRecord, Refused, RowRecord, encode_batch, encode_row, to_bytes
from ml.serving.answers import say_beyond
from ml.serving.decode import RAW_CHARACTERS
from ml.serving.outcome import Outcome
from ml.serving.problem import RowRefusal


def record_batch(outcome: Outcome) -> bytes:
    """Record of all rows of a batch."""
    if len(outcome.batch.ids) > 1:
        return encode_batch(_columns(outcome))
    if outcome.refusals or outcome.batch.notes or outcome.found.beyond or outcome.degraded:
        return encode_row(next(_columns(outcome).rows()))
    return encode_row(_plain_row(outcome))


def record_refused_request(record_id: str, code: Code, detail: str, body: bytes) -> bytes:
    """Record of a request that was refused as a whole: one row, with the beginning of its body."""
    raw = body[: RAW_CHARACTERS * 4].decode("utf-8", "replace")[:RAW_CHARACTERS]
    return encode_row(RowRecord(record_id, None, None, int(code), detail=detail[:RAW_CHARACTERS], raw=raw))


def _plain_row(outcome: Outcome) -> RowRecord:
    """The one row of a batch, answered without a word: what its columns would tell, in a fraction of the time."""
    batch, layout, found = outcome.batch, outcome.layout, outcome.found
    (numbers,), (told,) = batch.numbers.tolist(), outcome.answers.told.tolist()
    texts = [text or None for text in batch.categories[0]] if layout.category_names else ()
    label, probability = None, None
    if not layout.use_case.regression:
        (label,) = outcome.answers.labels
        probability = told[layout.place[label]]
    return RowRecord(
        batch.ids[0],
        batch.event_times[0],
        outcome.model.manifest.model_version,
        0,
        None,
        label,
        probability,
        told,
        layout.recorded(*numbers, *texts),  # not a number is written as null
        asked=found.asked,
        place=found.first,
    )


def _columns(outcome: Outcome) -> BatchRecord:
    batch, layout, answers, found = outcome.batch, outcome.layout, outcome.answers, outcome.found
    n, classes = len(batch.ids), () if layout.use_case.regression else layout.answers
    return BatchRecord(
        batch.ids,
        outcome.model.manifest.model_version,
        (*layout.number_names, *layout.category_names),
        to_bytes(batch.numbers),
        batch.categories.ravel().tolist(),
        event_times=batch.event_times if any(batch.event_times) else None,
        good=None if len(batch.good) == n else list(batch.good),
        answered=None if len(answers) == n else list(answers.rows),
        classes=classes,
        predicted=answers.labels if classes else (),
        probabilities=to_bytes(answers.told),
        asked=found.asked,
        first=found.first,
        degraded_code=int(found.degraded.code) if found.degraded else None,
        refused={row: _refused(refused, batch.raw.get(row)) for row, refused in outcome.refusals.items()},
        details=_details(outcome),
        sent={row: {note.feature: note.sent for note in notes} for row, notes in batch.notes.items()},
    )


def _refused(refusals: tuple[RowRefusal, ...], raw: str | None) -> Refused:
    return Refused(int(refusals[0].code), "; ".join(map(str, refusals))[:RAW_CHARACTERS], raw)


def _details(outcome: Outcome) -> dict[int, str]:
    """What is on record beside answers: what policies made of their rows; nothing where they had no need to."""
    notes, beyond = outcome.batch.notes, outcome.found.beyond
    if not (notes or beyond or outcome.degraded):
        return {}
    degraded = (str(outcome.degraded),) if outcome.degraded else ()
    told = {}
    for row in outcome.answers.rows:
        said = [*degraded, *map(str, notes.get(row, ()))]
        if row in beyond:
            said.append(say_beyond(beyond[row], outcome.layout))
        if said:
            told[row] = "; ".join(said)[:RAW_CHARACTERS]
    return told
