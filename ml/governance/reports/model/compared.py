"""All models on the same rows: the newest review of the league that was held by the report's moment."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta

from ml.governance.reports.model.audited import Audited, Chapter
from ml.governance.reports.wording import moment
from ml.records.league import League
from ml.records.report import Absent, Bars, BarSide, Block, Cell, Facts, ReportFinding, Table

TITLE = "All models"
_DRAWN = 40


def describe_models(audited: Audited) -> Chapter:
    """Every registered version on the newest labelled rows, as the league found it."""
    league = _newest(audited)
    if league is None:
        told = Absent(reason=f"no review was held yet: the DAG {audited.use_case.name}.review_models holds it weekly")
        finding = ReportFinding(weight="attention", text="All models were never compared.", section=TITLE)
        return Chapter(TITLE, (Facts(rows=(("League", told),)),), (finding,))
    return Chapter(TITLE, tuple(_blocks(league)), tuple(_findings(audited, league)))


def _newest(audited: Audited) -> League | None:
    sources = audited.sources
    before = sources.as_of + timedelta(microseconds=1)
    found = sources.control.history(audited.use_case.name, "league", limit=1, before=before)
    return League.model_validate_json(found[0].payload) if found else None


def _blocks(league: League) -> Iterator[Block]:
    champion = league.champion_version
    who: Cell = Absent(reason="there was none") if champion is None else f"version {champion}"
    yield Facts(
        rows=(
            ("Review, UTC", moment(league.as_of)),
            ("Champion", who),
            ("Labelled rows", league.rows),
            ("Events, UTC", _window(league)),
        )
    )
    drawn = [row for row in league.standings if row.gain.value is not None][:_DRAWN]
    if drawn:
        side = BarSide(
            name="gain",
            values=tuple(row.gain.value for row in drawn),
            low=tuple(row.gain.low for row in drawn),
            high=tuple(row.gain.high for row in drawn),
            n=league.rows,
        )
        names = tuple(f"version {row.version} (n {row.gain.n:,})" for row in drawn)
        note = "More than 0 is better. Each on the rows that neither it nor the champion was trained on."
        unit = f"{league.metric} below the champion's"
        yield Bars(title="Gain over the champion", unit=unit, names=names, sides=(side,), note=note)
    rows = tuple(
        (
            f"version {row.version}",
            row.standing.replace("_", " "),
            row.loss,
            row.gain,
            Absent(reason="not compared") if row.adjusted is None else row.adjusted,
            row.reason,
        )
        for row in league.standings
    )
    columns = ("model", "standing", f"mean {league.metric}", "better than the champion by", "p", "why")
    note = (
        f"p is corrected over all versions and held against {league.level:g}; intervals of the gain are at that level."
    )
    yield Table(title="Standings", columns=columns, rows=rows, note=note)


def _window(league: League) -> Cell:
    if league.window is None:
        return Absent(reason="there are no labelled rows")
    return f"{moment(league.window.start)} to {moment(league.window.end)}"


def _findings(audited: Audited, league: League) -> Iterator[ReportFinding]:
    if league.ahead:
        names = ", ".join(str(row.version) for row in league.ahead)
        text = f"Ahead of champion version {league.champion_version} beyond doubt: version {names}."
        yield ReportFinding(weight="attention", text=text, section=TITLE)
    if audited.version.version not in {row.version for row in league.standings}:
        text = f"The newest review of all models is older than version {audited.version.version}."
        yield ReportFinding(weight="note", text=text, section=TITLE)
