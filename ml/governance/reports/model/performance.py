"""Performance over time: what the answers were expected to cost at the time, and what they cost later."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import pandas as pd

from ml.governance.reports.model.audited import Audited, Chapter
from ml.governance.reports.wording import moment
from ml.policy.live import PAIRS_TO_LOOK_BACK, are_apart, realised_loss, trust_estimates
from ml.records.decision import MonitorDecision
from ml.records.measure import Estimate, Window
from ml.records.report import Absent, Cell, Line, Lines, ReportFinding, Table

TITLE = "Performance over time"
#: Windows in the table, the newest; the plot has all.
_TOLD = 60
_NEVER = Estimate(value=None, n=0, detail="no check was made at the time")


@dataclass(frozen=True)
class _Span:
    """A window with both numbers."""

    window: Window
    versions: tuple[int, ...]
    rows: int
    estimated: Estimate
    realised: Estimate

    @property
    def missed(self) -> bool | None:
        """Whether the two intervals have nothing in common; None where one of them is not known."""
        ends = (self.estimated.low, self.estimated.high, self.realised.low, self.realised.high)
        return None if None in ends else are_apart(self.estimated, self.realised)


def describe_performance(audited: Audited) -> Chapter:
    """Each checked window's estimate and realised loss, whoever answered, with the changes of version."""
    spans = tuple(_spans(audited))
    blocks = (_draw(audited, spans), _table(audited, spans), _by_version(audited))
    return Chapter(TITLE, blocks, tuple(_findings(spans)))


def _spans(audited: Audited) -> Iterator[_Span]:
    sources, limit = audited.sources, audited.sources.small_cell
    checked: Mapping[Window, MonitorDecision] = {
        one.check.window: one for one in sources.decisions if one.check.window is not None
    }
    windows = tuple(checked) or sources.window.pieces(audited.use_case.monitoring.window)
    for window in windows:
        answered, labelled = (_inside(rows, window) for rows in (sources.answered, sources.labelled))
        if answered.empty and window not in checked:
            continue
        told = checked[window].estimated_loss if window in checked else None
        realised = realised_loss(labelled, audited.use_case)
        if not realised.n:
            realised = Estimate(value=None, n=0, detail="no truth is known yet")
        yield _Span(
            window=window,
            versions=tuple(sorted(int(one) for one in answered["model_version"].unique())),
            rows=len(answered),
            estimated=_shown(told or _NEVER, limit),
            realised=_shown(realised, limit),
        )


def _inside(rows: pd.DataFrame, window: Window) -> pd.DataFrame:
    times = rows["event_time"]
    return rows[((times >= window.start) & (times < window.end)).to_numpy()]


def _shown(found: Estimate, limit: int) -> Estimate:
    if not 0 < found.n < limit:
        return found
    return Estimate(value=None, n=0, detail=f"suppressed: fewer than {limit} rows")


def _draw(audited: Audited, spans: tuple[_Span, ...]) -> Lines:
    x = tuple(span.window.end.timestamp() for span in spans)

    def line(name: str, found: tuple[Estimate, ...]) -> Line:
        return Line(
            name=name,
            x=x,
            y=tuple(one.value for one in found),
            low=tuple(one.low for one in found),
            high=tuple(one.high for one in found),
            n=tuple(one.n for one in found),
        )

    return Lines(
        title=f"{audited.use_case.gate.metric} of the served answers, window by window",
        x_label="end of the window, UTC",
        y_label=f"mean {audited.use_case.gate.metric}, lower is better",
        over_time=True,
        lines=(
            line("estimated at the time", tuple(span.estimated for span in spans)),
            line("realised later", tuple(span.realised for span in spans)),
        ),
        marks=_first_answers(audited),
        note="Estimated from the answers alone, before a truth was known; realised from the truths that are known as "
        "of this report. Intervals 90 %, over blocks of time. A vertical line is the first answer of a version.",
    )


def _first_answers(audited: Audited) -> dict[str, float]:
    found = audited.sources.answered.groupby("model_version", sort=True)["event_time"].min()
    return {f"v{version}": first.timestamp() for version, first in found.items()}


def _table(audited: Audited, spans: tuple[_Span, ...]) -> Table:
    limit = audited.sources.small_cell
    rows = tuple(
        (
            moment(span.window.end),
            ", ".join(map(str, span.versions)) or Absent(reason="nobody answered"),
            Absent(reason=f"suppressed: fewer than {limit} rows") if 0 < span.rows < limit else span.rows,
            span.estimated,
            span.realised,
            Absent(reason="undecidable") if span.missed is None else "no" if span.missed else "yes",
        )
        for span in spans[-_TOLD:][::-1]
    )
    head = ("end of the window, UTC", "versions that answered", "answers", "estimated at the time", "realised", "held")
    told = f"The newest {_TOLD} of {len(spans)} windows. " if len(spans) > _TOLD else ""
    note = f"{told}Held: the two intervals have a value in common."
    return Table(title="Windows, the newest first", columns=head, rows=rows, note=note)


def _by_version(audited: Audited) -> Table:
    sources, use_case = audited.sources, audited.use_case
    rows: list[tuple[Cell, ...]] = []
    for version, answered in sources.answered.groupby("model_version", sort=True):
        own = sources.labelled[(sources.labelled["model_version"] == version).to_numpy()]
        first, last = answered["event_time"].min(), answered["event_time"].max()
        realised = _shown(realised_loss(own, use_case), sources.small_cell)
        count: Cell = len(answered)
        if len(answered) < sources.small_cell:
            count = Absent(reason=f"suppressed: fewer than {sources.small_cell} rows")
        rows.append((f"version {version}", f"{moment(first)} to {moment(last)}", count, realised))
    head = ("who answered", "events, UTC", "answers", f"mean {use_case.gate.metric} where the truth is known")
    note = "Each version on the rows that it answered itself: other rows than those of the others. All models on the "
    return Table(title="Served answers by version", columns=head, rows=tuple(rows), note=f"{note}same rows: below.")


def _findings(spans: tuple[_Span, ...]) -> Iterator[ReportFinding]:
    pairs = [(span.estimated, span.realised) for span in spans if span.missed is not None]
    missed = sum(span.missed is True for span in spans)
    trusted = trust_estimates(pairs[::-1][:PAIRS_TO_LOOK_BACK])
    if trusted is False:
        text = f"Estimates made without labels do not hold what they promise: {missed} of {len(pairs)} windows missed."
        yield ReportFinding(weight="attention", text=text, section=TITLE)
    elif pairs:
        text = f"Estimates made without labels missed in {missed} of {len(pairs)} windows whose truth is known."
        yield ReportFinding(weight="note", text=text, section=TITLE)
    if not any(span.realised.n for span in spans):
        text = "No truth of any live answer is known: performance over time is undecidable."
        yield ReportFinding(weight="attention", text=text, section=TITLE)
