"""One round of alerting: collect, probe, look, deliver, leave a heartbeat. Run by the DAG and by command."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from ml.alerts.channels import Channels, Repairs, Trigger
from ml.alerts.current import InForce, rules_in_force
from ml.alerts.deliver import Sending, deliver_due
from ml.alerts.links import addresses_of
from ml.alerts.look import Look, look, tidy
from ml.alerts.probe import probe, probe_mlflow, probe_replicas
from ml.errors import PerennialError
from ml.records.alert import Delivery
from ml.records.base import Record, UtcTime
from ml.settings import Settings
from ml.store.alerts import AlertStore
from ml.store.collect import collect_spools
from ml.store.telemetry import Telemetry
from ml.use_case.retention_options import EVENTS_KEPT, ROLLUPS_KEPT

#: What a run of the DAG may take to begin, seconds; beyond it, three looks that were missed are a silence.
_START_SECONDS = 20.0


class Heartbeat(Record):
    """When a round has ended, for whoever watches the watcher.

    Attributes
    ----------
    stale_after
        Age from which on it is a sign that nobody looks, seconds.
    """

    time: UtcTime
    stale_after: float = 110.0


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
    repairs: Repairs | None = None,
    stand_in: bool = False,
    everything: bool = False,
    clock: Callable[[], datetime] = lambda: datetime.now(UTC),
) -> Round:
    """Collect what was told, probe the service, judge the due rules, deliver what is due; waits for no repair.

    Parameters
    ----------
    trigger
        How DAGs are triggered; None where there is no Airflow to ask.
    repairs
        How runbooks are run, beside the rounds; None where nobody can.
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
    silent = probe_replicas(settings.outbox, now=clock())
    telemetry.add_rollups(rollups + silent + probe_mlflow(settings.mlflow_url, now=clock()))
    now = clock()
    in_force = _read_rules(settings, store, telemetry, now)
    found = look(in_force.rules, store=store, telemetry=telemetry, now=now, everything=everything)
    tries = deliver_due(open_sending(settings, in_force, trigger=trigger, repairs=repairs), clock=clock)
    problems += _attend(repairs)
    if now.minute == 0:  # once an hour is often enough
        tidy(store, now=now)
        telemetry.prune(events_before=now - EVENTS_KEPT, rollups_before=now - ROLLUPS_KEPT)
    if not stand_in:
        stale_after = _START_SECONDS + 3 * in_force.rules.tick.total_seconds()
        Heartbeat(time=clock(), stale_after=stale_after).write(settings.heartbeat)
    return Round(in_force, found, tuple(tries), problems)


def _read_rules(settings: Settings, store: AlertStore, telemetry: Telemetry, now: datetime) -> InForce:
    drill, addresses = settings.drill_rules, addresses_of(settings)
    return rules_in_force(settings.alerts, store=store, telemetry=telemetry, now=now, drill=drill, addresses=addresses)


def _attend(repairs: Repairs | None) -> tuple[str, ...]:
    """Have open repairs worked on; what keeps that from being done is a problem of theirs, not of the round."""
    try:
        if repairs is not None:
            repairs.attend()
    except PerennialError as error:
        return (str(error),)
    return ()


def open_sending(
    settings: Settings, in_force: InForce, *, trigger: Trigger | None = None, repairs: Repairs | None = None
) -> Sending:
    """Channels of an installation with the rules in force."""
    secrets = settings.read_alert_secrets() | dict(in_force.secrets)
    return Sending(
        rules=in_force.rules,
        channels=Channels(settings.mailbox, secrets, trigger, None if repairs is None else repairs.ask),
        store=AlertStore(settings.control_url),
        telemetry=Telemetry(settings.control_url),
    )


def tell_of_failure(error: PerennialError, settings: Settings, *, now: datetime) -> Path:
    """Message that alerting itself does not work, put into the mailbox: no channel is asked for it.

    Once for each time that it stops working, and once an hour for as long as it does not.
    """
    from ml.alerts.mailbox import post_notice
    from ml.records.alert import Notice

    last = _last_round(settings) or datetime.fromtimestamp(0, UTC)
    hours = int((now - last).total_seconds() // 3600)
    notice = Notice(
        key=f"alerting_failed/{last:%Y%m%dT%H%M%S}/{hours}/fired",
        use_case=None,
        time=now,
        severity="error",
        subject="alerting itself does not work",
        text=str(error),
    )
    return post_notice(notice, settings.mailbox)


def _last_round(settings: Settings) -> datetime | None:
    try:
        return Heartbeat.read(settings.heartbeat).time
    except PerennialError:
        return None
