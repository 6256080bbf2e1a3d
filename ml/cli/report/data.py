"""``perennial report data``: the audit of training, test, live and monitoring data."""

from __future__ import annotations

from ml.cli.options import Json, UseCaseName
from ml.cli.report.writing import AsOf, SmallCell, To, write_by_name
from ml.governance.reports.small_cells import SMALL_CELL


def data(
    name: UseCaseName, as_of: AsOf = None, to: To = None, small_cell: SmallCell = SMALL_CELL, as_json: Json = False
) -> None:
    """Write the data audit: versions, schema, distributions side by side, missing, odd and refused rows, lineage, age.

    Example: perennial report data harbour_weather
    """
    write_by_name("data", name, as_of=as_of, to=to, small_cell=small_cell, as_json=as_json)
