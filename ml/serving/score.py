"""What becomes of batches: answers by one model, refusals, the replies and the records of both.

Nothing here waits or writes; large batches are scored in a thread. Small ones that arrive together are asked together.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

import msgspec

from ml.records.codes import Code
from ml.serving.answers import NONE, Found, answer_batches
from ml.serving.decode import Batch, Layout
from ml.serving.degraded import Degraded
from ml.serving.http import Reply
from ml.serving.model import Model
from ml.serving.outcome import Outcome, Render, render_rows
from ml.serving.problem import RequestRefused, RowRefusal, refuse_rows
from ml.serving.record import record_batch

SPARED = (RowRefusal(Code.MALFORMED, "another row of this all-or-nothing batch was refused"),)


class Scored(msgspec.Struct, frozen=True):
    """A scored batch.

    Attributes
    ----------
    reply
        What the client gets once the record is on disk: an answer, or the refusal of all rows.
    record, rows
        Of all rows, and how many they are.
    codes
        Rows by the code that they ended with.
    degraded
        As of :class:`ml.serving.answers.Found`.
    """

    reply: Reply | RequestRefused
    record: bytes
    rows: int
    codes: Mapping[int, int]
    degraded: Degraded | None = None

    @property
    def asked_codes(self) -> Mapping[int, int]:
        """Codes by which the version that was asked first is judged, whoever answered."""
        return self.codes if self.degraded is None else {int(self.degraded.code): 1}


def score_batch(
    batch: Batch,
    model: Model,
    layout: Layout,
    request_id: str,
    render: Render = render_rows,
    *,
    found: Found | None = None,
) -> Scored:
    """Reply and record of a batch, all by one model.

    Rows that the graph cannot answer are refused with code 301 or 401; a probability that is not a number is not an
    answer.

    Parameters
    ----------
    found
        What :func:`ml.serving.answers.answer_batches` found for this batch; it is asked here when None.
    """
    found = found or answer_batches([batch], model, layout)[0]
    answers, refusals, n = found.answers, {**batch.refusals, **found.failed}, len(batch.ids)
    if found.degraded is not None:
        model = found.degraded.model
    if refusals and batch.all_or_nothing:
        answers = NONE
    spared = {} if len(answers) + len(refusals) == n else dict.fromkeys(range(n), SPARED)
    outcome = Outcome(batch, layout, model, answers, spared | refusals, request_id, found)
    reply = render(outcome) if len(answers) else refuse_rows(refusals, batch.ids)
    codes: dict[int, int] = {0: len(answers)} if len(answers) else {}
    if outcome.refusals:
        codes |= Counter(int(refused[0].code) for refused in outcome.refusals.values())
    return Scored(reply, record_batch(outcome), n, codes, found.degraded)
