"""Every rule that is shipped fires for what it is about, and clears when that is over."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from ml.alerts.rules import load_rules

RULES = load_rules(Path(__file__).parents[2] / "alerts.yaml")

Scene = Callable[..., tuple[list, list]]


def when(*, name: str = "", code: int = 0, **parts: object) -> Scene:
    """An event at minute 10, and nothing any more."""
    return lambda event, _: ([event(10, name=name or "inference_failed", code=code, **parts)], [])


def gauge(metric: str, bad: float, good: float, **parts: object) -> Scene:
    """A gauge that is bad from minute 5 on, and good from minute 40 on."""

    def scene(_, rollup):
        values = [(minute / 2, good if minute < 10 or minute >= 80 else bad) for minute in range(400)]
        return [], [rollup(minute, metric, total=value, high=value, **parts) for minute, value in values]

    return scene


def shares(metric: str, label: str, other: str, bad: int) -> Scene:
    """Of a hundred in each half minute ``bad`` have the label, from minute 5 to minute 40."""

    def scene(_, rollup):
        rows = []
        for half in range(400):
            part = bad if 10 <= half < 80 else 0
            rows += [rollup(half / 2, metric, part, label=label, use_case="ferry")] if part else []
            rows.append(rollup(half / 2, metric, 100 - part, label=other, use_case="ferry"))
        return [], rows

    return scene


def slow(_, rollup):
    """Two in a hundred take from a quarter of a second to one, from minute 5 to minute 40."""
    rows = []
    for half in range(400):
        bad = 2 if 10 <= half < 80 else 0
        histogram = {"bounds": (0.1, 0.25, 1.0), "buckets": (100 - bad, 0, bad, 0)}
        rows.append(rollup(half / 2, "reply_seconds", 100, **histogram))
    return [], rows


def silent_replica(_, rollup):
    """One replica that stops at minute 5 and comes back at minute 40, and one that never stops."""
    minutes = [half / 2 for half in range(400)]
    rows = [rollup(minute, "memory_mb", source="replica-1") for minute in minutes]
    return [], rows + [rollup(m, "memory_mb", source="replica-0") for m in minutes if m < 5 or m >= 40]


def late_monitor(event, _):
    """A monitor run eight and a half days before, and one at minute 40."""
    return [event(-8.5 * 1440, name="monitor_done", code=0), event(40, name="monitor_done", code=0)], []


def late_labels(event, _):
    """Two windows without labels, the first fourteen days before minute 20."""
    return [event(20 - 14 * 1440, name="labels_late", code=0), event(10, name="labels_late", code=0)], []


def many_bad_values(event, _):
    """A thousand rows a minute, from minute 5 to minute 15."""
    return [event(minute, name="value_not_found", code=201, count=1000) for minute in range(5, 15)], []


def many_wrong_keys(event, _):
    """Thirty requests a minute, from minute 5 to minute 15."""
    return [event(minute, name="not_allowed", code=103, count=30) for minute in range(5, 15)], []


SCENES: dict[str, Scene] = {
    "availability": gauge("probe_up", 0, 1),
    "replica_hung": gauge("replica_silent_seconds", 30, 0.4, source="replica-0"),
    "replica_silent": silent_replica,
    "service_down": gauge("service_up", 0, 1, label="mlflow"),
    "replica_died": when(name="replica_died"),
    "slow_probe": gauge("probe_seconds", 0.6, 0.01),
    "run_waiting": gauge("run_waiting_seconds", 1000, 0, label="ferry.monitor"),
    "task_hung": gauge("task_overdue", 1.2, 0.4, label="ferry.monitor"),
    "memory_high": gauge("memory_mb", 2500, 200),
    "alerting_stopped": when(name="alerting_stopped"),
    "failed_requests": shares("requests", "503", "200", 10),
    "refused_rows": shares("rows", "202", "0", 30),
    "slow_answers": slow,
    "server_exceptions": when(name="request_failed"),
    "data_drift": when(name="drift_found"),
    "model_drift": when(name="performance_worse"),
    "model_drift_estimated": when(name="estimate_worse"),
    "no_model": when(code=102),
    "bad_values": many_bad_values,
    "wrong_keys": many_wrong_keys,
    "inference_errors": when(code=401),
    "degraded_answers": when(name="answered_by_last_good", code=401, use_case="ferry"),
    "capture_failed": when(name="capture_failed", code=501),
    "answers_not_recorded": gauge("capture_lost_rows", 12, 0, use_case="ferry"),
    "records_not_safe": when(name="outbox_sync_failed", code=0),
    "release_refused": when(name="release_refused", code=601),
    "release_taken_back": when(name="release_taken_back", code=601, key="ferry/2"),
    "person_needed": when(name="person_needed", key="ferry/2026-01-05"),
    "challenger_ahead": when(name="challenger_ahead"),
    "version_ahead": when(name="version_ahead"),
    "policy_changed": when(name="policy_changed", key="ferry/1f"),
    "review_asked": when(name="review_asked", key="ferry/2"),
    "approval_refused": when(name="approval_refused", key="ferry/2/ana"),
    "retraining_rejected": gauge("rejected_in_a_row", 3, 0, use_case="ferry"),
    "retraining_impossible": when(name="retraining_bad_data", key="ferry/1"),
    "block_quarantined": when(name="block_quarantined", key="ferry/2026-01-04"),
    "gate_unproved": when(name="gate_unproved", key="ferry/1"),
    "label_delay": late_labels,
    "capture_backlog": gauge("outbox_rows", 2e6, 10),
    "pipeline_failed": when(name="task_failed", source="retrain"),
    "pipeline_late": late_monitor,
    "telemetry_lost": gauge("telemetry_lost", 5, 0),
    "disk_full": gauge("disk_free_share", 0.01, 0.5),
    "channel_dead": when(name="channel_dead"),
    "rules_refused": when(name="rules_refused"),
    "resource_high": gauge("resource_high", 1, 0, label="disk"),
    "resource_unknown": gauge("resource_unknown", 1, 0, label="mlflow"),
    "runbook_failed": when(name="runbook_failed", key="restart_replica/1"),
    "runbook_repaired": when(name="runbook_repaired", key="restart_replica/1"),
}


def test_every_shipped_rule_has_its_scene():
    """A rule that nobody has seen fire is not shipped."""
    assert set(SCENES) == {rule.name for rule in RULES.rules}


@pytest.mark.parametrize("name", SCENES)
def test_a_rule_fires_once_and_clears(installation, event, rollup, name):
    """Looked at every half minute for a time: pending or not, it fires once, people are told, and it ends."""
    rule = RULES.rule(name)
    rules = RULES.model_copy(update={"rules": (rule,)})
    events, rollups = SCENES[name](event, rollup)
    installation.tell(*events, *rollups)
    looks = [minute / 2 for minute in range(90)] + [120, 150, 160]

    steps, told = [], []
    for minute in looks:
        found = installation.look(rules, minute)
        steps += [(transition.step, minute) for transition in found.transitions]
        told += [(notice.kind, notice.severity) for notice in found.notices]

    happened = [step for step, _ in steps if step != "pending"]
    assert happened[0] == "fired"
    assert set(happened) <= {"fired", "resolved", "escalated"}
    assert told[0] == ("fired", rule.severity)
    expected_end = name not in ENDS_LATER
    assert ("resolved" in happened) is expected_end
    assert happened.count("fired") == 1
    assert told.count(("resolved", "info")) == expected_end
    assert name == "pipeline_late" or next(minute for step, minute in steps if step == "fired") >= 5


#: Two windows without labels are within its fifteen days for longer than the test looks.
ENDS_LATER = {"label_delay"}


def test_label_delay_clears_when_the_first_window_is_long_past(installation, event, rules_of):
    """A day and a little later."""
    rules = RULES.model_copy(update={"rules": (RULES.rule("label_delay"),)})
    installation.tell(*late_labels(event, None)[0])

    assert installation.steps(rules, 10, 11, 1440 + 21) == [["fired"], [], ["resolved"]]


def test_a_histogram_comes_through_the_database(installation, rollup):
    """Bounds and buckets, as they were told."""
    from datetime import timedelta

    from ml.store.telemetry import Need

    installation.tell(rollup(0, "reply_seconds", 3, bounds=(0.1,), buckets=(1, 2)))

    (row,) = installation.telemetry.read_rollups([Need(installation.now)], until=installation.now + timedelta(hours=1))
    assert json.loads(row.histogram) == [[0.1], [1, 2]]
