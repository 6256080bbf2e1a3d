"""``perennial report project``: goals, who can do what, what is stale, what is open."""

from __future__ import annotations

from ml.cli.options import Json, UseCaseName
from ml.cli.report.writing import AsOf, SmallCell, To, write_by_name
from ml.governance.reports.small_cells import SMALL_CELL


def project(
    name: UseCaseName, as_of: AsOf = None, to: To = None, small_cell: SmallCell = SMALL_CELL, as_json: Json = False
) -> None:
    """Write the project and governance audit: goals, access, approvals, overrides, freshness, hand-over, open alerts.

    Example: perennial report project harbour_weather
    """
    write_by_name("project", name, as_of=as_of, to=to, small_cell=small_cell, as_json=as_json)
