"""From the replicas' spools into the control database: every replica's events and rollups."""

from __future__ import annotations

from pathlib import Path

from ml.errors import DataError, ServiceAway
from ml.store.telemetry import Taken, Telemetry


def collect_spools(telemetry: Telemetry, folder: Path) -> tuple[Taken, tuple[str, ...]]:
    """Take every spool of a folder; returns what was taken, and what is wrong with spools that were left.

    Raises
    ------
    ServiceAway
        The control database does not answer; a spool that does not is named in the result.
    """
    events = rollups = 0
    problems = []
    for path in sorted(folder.glob("*.sqlite")):
        try:
            taken = telemetry.take_spool(path)
        except DataError as error:
            problems.append(str(error))
            continue
        except ServiceAway as error:
            if error.where != str(path):
                raise
            problems.append(str(error))
            continue
        events, rollups = events + taken.events, rollups + taken.rollups
    return Taken(events, rollups), tuple(problems)
