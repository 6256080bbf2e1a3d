"""What the DAGs of a use case have in common: names, tags, texts, forms, retries."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from airflow.sdk import CronTriggerTimetable, ExceptionRetryPolicy, Param, RetryAction, RetryRule

from ml.use_case import UseCase
from plugins.perennial.telemetry import begin_cost, note_cost, note_failure

#: What a task tells, however it ends: that it failed, and what it has cost.
_CALLBACKS = {
    "on_execute_callback": begin_cost,
    "on_success_callback": note_cost,
    "on_skipped_callback": note_cost,
    "on_retry_callback": note_cost,
    "on_failure_callback": [note_failure, note_cost],
}

#: A service that is away may come back; anything else would fail again.
RETRY_WHAT_MAY_PASS = ExceptionRetryPolicy(
    rules=[RetryRule(exception="ml.errors.ServiceAway", action=RetryAction.RETRY, retry_delay=timedelta(seconds=5))],
    default=RetryAction.FAIL,
)

AS_OF = Param(
    None,
    type=["null", "string"],
    format="date-time",
    title="As of",
    description="Virtual now, UTC: nothing that became known later is used. Empty: the run's own time.",
)


def monitor_params() -> dict[str, Param]:
    """Form of the monitor DAG: virtual now, and a batch that waits."""
    return {
        "as_of": AS_OF,
        "batch_rows": Param(
            None,
            type=["null", "integer"],
            minimum=1,
            title="Before a batch",
            description="Rows of a batch that waits: is the champion fresh enough for it? Empty: none.",
        ),
    }


def retrain_params() -> dict[str, Param]:
    """Form of the retrain DAG: reason, data window, force."""
    return {
        "reason": Param(
            "manual retraining", type="string", minLength=3, title="Reason", description="Kept with the model version."
        ),
        "as_of": AS_OF,
        "since": Param(
            None,
            type=["null", "string"],
            format="date-time",
            title="Live data since",
            description="Live rows before it are left out. Empty: all live rows.",
            section="Data window",
        ),
        "force": Param(
            False,
            type="boolean",
            title="Force",
            description="Train although there are few new labels. The gate is never skipped.",
            section="Data window",
        ),
    }


def question(use_case: UseCase) -> dict[str, Any]:
    """Keyword arguments of the task that asks a person; what it says is made by the task before it."""
    return {
        "doc_md": "Asks a person to approve or reject; either is an answer. Nobody in time is a no.",
        "subject": f"Promote the challenger of {use_case.name}?",
        "body": "{{ ti.xcom_pull(task_ids='ask') }}",
        "options": ["Approve", "Reject"],
        "defaults": "Reject",
        "params": {"reason": Param("", type="string", title="Reason", description="For the ledger.")},
        "response_timeout": use_case.retraining.approval_expires,
    }


def never_at_once(cron: str) -> CronTriggerTimetable:
    """Schedule in UTC whose first run waits for its moment, however long ago the last one was when a DAG appears."""
    return CronTriggerTimetable(cron, timezone="UTC", run_immediately=timedelta(0))


def alert_params() -> dict[str, Param]:
    """Form of the alerting DAG: how often a run looks."""
    return {
        "looks": Param(
            None,
            type=["null", "integer"],
            minimum=1,
            maximum=30,
            title="Looks",
            description="Rounds of one run. Empty: as many as fit into a minute.",
        ),
        "pause": Param(
            None,
            type=["null", "number"],
            minimum=0,
            maximum=60,
            title="Pause",
            description="Seconds between them. Empty: as the rule file says.",
        ),
        "everything": Param(
            False, type="boolean", title="Everything", description="Judge rules that are not due, too."
        ),
    }


def installation_options(
    file: str, *, schedule: Any, text: str, params: dict[str, Param], retries: int = 0
) -> dict[str, Any]:
    """Keyword arguments of ``DAG`` for a file that is about the whole installation; ``perennial.{file}``.

    Parameters
    ----------
    retries
        Second tries, minutes apart; none where the next run is a second try itself.
    """
    patience = {"retries": retries, "retry_delay": timedelta(minutes=2)}
    return {
        "dag_id": f"perennial.{file}",
        "dag_display_name": f"perennial · {file}",
        "description": text.strip().splitlines()[0],
        "doc_md": text,
        "schedule": schedule,
        "start_date": datetime(2013, 1, 1, tzinfo=UTC),
        "catchup": False,
        "max_active_runs": 1,
        "params": params,
        "tags": ["perennial", file],
        "default_args": {"owner": "perennial", **patience, **_CALLBACKS},
    }


def proof_params() -> dict[str, Param]:
    """Form of the prover DAG: virtual now, and the fast form."""
    return {
        "as_of": AS_OF,
        "quick": Param(False, type="boolean", title="Quick", description="Leave out what takes longest."),
    }


def review_params() -> dict[str, Param]:
    """Form of the review DAG: virtual now."""
    return {"as_of": AS_OF}


def governance_params() -> dict[str, Param]:
    """Form of the governance DAG: which reports, as of when."""
    return {
        "use_case": Param(
            None, type=["null", "string"], title="Use case", description="Reports of this one alone. Empty: of all."
        ),
        "as_of": Param(
            None,
            type=["null", "string"],
            format="date-time",
            title="As of",
            description="Nothing that became known later is used, UTC. Empty: the newest check or retraining.",
        ),
    }


def release_params() -> dict[str, Param]:
    """Form of the release DAG: a version to go to by hand."""
    return {
        "version": Param(
            None,
            type=["null", "integer"],
            minimum=1,
            title="Version",
            description="Makes it champion first, an older one too. Empty: what the alias names is released.",
        ),
        "reason": Param("released by hand", type="string", minLength=3, title="Reason", description="For the ledger."),
    }


def dag_options(use_case: UseCase, file: str, *, schedule: Any, text: str, params: dict[str, Param]) -> dict[str, Any]:
    """Keyword arguments of ``DAG`` for one use case and one file; ``dag_id`` is ``{use_case}.{file}``."""
    return {
        "dag_id": f"{use_case.name}.{file}",
        "dag_display_name": f"{use_case.name} · {file}",
        "description": text.strip().splitlines()[0],
        "doc_md": f"{text}\n\n**{use_case.name}**: {use_case.description}\n\nOwner: {use_case.owner or 'not named'}",
        "schedule": schedule,
        "start_date": datetime(2013, 1, 1, tzinfo=UTC),
        "catchup": False,
        "max_active_runs": 4,
        "params": params,
        "tags": ["perennial", use_case.name, file],
        "default_args": {
            "owner": use_case.owner or "perennial",
            "retries": 2,
            "retry_delay": timedelta(seconds=5),
            "retry_policy": RETRY_WHAT_MAY_PASS,
            **_CALLBACKS,
        },
    }
