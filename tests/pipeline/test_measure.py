"""Pipeline health of a week that was counted by hand; the counts stand beside the facts of conftest.py."""

from __future__ import annotations

from datetime import timedelta

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ml.pipeline.dag_runs import find_red, spread_of
from ml.pipeline.measure import MEASURES, measure_pipeline
from ml.pipeline.targets import DagTargets, PipelineTargets, Targets
from ml.records.measure import Verdict
from ml.records.pipeline import PipelineFacts
from tests.pipeline.conftest import RUNS, WEEK, at, run


def measure(facts, targets=None, before=None):
    """Health at the end of the week."""
    return measure_pipeline(facts, targets or PipelineTargets(), now=WEEK.end, before=before)


@pytest.mark.parametrize(
    ("name", "value", "n"),
    [
        ("success_rate", 9 / 13, 13),  # 3 of 6, 2 of 2, 4 of 4, 0 of 1
        ("lateness_p95", 18 * 3600, 15),  # the longest of 15: the run of the 11th has not begun by midnight
        ("retries_per_run", 3 / 13, 13),
        ("broken_longest", 13 * 86_400 - (6 * 3600 + 60), 4),  # heron.monitor, since 30 December 06:01
        ("recovery_median", 10_500, 3),  # 7,080 s, 10,500 s, a day
        ("lead_time_median", 7_080, 2),  # 7,080 s and 7,200 s
        ("deployments_per_week", 3, 3),
        ("change_fail_rate", 2 / 4, 4),  # version 3 was left for 2, version 4 was rolled back
        ("restore_median", 45, 2),  # 45 s and an hour and a half
        ("alert_precision", 3 / 4, 4),
        ("label_delay_median", 7_200, 5),
        ("cpu_seconds_per_day", 110, 16),
        ("new_errors", 2, 4),
    ],
)
def test_a_week_counted_by_hand(week, name, value, n):
    """Every measure, with what it rests on."""
    found = measure(week).measure(name)

    assert (found.value, found.n) == (pytest.approx(value), n)


def test_one_dag_counted_by_hand(week):
    """Its runs of the week, its durations and latenesses by nearest rank, since when it is red."""
    dags = {dag.dag_id: dag for dag in measure(week).dags}
    ferry = dags["ferry.monitor"]

    assert (ferry.finished, ferry.succeeded, ferry.retries, ferry.cpu_seconds) == (6, 3, 3, 700)
    assert (ferry.duration.n, ferry.duration.median, ferry.duration.p95) == (6, 180, 360)
    assert (ferry.lateness.n, ferry.lateness.median, ferry.lateness.p95) == (7, 40, 64_800)
    assert (ferry.red_since, ferry.red_run) == (at(9, 6, 5, 50), RUNS[4].run_id)
    assert dags["heron.monitor"].red_since == at(-1, 6, 1)
    assert (dags["perennial.alerting"].finished, dags["perennial.alerting"].red_since) == (4, None)
    assert (dags["ferry.retrain"].finished, dags["ferry.retrain"].cpu_seconds) == (2, None)


def test_every_measure_has_a_target_key_and_every_key_a_measure():
    """A target of nothing, or a measure that cannot have one, is a typing error."""
    assert set(MEASURES) == set(Targets.model_fields)


def test_of_nothing_nothing_can_be_told():
    """Undefined is a state: no value, the reason, undecidable where there is a target; never 0."""
    found = measure(PipelineFacts(window=WEEK))

    told = {one.name: one for one in found.measures}
    assert (told["deployments_per_week"].value, told["deployments_per_week"].verdict) == (0, None)
    for name in set(told) - {"deployments_per_week"}:
        assert (told[name].value, told[name].n, told[name].verdict) == (None, 0, Verdict.UNDECIDABLE), name
        assert told[name].detail, name
    assert found.missed == ()


def test_targets_are_met_and_missed_in_their_direction(week):
    """A share that should be high fails below its target, a time that should be short above it; equal is met."""
    targets = PipelineTargets(
        targets=Targets(success_rate=0.7, alert_precision=0.75, restore_median=44, lead_time_median=7_080)
    )

    found = measure(week, targets)

    told = {one.name: one.verdict for one in found.measures}
    assert told["success_rate"] is Verdict.FAIL
    assert told["alert_precision"] is Verdict.PASS
    assert told["restore_median"] is Verdict.FAIL
    assert told["lead_time_median"] is Verdict.PASS
    assert "success_rate" in {one.name for one in found.missed}


def test_targets_of_a_dag_are_of_its_file(week):
    """ferry.monitor and heron.monitor are held to what is said of monitor; the alerting DAG is not."""
    targets = PipelineTargets(dags={"monitor": DagTargets(success_rate=0.4, duration_p95=300)})

    missed = {dag.dag_id: dag.missed for dag in measure(week, targets).dags}

    assert missed["ferry.monitor"] == ("95th percentile of duration 360 s, 300 s is the target",)
    assert missed["heron.monitor"] == ("0 of 1 runs succeeded, 0.4 is the target",)
    assert missed["perennial.alerting"] == ()


def test_the_trend_is_against_the_week_before(week):
    """Better and worse know which way is good; what was not measured then has no trend."""
    earlier = measure(week.model_copy(update={"useful": 1, "noise": 3, "signatures": None}))
    worse = week.model_copy(update={"runs": (*RUNS, run("ferry.retrain", at(9), 0, 5, "failed"))})

    found = measure(worse, before=earlier)

    assert found.measure("alert_precision").trend == "better"
    assert found.measure("success_rate").trend == "worse"
    assert found.measure("restore_median").trend == "same"
    assert found.measure("new_errors").trend == "unknown"
    assert measure(week).measure("success_rate").trend == "unknown"


def test_nothing_is_late_before_there_was_an_installation(week):
    """Begun on the 10th: of the runs only those of the last two days were due; the processor time is of two days."""
    found = measure(week.model_copy(update={"begin": at(10)}))

    assert found.measure("lateness_p95").n == 3
    assert {dag.dag_id: dag.lateness.n for dag in found.dags}["ferry.monitor"] == 2
    assert found.measure("cpu_seconds_per_day").value == 770 / 2
    assert found.measure("success_rate").n == 13
    assert measure(week.model_copy(update={"begin": at(-300)})) == measure(week)


def test_drift_that_goes_on_is_named(week):
    """An episode without an end is no recovery time, and is not hidden either."""
    assert measure(week).measure("recovery_median").detail == "heron drifts since 2026-01-09 07:00"


def test_the_order_of_the_records_does_not_matter(week):
    """The same facts shuffled give the same health."""
    shuffled = {}
    for name in ("runs", "checks", "retrainings", "deployments"):
        items = getattr(week, name)
        shuffled[name] = tuple(items[place] for place in np.random.default_rng(7).permutation(len(items)))

    assert measure(week.model_copy(update=shuffled)) == measure(week)


@given(st.lists(st.sampled_from(["success", "failed"]), max_size=12))
def test_a_dag_is_red_since_the_first_failure_after_its_last_success(states):
    """By brute force over all histories of a dozen runs."""
    runs = [run("a", at(5) + timedelta(hours=i), 0, 60, state) for i, state in enumerate(states)]
    last = max((i for i, state in enumerate(states) if state == "success"), default=-1)

    red = find_red(runs[::-1])

    assert red == (runs[last + 1] if last + 1 < len(runs) else None)


@given(st.lists(st.floats(0, 1e6), min_size=1, max_size=50))
def test_a_percentile_is_a_value_that_occurred(values):
    """At least so large a share is not above it, and a smaller value would not do."""
    spread = spread_of(values)

    for share, found in ((0.5, spread.median), (0.95, spread.p95)):
        assert found in values
        assert sum(value <= found for value in values) >= share * len(values)
        assert sum(value < found for value in values) < share * len(values)
