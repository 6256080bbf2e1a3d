"""Bodies of the DAG that reviews all versions: a league, its page in MLflow, and a word when one is ahead."""

from __future__ import annotations

from typing import Any

from plugins.perennial.monitor_tasks import as_of
from plugins.perennial.telemetry import note_event
from plugins.perennial.workbench import Workbench, open_workbench, wall_clock


def hold_league(name: str, **context: Any) -> str:
    """Ask every registered version for the newest labelled rows; recorded once per moment; returns the record's key."""
    from ml.registry.review import review_versions

    bench, moment = open_workbench(name), as_of(context)
    bench.lake.ingest(bench.settings.outbox)  # labels that came since the last monitor run count
    league = review_versions(bench.use_case, bench.registry, bench.lake, as_of=moment)
    stored = bench.control.record("league", league.key, league, use_case=name, as_of=moment, now=wall_clock())
    for row in _league(bench, stored.key).standings:
        print(f"{row.standing:11} version {row.version}: {row.reason}")
    return stored.key


def publish(name: str, key: str) -> str:
    """Write the league to MLflow: numbers on every version's run, table and plot on a run of its own."""
    bench = open_workbench(name)
    bench.registry.log_league(bench.use_case, _league(bench, key))
    return key


def conclude(name: str, key: str) -> str:
    """The branch that the league leads to."""
    return "alert" if _league(open_workbench(name), key).ahead else "settled"


def settled(name: str) -> None:
    """Nothing to do: no version is better than the champion beyond doubt."""
    print(f"no version of {name} is ahead of its champion")


def alert(name: str, key: str) -> None:
    """Tell which versions are better, by how much, how sure; a rule makes an alert of it."""
    league = _league(open_workbench(name), key)
    which = ", ".join(f"version {row.version}" for row in league.ahead)
    lines = (
        f"{which} ahead of champion version {league.champion_version}.".capitalize(),
        *(f"Version {row.version}: {row.reason}." for row in league.ahead),
        f"Look at all of them: perennial league {name}",
        f'If the rows are like those to come, train on them: perennial retrain {name} --reason "{which} ahead"',
    )
    note_event(
        "version_ahead",
        source="review_models",
        use_case=name,
        severity="warning",
        message="\n".join(lines),
        key=key,
        model_version=league.champion_version,
    )


def _league(bench: Workbench, key: str) -> Any:
    from ml.records.league import League

    return League.model_validate_json(bench.control.find("league", key).payload)
