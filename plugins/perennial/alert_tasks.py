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
    airflow, told, repairs = _ask_airflow(), set[str](), LocalRepairs(settings())
    params, fired = context["params"], []
    began, pause, number = time.monotonic(), 0.0, 0
    while number < (params["looks"] or MOST_LOOKS):
        if number:
            time.sleep(pause)
        _measure_waiting(airflow, told)
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


def _measure_waiting(airflow: Any, told: set[str]) -> None:
    """Tell how long the run that has waited longest does so, by DAG; whatever keeps that from being told, we go on.

    Parameters
    ----------
    told
        DAGs of which a run has waited; when none does any more, that is told once.
    """
    from ml.errors import PerennialError

    if airflow is None:
        return
    try:
        since, now = airflow.waiting_since(), wall_clock()
        for dag in told - set(since):
            note_gauge("run_waiting_seconds", 0.0, source="airflow", use_case=None, label=dag)
        for dag, moment in since.items():
            waiting = max(0.0, (now - moment).total_seconds())
            note_gauge("run_waiting_seconds", waiting, source="airflow", use_case=None, label=dag)
        told.clear()
        told.update(since)
    except PerennialError as error:
        print(f"Airflow could not be asked what waits: {error}")


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
