"""A recorded request asked again, by the code that answered it: decoded, validated, scored, recorded."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from ml.governance.asked import Asked, Row
from ml.records.codes import Code
from ml.records.row_record import read_rows
from ml.serving.answers import answer_batches
from ml.serving.decode import RAW_CHARACTERS, Batch, Body, Layout, read_carefully
from ml.serving.mlflow_protocol import MLFLOW
from ml.serving.model import Model
from ml.serving.open_inference import OPEN_INFERENCE
from ml.serving.problem import RequestRefused
from ml.serving.protocol import OWN, Request
from ml.serving.score import SPARED, Scored, score_batch

#: What a record of a row says about its answer.
ANSWER = ("code", "detail", "predicted", "probabilities")

_TIME_REFUSED = "event time must be ISO 8601"


@dataclass(frozen=True)
class Again:
    """What became of a row.

    Attributes
    ----------
    told
        ``code``, ``detail``, ``predicted``, ``probabilities``, as a record has them; None where it was not asked.
    why
        It could not be asked again.
    """

    told: Row | None
    why: str = ""


def ask_again(asked: Asked, model: Model, layout: Layout) -> tuple[list[Again], Batch]:
    """What each row of a request gets from a model, at the place among as many rows as when it was answered.

    The bits of a sum depend on how many rows the graph is asked in one go and on where a row stands among them, not on
    what the others hold: what is not of this request is filled with copies of its first row.
    """
    contents = [_content(row, layout) for row in asked.rows]
    spared = any(row["detail"] == str(SPARED[0]) for row in asked.rows)
    body = Body(rows=[content for content, _ in contents], ids=[row["id"] for row in asked.rows], all_or_nothing=spared)
    batch = read_carefully(body, layout)
    before, after = _fill(asked, batch)
    found = answer_batches([before, batch, after], model, layout)[1]
    records = _read(score_batch(batch, model, layout, asked.request_id, found=found))
    pairs = zip(contents, records, strict=True)
    return [Again(None, why) if why else Again(record) for (_, why), record in pairs], batch


def ask_alone(batch: Batch, model: Model, layout: Layout, request_id: str) -> list[Row]:
    """What another model says to the same rows."""
    return _read(score_batch(batch, model, layout, request_id))


def refuse_again(asked: Asked, layout: Layout) -> Again:
    """What a body that was refused as a whole gets today, in whichever protocol it was written.

    Refusals for the moment's sake (no model, too many at once, a key, a full disk) say nothing of the body.
    """
    row = asked.rows[0]
    body = (row["raw"] or "").encode()
    if row["code"] != Code.MALFORMED:
        return Again(None, "the refusal is of the moment, not of the request")
    if len(row["raw"] or "") >= RAW_CHARACTERS:
        return Again(None, f"only the first {RAW_CHARACTERS:,} characters of the body are kept")
    told: list[Row] = []
    for protocol in (OWN, MLFLOW, OPEN_INFERENCE):
        refused = _refusal(lambda one=protocol: one.read(Request("POST", "", {}, body, asked.request_id), layout))  # type: ignore[misc]
        told += [refused] if refused is not None else []
    same = next((refused for refused in told if refused["detail"] == row["detail"]), None)
    if same is not None:
        return Again(same)
    return Again(None, "what it was refused for is not in its body, such as its path or its headers")


def is_whole(asked: Asked) -> bool:
    """Whether the request was refused as a whole: one row on record, with the body and without a model."""
    row = asked.rows[0]
    return len(asked.rows) == 1 and row["model_version"] is None


def _refusal(read: Callable[[], object]) -> Row | None:
    try:
        read()
    except RequestRefused as refused:
        detail = refused.detail[:RAW_CHARACTERS]
        return {"code": int(refused.code), "detail": detail, "predicted": None, "probabilities": None}
    return None


def _content(row: Row, layout: Layout) -> tuple[Any, str]:
    """The row as it was sent, and why it cannot be asked again as it was."""
    if row["raw"] is None:
        return {name: row.get(name) for name in layout.use_case.features}, ""
    if _TIME_REFUSED in (row["detail"] or ""):
        return None, "its event time is not kept as it was sent"
    if len(row["raw"]) >= RAW_CHARACTERS:
        return None, f"only the first {RAW_CHARACTERS:,} characters of the row are kept"
    try:
        return json.loads(row["raw"]), ""
    except ValueError:
        return None, "the row is not kept as it was sent"


def _fill(asked: Asked, batch: Batch) -> tuple[Batch, Batch]:
    """Rows before and after those of the request, in the turn in which the graph was asked."""
    placed = [(number, row) for number, row in enumerate(asked.rows) if row.get("asked_rows")]
    if not placed or not batch.good:
        return _copies(batch, 0), _copies(batch, 0)
    number, row = placed[0]
    first = row["asked_place"] - sum(good < number for good in batch.good)
    return _copies(batch, max(first, 0)), _copies(batch, max(row["asked_rows"] - first - len(batch.good), 0))


def _copies(batch: Batch, n: int) -> Batch:
    numbers, categories = np.repeat(batch.numbers[:1], n, axis=0), np.repeat(batch.categories[:1], n, axis=0)
    return Batch([""] * n, [None] * n, range(n), numbers, categories, all_or_nothing=False)


def _read(scored: Scored) -> list[Row]:
    return [{name: getattr(row, name) for name in ANSWER} for row in read_rows(scored.record, scored.rows)]
