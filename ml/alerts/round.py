"""One round of alerting: collect, probe, look, deliver, leave a heartbeat. Run by the DAG and by command."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from ml.alerts.channels import Channels, Repair, Trigger
from ml.alerts.current import InForce, rules_in_force
from ml.alerts.deliver import Sending, deliver_due
from ml.alerts.look import Look, look, tidy
from ml.alerts.probe import probe
from ml.errors import PerennialError
from ml.records.alert import Delivery
from ml.records.base import Record, UtcTime
from ml.settings import Settings
from ml.store.alerts import AlertStore
from ml.store.collect import collect_spools
from ml.store.telemetry import Telemetry

#: Rollups are kept for as long as a person looks back; events longer.
_ROLLUPS_KEPT = timedelta(days=35)
_EVENTS_KEPT = timedelta(days=400)


class Heartbeat(Record):
    """When a round has ended, for whoever watches the watcher."""

    time: UtcTime


@dataclass(frozen=True)
class Round:
    """What one round did."""

    in_force: InForce
    look: Look
    deliveries: tuple[Delivery, ...]
    problems: tuple[str, ...]


def run_round(
    settings: Settings,
    *,
    trigger: Trigger | None = None,
    repair: Repair | None = None,
    stand_in: bool = False,
    everything: bool = False,
    clock: Callable[[], datetime] = lambda: datetime.now(UTC),
) -> Round:
    """Collect what was told, probe the service, judge the due rules, deliver what is due.

    Parameters
    ----------
    trigger
        How DAGs are triggered; None where there is no Airflow to ask.
    repair
        How runbooks are run; None where nobody can.
    stand_in
        Whether this is done in place of the alerting DAG: then no heartbeat is left, for the DAG's is missed.
    everything
        Whether rules that are not due are judged, too.

    Raises
    ------
    InputError
        There has never been a sound rule file.
    ServiceAway
        The control database does not answer; nothing has changed.
    """
    store, telemetry = AlertStore(settings.control_url), Telemetry(settings.control_url)
    _, problems = collect_spools(telemetry, settings.telemetry)
    events, rollups = probe(settings.scoring_url, now=clock())
    telemetry.add_events(events)
    telemetry.add_rollups(rollups)
    now = clock()
    in_force = rules_in_force(settings.alerts, store=store, telemetry=telemetry, now=now)
    found = look(in_force.rules, store=store, telemetry=telemetry, now=now, everything=everything)
    tries = deliver_due(open_sending(settings, in_force, trigger=trigger, repair=repair), clock=clock)
    if now.minute == 0:  # once an hour is often enough
        tidy(store, now=now)
        telemetry.prune(events_before=now - _EVENTS_KEPT, rollups_before=now - _ROLLUPS_KEPT)
    if not stand_in:
        Heartbeat(time=clock()).write(settings.heartbeat)
    return Round(in_force, found, tuple(tries), problems)


def open_sending(
    settings: Settings, in_force: InForce, *, trigger: Trigger | None = None, repair: Repair | None = None
) -> Sending:
    """Channels of an installation with the rules in force."""
    return Sending(
        rules=in_force.rules,
        channels=Channels(settings.mailbox, settings.read_alert_secrets(), trigger, repair),
        store=AlertStore(settings.control_url),
        telemetry=Telemetry(settings.control_url),
    )


def tell_of_failure(error: PerennialError, settings: Settings, *, now: datetime) -> Path:
    """Message that alerting itself does not work, put into the mailbox once an hour: no channel is asked for it."""
    from ml.alerts.mailbox import post_notice
    from ml.records.alert import Notice

    notice = Notice(
        key=f"alerting_failed/{now:%Y%m%dT%H}",
        use_case=None,
        time=now,
        severity="error",
        subject="alerting itself does not work",
        text=str(error),
    )
    return post_notice(notice, settings.mailbox)
