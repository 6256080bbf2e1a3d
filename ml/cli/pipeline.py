"""``perennial monitor | retrain``: start the DAGs as their *Trigger* button does, and wait for the answer."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any

import typer

from ml.cli.options import Json, UseCaseName
from ml.cli.output import print_json, progress_line, stdout

AsOf = Annotated[datetime | None, typer.Option(help="Virtual now, UTC; nothing known later is used.")]
Wait = Annotated[bool, typer.Option("--wait", help="Return when the run has ended, with its decision.")]

#: Longer than any run that has not lost something.
PATIENCE_SECONDS = 900.0


def monitor(
    name: UseCaseName,
    as_of: AsOf = None,
    before_batch: Annotated[
        int | None, typer.Option(min=1, help="Rows of a batch that waits: is the champion fresh enough?")
    ] = None,
    wait: Wait = False,
    as_json: Json = False,
) -> None:
    """Compare live data with the training data now, and let the policy decide.

    With --before-batch it waits, and the exit code is 1 when the champion is not fresh enough for the batch.

    Example: perennial monitor harbour_weather --before-batch 5000 && ./run-the-batch
    """
    conf = {"as_of": _utc(as_of), "batch_rows": before_batch}
    decision = trigger(name, "monitor", conf, wait=wait or before_batch is not None, as_json=as_json)
    if before_batch is not None and decision in {"retrain", "alert", "none"}:
        raise typer.Exit(1)


def retrain(
    name: UseCaseName,
    reason: Annotated[str, typer.Option(help="Kept with the model version.")] = "manual retraining",
    as_of: AsOf = None,
    since: Annotated[datetime | None, typer.Option(help="Leave out live rows before it, UTC.")] = None,
    force: Annotated[bool, typer.Option("--force", help="Train although there are few new labels.")] = False,
    wait: Wait = False,
    as_json: Json = False,
) -> None:
    """Train challengers now; the best one still has to beat the champion on evidence.

    Example: perennial retrain harbour_weather --reason "new sensor at JFK" --wait
    """
    conf = {"reason": reason, "as_of": _utc(as_of), "since": _utc(since), "force": force}
    trigger(name, "retrain", conf, wait=wait, as_json=as_json)


def trigger(name: str, file: str, conf: dict[str, Any], *, wait: bool, as_json: bool) -> str | None:
    """Start a run; its decision when it was waited for."""
    from ml.settings import settings
    from ml.stack.local import open_airflow
    from ml.use_case import load

    load(settings().use_cases / f"{name}.yaml")  # one clear error for a name that does not exist
    airflow = open_airflow(settings())
    run_id = airflow.trigger(f"{name}.{file}", conf)
    answer: dict[str, Any] = {"run_id": run_id, "decision": None, "version": None}
    if wait:
        with progress_line(f"{name}.{file}") as say:
            say(f"waiting for {run_id}")
            airflow.wait(f"{name}.{file}", run_id, timeout=PATIENCE_SECONDS)
        answer |= _answer(name, file, run_id, conf)
    decision = str(answer["decision"]) if answer["decision"] is not None else None
    if as_json:
        print_json(answer)
        return decision
    stdout.print(f"{name}.{file}: run {run_id}")
    for key in ("decision", "version"):
        if answer[key] is not None:
            stdout.print(f"{key}: {answer[key]}")
    for reason in answer.get("reasons", ()):
        stdout.print(f"- {reason}", soft_wrap=True, markup=False)
    return decision


def _answer(name: str, file: str, run_id: str, conf: dict[str, Any]) -> dict[str, Any]:
    """What the run decided, from the control database."""
    from ml.policy.decide import decision_key
    from ml.records.decision import MonitorDecision, RetrainOutcome
    from ml.records.release import ReleaseOutcome
    from ml.settings import settings
    from ml.store.control import ControlStore

    control = ControlStore(settings().control_url, settings().ledger)
    if file == "retrain":
        stored = control.find("retrain", f"{name}/{run_id}")
        if stored is None:
            return {"decision": "coalesced", "reasons": ["another retraining was running"]}
        outcome = RetrainOutcome.model_validate_json(stored.payload)
        return {"decision": outcome.outcome, "version": outcome.challenger_version, "reasons": list(outcome.reasons)}
    if file == "release":
        stored = control.latest("release", name)
        if stored is None:
            return {"decision": "none", "reasons": ["the release has not ended; look at its run in Airflow"]}
        released = ReleaseOutcome.model_validate_json(stored.payload)
        return {"decision": released.outcome, "version": released.served_version, "reasons": [released.reason]}
    key = decision_key(name, datetime.fromisoformat(conf["as_of"]), conf["batch_rows"]) if conf["as_of"] else None
    stored = control.find("monitor", key) if key else control.latest("monitor", name)
    if stored is None:
        return {"decision": "none", "reasons": ["there is no champion to compare with"]}
    decision = MonitorDecision.model_validate_json(stored.payload)
    return {
        "decision": decision.action,
        "version": decision.check.model_version,
        "reasons": list(decision.reasons),
        "drift_score": decision.check.score,
        "threshold": decision.check.threshold,
    }


def _utc(moment: datetime | None) -> str | None:
    from ml.records.base import as_utc

    return None if moment is None else as_utc(moment).isoformat()
