"""A round in place of the alerting DAG, which has stopped; says so first.

The scoring service starts it when the heartbeat is stale. It leaves no heartbeat itself, so it is started again
each half minute until the DAG is back; several replicas at once judge one after the other and tell once.
"""

from __future__ import annotations

import sys
from datetime import UTC, datetime

from ml.alerts.channels import Repairs
from ml.alerts.round import Heartbeat, run_round, tell_of_failure
from ml.errors import PerennialError
from ml.records.event import Event
from ml.settings import Settings, settings
from ml.store.telemetry import Telemetry


def main(repairs: Repairs | None = None) -> int:
    """Exit code: 0 when the round was done, else of what kept it from being done; the mailbox has that."""
    current = settings()
    try:
        Telemetry(current.control_url).add_events([_stopped(current, datetime.now(UTC))])
        done = run_round(current, stand_in=True, repairs=repairs)
    except PerennialError as error:
        tell_of_failure(error, current, now=datetime.now(UTC))
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    print(f"looked in place of the alerting DAG: {len(done.look.notices)} notices")
    return 0


def _stopped(current: Settings, now: datetime) -> Event:
    try:
        last = f"its last round ended at {Heartbeat.read(current.heartbeat).time:%Y-%m-%d %H:%M:%S} UTC"
    except PerennialError as error:
        last = str(error)
    return Event(
        time=now,
        use_case=None,
        source="dead_man",
        name="alerting_stopped",
        severity="error",
        message=f"The DAG perennial.alerting has stopped looking: {last}. Is Airflow's scheduler up? perennial status",
    )
