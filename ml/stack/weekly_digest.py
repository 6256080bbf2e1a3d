"""The weekly digest of an installation: gathered, composed, and handed to the channels once."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta

from ml.alerts.current import rules_in_force
from ml.pipeline.digest import compose_digest
from ml.pipeline.week import (
    iterate_weeks,
    read_changes,
    read_noisy_rules,
    read_open_alerts,
    read_overrides,
    week_before,
    week_name,
)
from ml.records.alert import Notice
from ml.records.digest import Link, WeeklyDigest
from ml.settings import Settings
from ml.stack.pipeline_health import ReadRuns, keep_health, measure_health
from ml.store.alerts import AlertStore
from ml.store.control import ControlStore
from ml.store.pipeline import PipelineHistory
from ml.store.telemetry import Telemetry

#: Weeks that the plots show, as far as they were measured.
SHOWN_WEEKS = 8


def gather_digest(settings: Settings, *, now: datetime, runs: ReadRuns | None = None) -> WeeklyDigest:
    """The last whole week before a moment; its measurement is kept for the weeks to come.

    Raises
    ------
    ServiceAway
        Airflow or the control database do not answer.
    """
    week = week_before(now)
    health = measure_health(settings, now=week.end, window=week.end - week.start, runs=runs)
    keep_health(settings, health)
    control, alerts = ControlStore(settings.control_url, settings.ledger), AlertStore(settings.control_url)
    ends = tuple(iterate_weeks(week, SHOWN_WEEKS))
    measured = PipelineHistory(settings.control_url).measured(since=ends[0], until=ends[-1])
    return WeeklyDigest(
        name=week_name(week),
        window=week,
        health=health,
        weeks=tuple(one for one in measured if one.window.end in ends and _is_week(one.window.end, one.window.start)),
        changes=read_changes(control, week),
        overrides=read_overrides(control, week),
        alerts=read_open_alerts(alerts, now),
        noisy=read_noisy_rules(alerts, now),
        links=(*_links(settings), *_reports(settings)),
    )


def send_digest(settings: Settings, *, now: datetime, runs: ReadRuns | None = None) -> Notice:
    """Hand the digest of the last whole week to the channels of ``digest`` in the alert rules.

    The alerting DAG delivers it as it does alerts, with second tries and the next channel of a group. Of one week the
    first stays: who asks again, or was killed on the way, sends it once.

    Returns
    -------
    Notice
        As composed now; without actions where the rules name nobody.
    """
    store, telemetry = AlertStore(settings.control_url), Telemetry(settings.control_url)
    rules = rules_in_force(settings.alerts, store=store, telemetry=telemetry, now=now).rules
    notice = compose_digest(gather_digest(settings, now=now, runs=runs), actions=rules.digest)
    if notice.actions:
        store.add_notice(notice)
    return notice


def _is_week(end: datetime, start: datetime) -> bool:
    return end - start == timedelta(days=7)


def _links(settings: Settings) -> tuple[Link, ...]:
    return (
        Link(title="Runs", address=f"{settings.airflow_url}/dags/perennial.pipeline_health"),
        Link(title="Models", address=f"{settings.mlflow_url}/#/models"),
        Link(title="Pipeline now", address="perennial pipeline-health"),
        Link(title="Alerts", address="perennial alerts list"),
        Link(title="Record", address="perennial ledger show"),
    )


def _reports(settings: Settings) -> Iterator[Link]:
    """The newest reports of each use case that has any."""
    for folder in sorted(settings.reports.glob("*")):
        newest = max((path for path in folder.iterdir() if path.is_dir()), default=None) if folder.is_dir() else None
        if newest is not None:
            yield Link(title=f"Reports of {folder.name}", address=str(newest))
