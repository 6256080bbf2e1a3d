"""``perennial approve | reject``: a person's answer to a question about a version, and what follows from it."""

from __future__ import annotations

import getpass
import time
from datetime import UTC, datetime
from typing import Annotated, Any, Literal

import typer

from ml.cli.events import tell
from ml.cli.options import Json, UseCaseName
from ml.cli.output import print_json, progress_line, stdout

Version = Annotated[int, typer.Argument(min=1, help="Number of the version that is under review.")]
Reason = Annotated[str, typer.Option(help="Why; kept in the ledger.")]
Actor = Annotated[str | None, typer.Option(help="Who says so; the account that runs the command.")]
Wait = Annotated[bool, typer.Option("--wait", help="Return when the run has ended.")]

#: How long a run may take to put the question, once it has written it down.
_PATIENCE_SECONDS = 60.0


def approve(
    name: UseCaseName, version: Version, reason: Reason, actor: Actor = None, wait: Wait = False, as_json: Json = False
) -> None:
    """Approve a version that is under review: it becomes champion and is released. The first answer counts.

    Where the file names retraining.reviewers, only they may; with four_eyes not who triggered the retraining. Exit code
    1 when the question is answered already, its time is over, or what it is about has changed.

    Example: perennial approve harbour_weather 2 --reason "seen the slices" --wait
    """
    _answer(name, version, "approve", reason, actor, wait=wait, as_json=as_json)


def reject(
    name: UseCaseName, version: Version, reason: Reason, actor: Actor = None, wait: Wait = False, as_json: Json = False
) -> None:
    """Reject a version that is under review: the champion stays. The first answer counts.

    Example: perennial reject harbour_weather 2 --reason "JFK is worse"
    """
    _answer(name, version, "reject", reason, actor, wait=wait, as_json=as_json)


def _answer(
    name: str,
    version: int,
    answer: Literal["approve", "reject"],
    reason: str,
    actor: str | None,
    *,
    wait: bool,
    as_json: bool,
) -> None:
    from ml.errors import InputError
    from ml.governance.review import Given, answer_review, find_review
    from ml.registry.mlflow_registry import MlflowRegistry
    from ml.settings import settings
    from ml.stack.local import open_airflow
    from ml.store.control import ControlStore
    from ml.use_case import load

    use_case = load(settings().use_cases / f"{name}.yaml")
    if not reason.strip():
        raise InputError("a reason is needed", where="--reason", got="nothing", allowed=f"why you {answer} it")
    stores: dict[str, Any] = {
        "registry": MlflowRegistry(settings().mlflow_url),
        "control": ControlStore(settings().control_url, settings().ledger),
    }
    review = find_review(stores["control"], name, version)
    airflow = open_airflow(settings())
    airflow.runs(f"{name}.retrain")  # who cannot act on an answer records none
    given = Given(answer, actor or getpass.getuser(), reason, "command")
    found = answer_review(review, use_case, given, now=datetime.now(UTC), **stores)
    tell("review_answered", found.told, use_case=name, model_version=version)
    with progress_line(f"{name} version {version}") as say:
        step = _act(review, found, use_case, airflow, stores, say)
        if wait and step == "answered":
            airflow.wait(f"{name}.retrain", review.run_id, timeout=900.0)
    told = {"run_id": review.run_id, "decision": answer, "version": version, "step": step, "actor": found.actor}
    if as_json:
        print_json(told | {"digest": found.digest, "evidence": found.evidence})
        return
    stdout.print(f"{name} version {version}: {found.told}", soft_wrap=True, markup=False)
    stdout.print(_STEPS[step].format(name=name, run=review.run_id), soft_wrap=True, markup=False)


_STEPS = {
    "answered": "the run in Airflow goes on: {name}.retrain {run}",
    "waits": "the run in Airflow has not asked yet; alerting hands the answer over: {name}.retrain {run}",
    "released": "its run was over: the version is champion, {name}.release is started",
    "done": "nothing is left to do",
}


def _act(review: Any, answer: Any, use_case: Any, airflow: Any, stores: dict[str, Any], say: Any) -> str:
    """What followed from the answer; a question that is about to be put is waited for."""
    from ml.stack.approval import act_on

    deadline = time.monotonic() + _PATIENCE_SECONDS
    while True:
        step = act_on(review, answer, use_case, airflow=airflow, now=datetime.now(UTC), **stores)
        if step != "waits" or time.monotonic() > deadline:
            return step
        say("waiting for the question in Airflow")
        time.sleep(1.0)
