"""``perennial report card``: model cards."""

from __future__ import annotations

from typing import Annotated

import typer

from ml.cli.options import Json, UseCaseName
from ml.cli.output import progress_line
from ml.cli.report.writing import AsOf, SmallCell, To, sources_of, write_made
from ml.governance.reports.small_cells import SMALL_CELL


def card(
    name: UseCaseName,
    version: Annotated[int | None, typer.Argument(min=1, help="Version; the champion's when none is given.")] = None,
    every: Annotated[bool, typer.Option("--all", help="Cards of every version.")] = False,
    as_of: AsOf = None,
    to: To = None,
    small_cell: SmallCell = SMALL_CELL,
    as_json: Json = False,
) -> None:
    """Write the model card of a version: details, use, data, numbers by slice, what the gate found, caveats.

    Example: perennial report card harbour_weather 2
    """
    from ml.errors import InputError
    from ml.governance.reports.shelf import make_card, make_cards

    if every and version is not None:
        raise InputError("a version and --all exclude each other", where="report card", got=f"{version} and --all")
    sources = sources_of(name, as_of, small_cell)
    with progress_line("reading the stores"):
        made = make_cards(sources) if every else (make_card(sources, version),)
    write_made(made, sources, to=to, as_json=as_json)
