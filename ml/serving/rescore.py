"""``python -m ml.serving.rescore``: two versions answer rows that were captured, exactly as a replica would.

In a process of its own, of low priority: a version that is broken takes nobody down, and clients come first. The first
line of stdin says what to load (:class:`Wanted`), every other one is a list of rows by name; each is answered with one
line, a pair of answers per row.
"""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path
from typing import IO, Any

from ml.records.base import Record
from ml.records.codes import Code
from ml.records.release import ReleaseManifest
from ml.serving.answers import answer_batches
from ml.serving.decode import Batch, Layout, compile_layout, decode_batch
from ml.serving.model import Model, ReleaseRefused, load_model
from ml.serving.problem import RequestRefused, RowRefusal
from ml.use_case import UseCase

LOWEST_PRIORITY = 19


class Wanted(Record):
    """What is to be loaded, and from where."""

    use_case: dict[str, Any]
    releases: str
    champion: ReleaseManifest
    candidate: ReleaseManifest


def rescore(rows: list[dict[str, Any]], models: tuple[Model, Model], layout: Layout) -> list[list[dict[str, Any]]]:
    """Answers of both models to each row, which is asked alone, as a single request would be."""
    return [[_answer(_read(row, layout), model, layout) for model in models] for row in rows]


def _read(row: dict[str, Any], layout: Layout) -> Batch | RowRefusal:
    """A captured row as its client sent it: the lake keeps booleans as numbers."""
    kinds = layout.use_case.features
    sent = {
        name: bool(value) if value is not None and kinds[name].type == "boolean" else value
        for name, value in row.items()
        if name in kinds
    }
    try:
        batch = decode_batch(json.dumps({"rows": [sent]}).encode(), layout)
    except RequestRefused as error:
        return RowRefusal(error.code, error.detail)
    return batch if batch.good else batch.refusals[0][0]


def _answer(asked: Batch | RowRefusal, model: Model, layout: Layout) -> dict[str, Any]:
    if isinstance(asked, RowRefusal):
        return {"code": int(asked.code), "detail": str(asked)}
    began = time.perf_counter()
    found = answer_batches([asked], model, layout)[0]
    seconds = time.perf_counter() - began
    if len(found.answers):
        (label,), (probabilities,) = found.answers.labels, found.answers.told.tolist()
        told = {"predicted": label or None, "probabilities": probabilities}
        return {"code": int(Code.OK), **told, "seconds": seconds}
    refusal = found.failed[0][0]
    return {"code": int(refusal.code), "detail": str(refusal), "seconds": seconds}


def main(asked: IO[str], told: IO[str]) -> int:
    """Answer line by line until there are no more; 1 when a version cannot be loaded."""
    os.nice(LOWEST_PRIORITY)
    wanted = Wanted.model_validate_json(asked.readline())
    use_case = UseCase.model_validate(wanted.use_case)
    try:
        champion, candidate = (
            load_model(Path(wanted.releases), manifest, use_case) for manifest in (wanted.champion, wanted.candidate)
        )
    except ReleaseRefused as error:
        print(json.dumps({"problem": str(error)}), file=told, flush=True)
        return 1
    layout = compile_layout(use_case)
    for line in asked:
        print(json.dumps(rescore(json.loads(line), (champion, candidate), layout)), file=told, flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.stdin, sys.stdout))
