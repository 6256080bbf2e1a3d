"""``perennial report model``: the audit of a model version."""

from __future__ import annotations

from typing import Annotated

import typer

from ml.cli.options import Json
from ml.cli.output import progress_line
from ml.cli.report.writing import AsOf, SmallCell, To, sources_of, write_made
from ml.governance.reports.small_cells import SMALL_CELL


def model(
    model: Annotated[str, typer.Argument(metavar="USE_CASE[@VERSION]", help="Without a version: the champion.")],
    as_of: AsOf = None,
    to: To = None,
    small_cell: SmallCell = SMALL_CELL,
    as_json: Json = False,
) -> None:
    """Write the model audit: performance over time, slices, calibration, explanations, failures, tests, overrides.

    Example: perennial report model harbour_weather@2
    """
    from ml.errors import InputError
    from ml.governance.reports.shelf import make_model_audit

    name, at, number = model.partition("@")
    if at and not (number.isdecimal() and int(number)):
        raise InputError("no such version", where="report model", got=repr(number), allowed="USE_CASE or USE_CASE@2")
    sources = sources_of(name, as_of, small_cell)
    with progress_line("reading the stores, asking the model"):
        made = make_model_audit(sources, int(number) if at else None)
    write_made((made,), sources, to=to, as_json=as_json)
