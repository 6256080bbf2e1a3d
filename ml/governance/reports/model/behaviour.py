"""Behaviour tests and golden rows: what people know how the version must answer, asked of it again."""

from __future__ import annotations

from collections.abc import Iterator

from ml.errors import DataError
from ml.evaluation.behaviour import Behaved, Told, ask_golden_rows, try_behaviour
from ml.evaluation.reliability import share_in_time
from ml.governance.reports.model.audited import Audited, Chapter
from ml.records.report import Absent, Block, Cell, Facts, ReportFinding, Table

TITLE = "Behaviour tests"


def describe_behaviour(audited: Audited) -> Chapter:
    """Each test's share of live rows with its verdict, and each golden row's answer."""
    use_case = audited.use_case
    try:
        golden = ask_golden_rows(audited.answer, use_case)
        behaved = try_behaviour(audited.answer, audited.live, use_case)
    except DataError as error:
        return Chapter(TITLE, (Facts(rows=(("Behaviour", Absent(reason=f"undecidable: {error}")),)),))
    blocks = (*_tests(audited, behaved), *_golden(audited, golden))
    return Chapter(TITLE, blocks, tuple(_findings(audited, behaved, golden)))


def _tests(audited: Audited, behaved: tuple[Behaved, ...]) -> Iterator[Block]:
    asked = audited.use_case.gate.behaviour
    if not asked:
        told = Absent(reason="the use case file declares none in gate.behaviour")
        yield Facts(rows=(("Behaviour tests", told),))
    elif not behaved:
        yield Facts(rows=tuple((one.name, Absent(reason=audited.undecidable)) for one in asked))
    else:
        times = dict(zip(audited.live["id"], audited.live["event_time"], strict=True))
        rows: list[tuple[Cell, ...]] = []
        for one in behaved:
            share = share_in_time(one.holds, [times[row] for row in one.ids])
            rows.append((one.name, one.detail, share, one.share, verdict_of(one)))
        yield Table(
            title="Changed rows",
            columns=("test", "what must happen", "share of live rows in which it does", "needed", "verdict"),
            rows=tuple(rows),
            note="Rows in which the change changes nothing, or leaves the declared range, are left out. The gate asks "
            "a challenger the same on its hold-out.",
        )


def verdict_of(behaved: Behaved) -> str:
    """As the gate has it: whether it held in the share of rows that is needed."""
    if not len(behaved.holds):
        return "undecidable"
    return "pass" if behaved.holds.mean() >= behaved.share else "fail"


def _golden(audited: Audited, golden: tuple[Told, ...]) -> Iterator[Block]:
    if not golden:
        yield Facts(rows=(("Golden rows", Absent(reason="the use case file declares none in gate.golden")),))
        return
    rows = tuple((one.name, one.value, one.bound, "pass" if one.holds else "fail", one.detail) for one in golden)
    yield Table(title="Golden rows", columns=("row", "value", "bound", "verdict", "what it says"), rows=rows)


def _findings(audited: Audited, behaved: tuple[Behaved, ...], golden: tuple[Told, ...]) -> Iterator[ReportFinding]:
    for one in behaved:
        if verdict_of(one) == "fail":
            text = f"Behaviour test {one.name} fails on live rows: it holds in {one.holds.mean():.1%}, "
            yield ReportFinding(weight="attention", text=f"{text}{one.share:.0%} are needed.", section=TITLE)
    for told in golden:
        if not told.holds:
            text = f"Golden row {told.name} is answered wrongly: {told.detail}."
            yield ReportFinding(weight="attention", text=text, section=TITLE)
