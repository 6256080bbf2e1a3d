"""What the present version cannot answer is asked of the last good one, where a use case declares that."""

from __future__ import annotations

from collections.abc import Sequence

from msgspec.structs import replace

from ml.serving.answers import Found, answer_batches
from ml.serving.decode import Batch, Layout
from ml.serving.degraded import FAILURES, Degraded, Spare
from ml.serving.model import Model
from ml.serving.problem import RowRefusal


def answer_or_stand_in(
    batches: Sequence[Batch],
    model: Model | None,
    spare: Spare | None,
    layout: Layout,
    *,
    pinned: Sequence[bool] | None = None,
) -> list[Found]:
    """What the present version answers to each batch; the last good one where it fails and that one does not.

    A batch is answered by one version: one that failed on some rows is asked again as a whole, and the answers of the
    last good version are given only when they are more. What both fail at keeps the code of the present version.

    Parameters
    ----------
    model
        None when no present version could be loaded; then there must be a spare.
    spare
        None where the use case declares no degraded mode, or no earlier version was confirmed.
    pinned
        Batches that named the version they want: nobody answers in its place.
    """
    if model is None:
        assert spare is not None  # noqa: S101 - of its callers
        nobody = spare.in_place_of_nobody()
        return [replace(found, degraded=nobody) for found in answer_batches(batches, spare.model, layout)]
    answered = answer_batches(batches, model, layout)
    if spare is None or not any(found.failed for found in answered):
        return answered
    failed = [n for n, found in enumerate(answered) if _failure(found) and not (pinned and pinned[n])]
    for n, other in zip(failed, answer_batches([batches[n] for n in failed], spare.model, layout), strict=True):
        refusal = _failure(answered[n])
        if refusal is not None and len(other.answers) > len(answered[n].answers):
            told = Degraded(spare.model, refusal.code, refusal.detail, model.manifest.model_version)
            answered[n] = replace(other, degraded=told)
    return answered


def _failure(found: Found) -> RowRefusal | None:
    """What the version itself failed with; that it abstains is no failure."""
    return next((first for first, *_ in found.failed.values() if first.code in FAILURES), None)
