"""What follows from an answer that was not given in Airflow: its question there is answered, or the alias moves."""

from __future__ import annotations

from datetime import datetime
from typing import Literal, Protocol

from ml.governance.review import Given, carry_out, is_settled
from ml.records.approval import ReviewAnswer, ReviewRequest
from ml.registry.port import Registry
from ml.store.control import ControlStore
from ml.use_case import UseCase

#: Tags that a reviewer sets in MLflow's UI, and what they say; the reason has a tag of its own.
TAGS: dict[str, Literal["approve", "reject"]] = {"approved_by": "approve", "rejected_by": "reject"}
REASON_TAG = "approval_reason"

Step = Literal["done", "answered", "waits", "released"]


class Questions(Protocol):
    """Airflow, as far as answers need it."""

    def answer(self, dag_id: str, run_id: str, task: str, option: str, *, reason: str) -> bool:
        """Choose an option of a task that waits for a person; whether it waited."""

    def is_over(self, dag_id: str, run_id: str) -> bool:
        """Whether a run has ended, or is unknown."""

    def trigger(self, dag_id: str, conf: dict[str, object], *, run_id: str = "") -> str:
        """Start a run."""


def read_tags(review: ReviewRequest, registry: Registry) -> Given | None:
    """What a reviewer says by tags of the version; None while there is no name with a reason."""
    tags = registry.version(review.use_case, review.version).tags
    reason = tags.get(REASON_TAG, "").strip()
    for tag, answer in TAGS.items():
        person = tags.get(tag, "").strip()
        if person and reason:
            return Given(answer, person, reason, "mlflow")
    return None


def act_on(
    review: ReviewRequest,
    answer: ReviewAnswer,
    use_case: UseCase,
    *,
    airflow: Questions,
    registry: Registry,
    control: ControlStore,
    now: datetime,
) -> Step:
    """Let the answer have its effect; the same call again goes on where an earlier one stopped.

    Returns
    -------
    str
        ``answered``: the run in Airflow goes on with it; ``waits``: that run has not asked yet, call again;
        ``released``: that run is over, so the version was made champion here and its release was started; ``done``:
        nothing to do.

    Raises
    ------
    ConflictError
        What was approved has changed since.
    ServiceAway
        Airflow, the registry or the control database does not answer.
    """
    if is_settled(control, review):
        return "done"
    name, dag_id = review.use_case, f"{review.use_case}.retrain"
    option = "Approve" if answer.answer == "approve" else "Reject"
    if airflow.answer(dag_id, review.run_id, "review", option, reason=answer.reason):
        return "answered"
    if not airflow.is_over(dag_id, review.run_id):
        return "waits"
    if answer.answer != "approve":
        return "done"
    carry_out(review, use_case, registry=registry, control=control, now=now, as_of=now)
    airflow.trigger(f"{name}.release", {}, run_id=f"approved__{name}_{review.version}_{review.evidence[:12]}")
    return "released"
