"""People's decisions: how often they overrode the answers, and who was right when the truth became known."""

from __future__ import annotations

from collections.abc import Iterator

from ml.governance.overrides import judge_overrides
from ml.governance.reports.model.audited import Audited, Chapter
from ml.records.measure import Estimate
from ml.records.overrides import OverrideReview, PersonOverrides
from ml.records.report import Absent, Block, Cell, Facts, ReportFinding, Table

TITLE = "People's decisions"


def describe_people(audited: Audited) -> Chapter:
    """Rate of overrides of all answers of the period, whoever answered, and who was right; by person."""
    sources, use_case = audited.sources, audited.use_case
    decided = sources.lake.overridden(sources.window, as_of=sources.as_of)
    found = judge_overrides(
        decided, use_case, window=sources.window, as_of=sources.as_of, answered=len(sources.answered)
    )
    if not found.decided:
        told = Absent(reason="no person has decided on an answer of the period")
        rows: tuple[tuple[str, Cell], ...] = (("Answers", found.answered), ("Decisions of people", told))
        return Chapter(TITLE, (Facts(rows=rows),))
    blocks = tuple(_blocks(found, sources.small_cell))
    return Chapter(TITLE, blocks, tuple(_findings(found, sources.small_cell)))


def _blocks(found: OverrideReview, limit: int) -> Iterator[Block]:
    yield Facts(
        rows=(
            ("Answers", found.answered),
            ("Of these, decided on by people", _count(found.decided, limit)),
            ("Overridden: decided otherwise", _count(found.overridden, limit)),
            ("Share of the answers that was overridden", _shown(found.rate, found.overridden, limit)),
            ("Overridden whose truth is known", _count(found.known, limit)),
            ("Of these, the person was right", _shown(found.person_share, found.known, limit)),
            ("The model was right", _count_of(found.model_right, found.known, limit)),
            ("Neither", _count_of(found.neither, found.known, limit)),
        )
    )
    rows = tuple(
        (one.by, *(_count(n, limit) for n in (one.decided, one.overridden, one.known)), _right(one, limit))
        for one in found.people
    )
    head = ("person", "decided", "overridden", "truth known", "right")
    note = "Of a regression, right is who was nearer to the truth. Shares are of independent rows (Wilson)."
    yield Table(title="By person", columns=head, rows=rows, note=note)


def _count(count: int, limit: int) -> Cell:
    return Absent(reason=f"suppressed: fewer than {limit}") if 0 < count < limit else count


def _right(one: PersonOverrides, limit: int) -> Cell:
    return _count_of(one.right, one.known, limit)


def _count_of(count: int, total: int, limit: int) -> Cell:
    """A part of a small total would tell of it."""
    return _count(total, limit) if isinstance(_count(total, limit), Absent) else count


def _shown(found: Estimate, count: int, limit: int) -> Cell:
    return _count(count, limit) if 0 < count < limit else found


def _findings(found: OverrideReview, limit: int) -> Iterator[ReportFinding]:
    """Only where a share beyond doubt says that people know better, or worse."""
    share = found.person_share
    if found.known < limit or share.low is None or share.high is None or share.value is None:
        text = "People have overridden answers; of too few of them the truth is known to tell who was right."
        yield ReportFinding(weight="note", text=text, section=TITLE)
    elif share.low > 0.5:
        text = f"People who overrode the model were right in {share.value:.0%} of {found.known:,} cases."
        yield ReportFinding(weight="attention", text=f"{text} They know something that it does not.", section=TITLE)
    elif share.high < 0.5:
        text = f"People who overrode the model were right in only {share.value:.0%} of {found.known:,} cases."
        yield ReportFinding(weight="attention", text=text, section=TITLE)
