"""Monitoring data in the audit: what every check found, and the columns of the last one."""

from __future__ import annotations

from collections.abc import Iterator

from ml.governance.reports.sources import Sources
from ml.governance.reports.wording import moment
from ml.records.decision import DriftCheck, MonitorDecision
from ml.records.report import Absent, Block, Cell, Facts, Line, Lines, Table

_COLUMNS = 20


def describe_checks(sources: Sources) -> Iterator[Block]:
    """Score and threshold of every check of the period, and the columns of the last one, furthest first."""
    decisions = sources.decisions
    yield draw_drift(decisions)
    if not decisions:
        return
    check = decisions[-1].check
    yield Facts(title="The last check", rows=tuple(_facts(check)))
    rows = tuple(_column(check, place) for place in range(min(len(check.columns), _COLUMNS)))
    head = ("column", "statistic", "value", "threshold", "drifted", "live rows", "missing, reference", "missing, live")
    note = f"The {len(rows)} furthest of {len(check.columns)} pairs of column and statistic; 0 is identical."
    yield Table(title="Columns of the last check", columns=head, rows=rows, note=note)


def draw_drift(decisions: tuple[MonitorDecision, ...]) -> Lines:
    """Drift score of every check beside its threshold, over event time; a threshold is new with each champion."""
    checks = [one.check for one in decisions if one.check.window is not None]
    x = tuple(check.window.end.timestamp() for check in checks if check.window is not None)
    rows = tuple(check.n_live for check in checks)
    return Lines(
        title="Drift of live data from the champion's training data",
        x_label="end of the checked window, UTC",
        y_label="score, standard deviations",
        over_time=True,
        lines=(
            Line(name="score", x=x, y=tuple(check.score for check in checks), n=rows),
            Line(name="threshold", x=x, y=tuple(check.threshold for check in checks)),
        ),
        note="Above its threshold is drift; n are live rows over all checks. A gap is a check that could not tell.",
    )


def _facts(check: DriftCheck) -> Iterator[tuple[str, Cell]]:
    window = check.window
    if window is not None:
        yield "Window, UTC", f"{moment(window.start)} to {moment(window.end)}"
    yield "Champion", Absent(reason="none") if check.model_version is None else f"version {check.model_version}"
    yield "Verdict", check.verdict.replace("_", " ")
    yield "Score", _or_absent(check.score)
    yield "Threshold", _or_absent(check.threshold)
    yield "Rows, reference and live", f"{check.n_reference:,} and {check.n_live:,}"
    yield "Reasons", " ".join(check.reasons)


def _column(check: DriftCheck, place: int) -> tuple[Cell, ...]:
    one = check.columns[place]
    return (
        one.name,
        one.statistic,
        _or_absent(one.value),
        _or_absent(one.threshold),
        one.drifted,
        one.n_live,
        one.missing_share_reference,
        one.missing_share_live,
    )


def _or_absent(value: float | None) -> Cell:
    return Absent(reason="undecidable") if value is None else value
