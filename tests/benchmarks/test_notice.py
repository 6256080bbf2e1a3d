"""The benchmark of notices: between two bursts everything is forgotten, and its table shows the worst."""

from __future__ import annotations

from datetime import UTC, datetime

from benchmarks.notice import Burst, Noticed, draw_notice, forget_alerts
from ml.records.alert import AlertState
from ml.settings import Settings
from ml.store.alerts import AlertStore, Changes


def test_an_alert_that_is_forgotten_fires_and_rests_no_more(tmp_path):
    """Nothing of it is in the book: the next error is the first."""
    settings, now = Settings(var=tmp_path), datetime(2026, 1, 5, tzinfo=UTC)
    store = AlertStore(settings.control_url)
    state = AlertState(rule="inference_errors", group=("ferry", "401"), since=now, phase="firing", told_at=now)
    store.change(lambda _: Changes(states=[state]), now=now)
    assert store.book(now).states

    forget_alerts(settings)

    assert not store.book(now).states


def test_the_table_shows_every_burst_and_the_longest():
    """Two bursts, their median and the longest."""
    bursts = (Burst(12.0, 300, 1, {}, 4.0), Burst(40.0, 900, 1, {"failed_requests": 1}, 5.0))

    (table,) = draw_notice(Noticed(30.0, bursts))

    assert list(table.columns[1].cells) == ["12.0 s", "40.0 s", "26.0 s", "40.0 s"]
    assert list(table.columns[5].cells)[:2] == ["-", "failed_requests 1"]
