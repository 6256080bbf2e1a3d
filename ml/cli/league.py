"""``perennial league``: the newest review of all versions of a use case."""

from __future__ import annotations

from typing import TYPE_CHECKING

import typer

from ml.cli.options import Json, UseCaseName
from ml.cli.output import print_json, stdout

if TYPE_CHECKING:
    from ml.records.league import League
    from ml.records.measure import Estimate

_COLOURS = {"champion": "bold", "ahead": "bold green", "undecidable": "yellow", "unevaluable": "red"}


def league(name: UseCaseName, as_json: Json = False) -> None:
    """Show how every registered version answered the newest labelled rows, as the DAG review_models last found.

    Exit code 1 when no review was held yet.

    Example: perennial league harbour_weather
    """
    found = _newest(name)
    if found is None:
        if as_json:
            print_json({"use_case": name, "as_of": None, "standings": []})
        else:
            stdout.print(f"no review of {name} yet: its DAG {name}.review_models runs weekly, or by hand", markup=False)
        raise typer.Exit(1)
    if as_json:
        print_json(found.model_dump(mode="json") | {"ahead": [row.version for row in found.ahead]})
    else:
        _print(found)


def _newest(name: str) -> League | None:
    from ml.records.league import League
    from ml.settings import settings
    from ml.store.control import ControlStore
    from ml.use_case import load

    load(settings().use_cases / f"{name}.yaml")
    stored = ControlStore(settings().control_url, settings().ledger).latest("league", name)
    return None if stored is None else League.model_validate_json(stored.payload)


def _print(found: League) -> None:
    from rich.markup import escape
    from rich.table import Table

    title = f"{found.use_case}, {found.as_of:%d %b %Y %H:%M} UTC: {found.rows:,} labelled rows, {found.metric}"
    table = Table("version", "standing", "loss", "gain", "interval", "rows", "p", "why", title=title, box=None)
    for column in table.columns[2:7]:
        column.justify, column.no_wrap = "right", True
    for row in found.standings:
        table.add_row(
            f"v{row.version}",
            row.standing.replace("_", " "),
            _number(row.loss.value),
            _number(row.gain.value),
            _interval(row.gain),
            f"{row.loss.n:,}",
            "-" if row.adjusted is None else f"{row.adjusted:.2g}",
            escape(row.reason),
            style=_COLOURS.get(row.standing),
        )
    stdout.print(table)
    ahead = ", ".join(f"version {row.version}" for row in found.ahead)
    stdout.print(f"ahead of the champion beyond doubt: {ahead or 'none'}", markup=False)


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.4f}"


def _interval(found: Estimate) -> str:
    return "-" if found.low is None else f"{_number(found.low)} .. {_number(found.high)}"
