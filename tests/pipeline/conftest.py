"""A week of a small installation: every run, check and release, few enough to count by hand."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from ml.records.measure import Window
from ml.records.pipeline import (
    DagRun,
    Deployment,
    DriftSeen,
    ErrorSignature,
    LabelDelays,
    PipelineFacts,
    Retraining,
    TaskCost,
)

WEEK = Window(start=datetime(2026, 1, 5, tzinfo=UTC), end=datetime(2026, 1, 12, tzinfo=UTC))


def at(day: int, hour: int = 0, minute: int = 0, second: int = 0) -> datetime:
    """A moment of January 2026; days before the first are of December."""
    return datetime(2026, 1, 1, hour, minute, second, tzinfo=UTC) + timedelta(days=day - 1)


def run(
    dag_id: str, due: datetime, late: float | None, lasts: float | None, state: str = "success", retries: int = 0
) -> DagRun:
    """A run that begins so many seconds late and lasts so many; None has not begun, or not ended."""
    started = None if late is None else due + timedelta(seconds=late)
    ended = None if started is None or lasts is None else started + timedelta(seconds=lasts)
    return DagRun(
        dag_id=dag_id,
        run_id=f"scheduled__{due.isoformat()}",
        state=state,
        due=due,
        started=started,
        ended=ended,
        retries=retries,
    )


RUNS = (
    run("ferry.monitor", at(5, 6), 10, 60),
    run("ferry.monitor", at(6, 6), 20, 120, retries=1),
    run("ferry.monitor", at(7, 6), 30, 180, "failed", retries=2),
    run("ferry.monitor", at(8, 6), 40, 240),
    run("ferry.monitor", at(9, 6), 50, 300, "failed"),
    run("ferry.monitor", at(10, 6), 60, 360, "failed"),
    run("ferry.monitor", at(11, 6), None, None, "queued"),
    run("ferry.retrain", at(6, 7), 0, 600),
    run("ferry.retrain", at(8, 7), 5, 900),
    run("ferry.retrain", at(11, 23), 15, None, "running"),
    run("perennial.alerting", at(4, 23), 1, 30, "failed"),  # before the window
    *(run("perennial.alerting", at(5, 0, minute), 1, 30) for minute in range(4)),
    run("heron.monitor", at(-2, 6), 0, 60),
    run("heron.monitor", at(-1, 6), 0, 60, "failed"),
    run("heron.monitor", at(9, 6), 100, 60, "failed"),
)

CHECKS = tuple(
    DriftSeen(use_case=use_case, key=f"{use_case}/{time}", time=time, drifted=drifted)
    for use_case, time, drifted in (
        ("ferry", at(5, 6, 1), False),
        ("ferry", at(6, 6, 2), True),
        ("ferry", at(8, 6, 5), True),
        ("ferry", at(9, 6), True),
        ("ferry", at(10, 6), False),
        ("heron", at(9, 7), True),
    )
)

RETRAININGS = (
    Retraining(use_case="ferry", key="a", asked=at(6, 6, 2), version=2),
    Retraining(use_case="ferry", key="b", asked=at(8, 7), version=3),
    Retraining(use_case="ferry", key="c", asked=at(9, 7), version=None),
)

DEPLOYMENTS = tuple(
    Deployment(use_case="ferry", time=time, version=version, rolled_back=back, seconds=seconds)
    for time, version, back, seconds in (
        (at(1, 12), 1, False, 30),
        (at(6, 8), 2, False, 60),
        (at(8, 9), 3, False, 60),
        (at(8, 10, 30), 2, False, 60),  # somebody went back
        (at(10, 12), 4, True, 45),
    )
)

SIGNATURES = tuple(
    ErrorSignature(template=text, count=n, first_seen=at(7), last_seen=at(8), source="a", example=text)
    for text, n in (("disk <n> is full", 1), ("no route to <url>", 3))
)


@pytest.fixture
def week() -> PipelineFacts:
    """The week's facts."""
    return PipelineFacts(
        window=WEEK,
        runs=RUNS,
        checks=CHECKS,
        retrainings=RETRAININGS,
        deployments=DEPLOYMENTS,
        costs=(
            TaskCost(dag_id="ferry.monitor", tasks=12, seconds=700),
            TaskCost(dag_id="perennial.alerting", tasks=4, seconds=70),
        ),
        label_delays=(
            LabelDelays(use_case="ferry", n=10, median=3600, p95=7200),
            LabelDelays(use_case="heron", n=5, median=7200, p95=7200),
        ),
        useful=3,
        noise=1,
        signatures=SIGNATURES,
    )
