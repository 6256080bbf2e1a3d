"""Open alerts and incident clocks: since when something is wrong, and since when it was last so."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import datetime, timedelta

from ml.governance.reports.sources import Sources
from ml.governance.reports.wording import moment
from ml.governance.review import open_reviews
from ml.records.alert import AlertState
from ml.records.governance import AliasMove
from ml.records.pipeline import PipelineHealth
from ml.records.release import ReleaseOutcome
from ml.records.report import Absent, Block, Cell, Facts, Table
from ml.registry.alias import ALIAS
from ml.store.control import Stored
from ml.store.pipeline import PipelineHistory

#: A measurement of the pipeline that is older says nothing of now.
_FRESH = timedelta(days=10)
_ALL = 2_000

Rows = tuple[tuple[Cell, ...], ...]


def open_alerts(sources: Sources) -> tuple[AlertState, ...]:
    """Alerts of the installation that fire, the oldest first."""
    active = [state for state in sources.alerts.book(sources.now).states.values() if state.active]
    return tuple(sorted(active, key=lambda state: (state.fired_at or state.since, state.rule, state.group)))


def describe_incidents(sources: Sources) -> Iterator[Block]:
    """Alerts that fire, red DAGs, and when each kind of incident was last."""
    yield Table(
        title="Open alerts",
        columns=("rule", "of", "fires since, UTC", "seen by", "what"),
        rows=tuple(_alert(state) for state in open_alerts(sources)),
        note="Of the whole installation.",
    )
    yield Table(title="Broken-build clock", columns=("DAG", "red since, UTC", "first failed run"), rows=_red(sources))
    yield Facts(title="Incident clocks: the last one, UTC", rows=tuple(_clocks(sources)))


def newest_health(sources: Sources) -> PipelineHealth | None:
    """The newest measurement of the pipeline; None where there is none that says something of now."""
    found = PipelineHistory(sources.settings.control_url).measured(since=sources.now - _FRESH, until=sources.now)
    return found[-1] if found else None


def _alert(state: AlertState) -> tuple[Cell, ...]:
    seen: Cell = state.acknowledged_by or Absent(reason="nobody")
    since = moment(state.fired_at or state.since)
    return state.rule, ", ".join(filter(None, state.group)) or "all", since, seen, state.detail[:300]


def _red(sources: Sources) -> Rows:
    health = newest_health(sources)
    if health is None:
        return ((Absent(reason="the pipeline was not measured"), Absent(reason="unknown"), Absent(reason="unknown")),)
    mine = (f"{sources.use_case.name}.", "perennial.")
    return tuple(
        (dag.dag_id, moment(dag.red_since), dag.red_run)
        for dag in health.dags
        if dag.red_since and dag.dag_id.startswith(mine)
    )


def _clocks(sources: Sources) -> Iterator[tuple[str, Cell]]:
    name = sources.use_case.name
    releases = sources.control.history(name, "release", limit=_ALL)
    outcomes = [(one.created_at, ReleaseOutcome.model_validate_json(one.payload)) for one in releases]
    moves = [(one.created_at, AliasMove.model_validate_json(one.payload)) for one in _moves(sources)]
    yield "Release rolled back", _last([at for at, found in outcomes if found.outcome == "rolled_back"])
    yield "Went back to an older version", _last([at for at, found in moves if _is_way_back(found)])
    for title, event in (("Task failed for good", "task_failed"), ("Block of rows put aside", "block_quarantined")):
        found = sources.telemetry.search(names=[event], use_case=name, until=sources.now, limit=1)
        yield title, _last([one.time for one in found])
    asked = open_reviews(sources.control, name, since=sources.now)
    yield "Oldest question that nobody has answered", _last(sorted(one.asked_at for one in asked)[:1])


def _moves(sources: Sources) -> tuple[Stored, ...]:
    return sources.control.history(sources.use_case.name, ALIAS, limit=_ALL)


def _is_way_back(move: AliasMove) -> bool:
    return move.version is not None and move.previous is not None and move.version < move.previous


def _last(found: Iterable[datetime]) -> Cell:
    newest = max(found, default=None)
    return Absent(reason="none on record") if newest is None else moment(newest)
