"""What people decided: versions approved and rejected, the champion moved by hand, single answers overridden."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta

from ml.governance.overrides import OVERRIDES
from ml.governance.reports.sources import Sources
from ml.governance.reports.wording import moment, suppressed
from ml.governance.review import APPROVAL
from ml.records.approval import ReviewAnswer
from ml.records.governance import AliasMove
from ml.records.overrides import OverrideReview, PersonOverrides
from ml.records.report import Absent, Block, Cell, Table, Words
from ml.registry.alias import ALIAS

#: Moves of the alias that a person made.
_BY_HAND = ("command", "mlflow")
_ALL = 10_000


def describe_approvals(sources: Sources) -> Iterator[Block]:
    """Answers to questions about versions, and moves of the champion that people made by hand."""
    entries = sources.control.ledger_entries(kinds=(APPROVAL, ALIAS), use_case=sources.use_case.name, limit=_ALL)
    answers: list[tuple[Cell, ...]] = []
    moves: list[tuple[Cell, ...]] = []
    for entry in entries[::-1]:
        if entry.kind == APPROVAL and entry.payload:
            found = ReviewAnswer.model_validate_json(entry.payload)
            answers.append((moment(entry.time), found.version, found.answer, found.actor, found.by, found.reason))
        elif entry.payload and (move := AliasMove.model_validate_json(entry.payload)).by in _BY_HAND:
            wanted: Cell = Absent(reason="taken away") if move.version is None else move.version
            moves.append((moment(entry.time), wanted, entry.actor, move.by, move.reason))
    yield Table(
        title="Answers to questions",
        columns=("when, UTC", "version", "answer", "by", "in", "reason"),
        rows=tuple(answers),
    )
    yield Table(
        title="Champions made by hand", columns=("when, UTC", "version", "by", "in", "reason"), rows=tuple(moves)
    )


def describe_overrides(sources: Sources) -> Iterator[Block]:
    """How often people decided otherwise than the model, and who was right, as last counted."""
    later = sources.as_of + timedelta(microseconds=1)
    stored = sources.control.history(sources.use_case.name, OVERRIDES, limit=1, before=later)
    if not stored:
        yield Words(text="Nobody has decided on an answer in place of the model.")
        return
    found, limit = OverrideReview.model_validate_json(stored[0].payload), sources.small_cell
    yield Table(
        columns=("who", "decided", "otherwise than the model", "truth known", "nearer to it than the model"),
        rows=tuple(_person(one, limit) for one in found.people),
        note=f"Answers of {moment(found.window.start)} to {moment(found.window.end)}, UTC; overridden share of all: "
        f"n {found.answered:,}. Counts of people with fewer than {limit} decisions are not shown.",
    )


def _person(one: PersonOverrides, limit: int) -> tuple[Cell, ...]:
    if one.decided < limit:
        return (one.by, *[suppressed(limit)] * 4)
    return one.by, one.decided, one.overridden, one.known, one.right
