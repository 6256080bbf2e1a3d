"""What the graph says to batches: one run for those that arrive together, and each batch's share of it.

Answers stay arrays for as long as nobody has to look at a single one.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from ml.records.codes import Code
from ml.serving.decode import Batch, Layout, graph_inputs
from ml.serving.degraded import Degraded
from ml.serving.model import Model
from ml.serving.problem import RowRefusal
from ml.serving.reference import Reference
from ml.serving.repeats import Repeats

log = logging.getLogger(__name__)
_unprepared, _uninferred = Repeats(log, "preprocessing failed"), Repeats(log, "inference failed")

#: Probabilities are float32: their rounding is no reason to refuse an answer.
_ROUNDING = 1e-4

_Refused = tuple[RowRefusal, ...]


class Answers(msgspec.Struct, frozen=True, eq=False):
    """Answers to rows of a batch.

    Attributes
    ----------
    rows
        Their numbers, ascending.
    labels
        Class of each; ``""`` of a regression.
    told
        Shape ``(n_rows, n_classes)``: probabilities in the order of the class names; of a regression the one number.
    """

    rows: Sequence[int]
    labels: Sequence[str]
    told: NDArray[np.float64]

    def __len__(self) -> int:
        return len(self.rows)


NONE = Answers((), (), np.empty((0, 0)))


class Found(msgspec.Struct, frozen=True, eq=False):
    """What each row of a batch got.

    Attributes
    ----------
    failed
        Rows that the graph, or the model's abstention, left without an answer, by row number.
    beyond
        Features that lie beyond what training has seen, of rows that are unlike the training data, by row number.
    asked, first
        Rows that the graph was asked in one go, and the place of the batch's first one among them: sums are rounded
        by how many rows there are and where a row stands, so that only both give the same bits again. 0 when it was
        not asked.
    degraded
        Who answered in place of the present version; None when that one was asked.
    """

    answers: Answers
    failed: dict[int, _Refused]
    beyond: dict[int, int]
    asked: int = 0
    first: int = 0
    degraded: Degraded | None = None


class _Told(msgspec.Struct, frozen=True, eq=False):
    """What the graph said to all rows of a run; failures and strangeness by the row's place in it."""

    labels: Sequence[str]
    told: NDArray[np.float64]
    failed: Mapping[int, _Refused]
    beyond: Mapping[int, int]


def answer_batches(batches: Sequence[Batch], model: Model, layout: Layout) -> list[Found]:
    """What the graph says to the good rows of each batch, asked in one go.

    A batch for which nothing can be answered is not asked. Where the graph fails, each batch is asked alone, so that
    none suffers from another one's rows.
    """
    asked = [batch for batch in batches if batch.good and not (batch.refusals and batch.all_or_nothing)]
    if not asked:
        return [_nothing(batch) for batch in batches]
    try:
        inputs = _join(asked)
    except Exception as error:  # whatever it is: these rows could not be made into what the graph takes
        _unprepared.note(layout.use_case.name, error=error)
        refusal = (RowRefusal(Code.PREPROCESSING_FAILED, f"inputs cannot be built: {type(error).__name__}"),)
        return [_nothing(batch, refusal if batch in asked else None) for batch in batches]
    try:
        told = _ask(inputs, model, layout, sum(len(batch.good) for batch in asked))
    except Exception as error:  # onnxruntime's own exceptions have no common root
        if len(asked) > 1:
            return [answer_batches([batch], model, layout)[0] for batch in batches]
        _uninferred.note(layout.use_case.name, error=error)
        refusal = (refuse_failure(error),)
        return [_nothing(batch, refusal if batch in asked else None) for batch in batches]
    return _deal(batches, asked, told)


def refuse_failure(error: Exception) -> RowRefusal:
    """Refusal of the rows for which the graph failed: 301 where the failing node belongs to the preprocessing."""
    text = " ".join(str(error).split())[:200]
    if PREPARING in str(error):
        return RowRefusal(Code.PREPROCESSING_FAILED, f"the graph's preprocessing failed: {text}")
    return RowRefusal(Code.INFERENCE_FAILED, f"the graph failed: {text}")


#: Nodes of the graph that prepare the features have names that begin so, and onnxruntime names the node that fails.
PREPARING = "Name:'prepare/"


def reference_of(model: Model, layout: Layout) -> Reference | None:
    """What training has seen; None where nobody looks whether rows are unlike it."""
    return None if layout.use_case.serving.out_of_distribution == "ignore" else model.reference


def say_beyond(count: int, layout: Layout) -> str:
    """How a row is unlike the training data."""
    return f"{count} of {len(layout.use_case.features)} features lie beyond what training has seen"


def _nothing(batch: Batch, refusal: _Refused | None = None) -> Found:
    return Found(NONE, dict.fromkeys(batch.good, refusal) if refusal else {}, {})


def _join(batches: Sequence[Batch]) -> dict[str, NDArray[Any]]:
    numbers, categories = batches[0].numbers, batches[0].categories
    if len(batches) > 1:
        numbers = np.concatenate([batch.numbers for batch in batches])
        categories = np.concatenate([batch.categories for batch in batches])
    return graph_inputs(numbers, categories)


def _ask(inputs: dict[str, NDArray[Any]], model: Model, layout: Layout, n: int) -> _Told:
    """What the graph says.

    Raises
    ------
    Exception
        What onnxruntime raises, or ValueError when it answers something else.
    """
    labels, told = model.answer(inputs)
    if told.shape != (n, len(layout.answers)) or not layout.labels.issuperset(labels):
        raise ValueError(f"graph answered {told.shape} probabilities, classes {sorted(set(labels))[:5]}")
    beyond = _find_beyond(inputs, model, layout)
    failed = _find_unsound(told, layout)
    if layout.use_case.serving.out_of_distribution == "abstain":
        abstained = {
            i: (RowRefusal(Code.OUT_OF_DISTRIBUTION, say_beyond(count, layout)),) for i, count in beyond.items()
        }
        failed = abstained | failed
    return _Told(labels, told, failed, beyond)


def _find_unsound(told: NDArray[np.float64], layout: Layout) -> dict[int, _Refused]:
    """Rows to which the graph gave no answer."""
    if layout.use_case.regression:
        what, sound = "number", np.isfinite(told)
    else:
        what = "probabilities"
        sound = (told >= -_ROUNDING) & (told <= 1 + _ROUNDING)  # false where it is not a number
    if sound.all():
        return {}
    refusal = (RowRefusal(Code.INFERENCE_FAILED, f"the graph gave no {what} for this row"),)
    return dict.fromkeys(np.flatnonzero(~sound.all(axis=1)).tolist(), refusal)


def _find_beyond(inputs: dict[str, NDArray[Any]], model: Model, layout: Layout) -> dict[int, int]:
    """Features beyond what training has seen, of rows that have enough of them to matter."""
    reference = reference_of(model, layout)
    if reference is None:
        return {}
    least = max(layout.use_case.serving.out_of_distribution_share * len(layout.use_case.features), 1)
    counts = reference.count_beyond(inputs)
    return {row: int(counts[row]) for row in np.flatnonzero(counts >= least).tolist()}


def _deal(batches: Sequence[Batch], asked: Sequence[Batch], told: _Told) -> list[Found]:
    """Each batch's share, by its own row numbers."""
    dealt, remaining, first = [], iter(asked), 0
    following = next(remaining, None)
    for batch in batches:
        if batch is not following:
            dealt.append(_nothing(batch))
            continue
        dealt.append(_cut(batch, told, first))
        first += len(batch.good)
        following = next(remaining, None)
    return dealt


def _cut(batch: Batch, told: _Told, first: int) -> Found:
    good, asked, end = batch.good, len(told.labels), first + len(batch.good)
    labels, numbers = told.labels[first:end], told.told[first:end]
    if not told.failed and not told.beyond:
        return Found(Answers(good, labels, numbers), {}, {}, asked, first)
    failed = {good[i - first]: refusal for i, refusal in sorted(told.failed.items()) if first <= i < end}
    beyond = {good[i - first]: count for i, count in told.beyond.items() if first <= i < end}
    kept = [i for i, row in enumerate(good) if row not in failed]
    answers = Answers([good[i] for i in kept], [labels[i] for i in kept], numbers[kept])
    return Found(answers, failed, beyond, asked, first)
