"""Body of the alerting DAG's task: rounds of alerting."""

from __future__ import annotations

import time
from typing import Any

from ml.settings import settings
from plugins.perennial.approval_tasks import collect_answers
from plugins.perennial.policy_tasks import note_alert_rules
from plugins.perennial.telemetry import note_gauge
from plugins.perennial.workbench import wall_clock

#: The DAG is scheduled each minute.
RUN_SECONDS = 60.0
MOST_LOOKS = 30


def look_around(**context: Any) -> list[str]:
    """Rounds of collecting, probing, judging and delivering; returns the rules whose alerts fired.

    As many as fit into a minute at the pace of the rule file, or as many as the form says.
    """
    from ml.alerts.round import run_round, tell_of_failure
    from ml.errors import PerennialError
    from ml.stack.repair import LocalRepairs

    note_alert_rules()
    for line in collect_answers():
        print(line)
    airflow, told, repairs = _ask_airflow(), set[tuple[str, str]](), LocalRepairs(settings())
    params, fired = context["params"], []
    began, pause, number = time.monotonic(), 0.0, 0
    while number < (params["looks"] or MOST_LOOKS):
        if number:
            time.sleep(pause)
        _measure_runs(airflow, told)
        try:
            done = run_round(settings(), trigger=_trigger, repairs=repairs, everything=params["everything"])
        except PerennialError as error:
            tell_of_failure(error, settings(), now=wall_clock())
            raise
        fired += [step.rule for step in done.look.transitions if step.step == "fired"]
        _print(done)
        number += 1
        pause = done.in_force.rules.tick.total_seconds() if params["pause"] is None else params["pause"]
        if params["looks"] is None and time.monotonic() - began + 1.5 * pause > RUN_SECONDS:
            break  # the next run looks
    return fired


def _ask_airflow() -> Any:
    """Client of Airflow, None where its account is not known."""
    from ml.errors import PerennialError
    from ml.stack.local import open_airflow

    try:
        return open_airflow(settings())
    except PerennialError as error:
        print(f"Airflow cannot be asked what waits: {error}")
        return None


def _measure_runs(airflow: Any, told: set[tuple[str, str]]) -> None:
    """Tell how long runs wait and tasks run, the longest of each DAG; whatever keeps that from being told, we go on.

    Parameters
    ----------
    told
        Gauges and DAGs of which something was told; when there is nothing any more, that is told once.
    """
    from ml.errors import PerennialError

    if airflow is None:
        return
    try:
        found = _wait_and_run(airflow)
        for gauge, dag in told - set(found):
            note_gauge(gauge, 0.0, source="airflow", use_case=None, label=dag)
        for (gauge, dag), value in found.items():
            note_gauge(gauge, value, source="airflow", use_case=None, label=dag)
        told.clear()
        told.update(found)
    except PerennialError as error:
        print(f"Airflow could not be asked what waits and runs: {error}")


def _wait_and_run(airflow: Any) -> dict[tuple[str, str], float]:
    """Seconds that runs have waited, and shares of their bounds that tasks have run, by gauge and DAG."""
    from ml.pipeline.overdue import find_overdue
    from ml.pipeline.targets import load_targets

    since, tasks, now = airflow.waiting_since(), airflow.running_tasks(), wall_clock()
    found = {("run_waiting_seconds", dag): max(0.0, (now - moment).total_seconds()) for dag, moment in since.items()}
    overdue = find_overdue(tasks, load_targets(settings().pipeline), now)
    return found | {("task_overdue", dag): share for dag, share in overdue.items()}


def _trigger(dag_id: str, conf: dict[str, Any], run_id: str) -> str:
    """Start a run of a DAG, once per run id."""
    from ml.stack.local import open_airflow

    return open_airflow(settings()).trigger(dag_id, conf, run_id=run_id)


def _print(done: Any) -> None:
    print(f"{len(done.look.looked)} rules by version {done.in_force.version}")
    for line in (done.in_force.problem, *done.problems):
        if line:
            print(line)
    for step in done.look.transitions:
        print(f"{step.rule} {', '.join(step.group)}: {step.step}; {step.detail}")
    for one in done.deliveries:
        print(f"{one.key} by {one.channel}: {one.outcome}; {one.detail}")
