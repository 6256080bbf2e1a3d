"""Runs in MLflow: one per retraining, one nested per candidate, each found again by its identity."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from ml.errors import ConflictError
from ml.records.decision import CandidateResult, GateDecision, Parity, ServingCost, TrainingSet
from ml.records.measure import Estimate, Window
from ml.registry.mlflow_faults import is_taken, write_once
from ml.registry.tags import request_identity
from ml.use_case import UseCase

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import DatasetInput, Run

#: Tag that a run is found by; written with the run, so that there is never one without.
IDENTITY = "perennial.identity"

_PARENT = "mlflow.parentRunId"
#: MLflow takes 250 characters; an ending such as ``_bound`` is added.
_LONGEST_NAME = 200


def find_experiment(client: MlflowClient, use_case: UseCase) -> str:
    """Identity of the use case's experiment, made when absent.

    Raises
    ------
    ConflictError
        Somebody deleted the experiment; MLflow keeps its name.
    """
    from mlflow.exceptions import MlflowException

    found = client.get_experiment_by_name(use_case.name)
    if found is None:
        try:
            note = {"mlflow.note.content": use_case.description, "owner": use_case.owner, "goal": use_case.goal}
            return str(client.create_experiment(use_case.name, tags=note))
        except MlflowException as error:
            if not is_taken(error):
                raise
            found = client.get_experiment_by_name(use_case.name)
    if found is None or found.lifecycle_stage != "active":
        raise ConflictError(
            "MLflow experiment was deleted", where=use_case.name, allowed="restore it: mlflow experiments restore"
        )
    return str(found.experiment_id)


def settle_run(client: MlflowClient, experiment: str, *, identity: str, name: str, tags: Mapping[str, str]) -> Run:
    """The run with this identity, made when absent; of two made at once the older one stays.

    MLflow has no unique key for runs: what keeps two retrainings apart is the lease, this only clears up after them.
    """
    found = _oldest(client, experiment, identity)
    if found is not None:
        return found
    mine = client.create_run(experiment, run_name=name, tags={**tags, IDENTITY: identity})
    first = _oldest(client, experiment, identity) or mine
    if first.info.run_id != mine.info.run_id:
        client.delete_run(mine.info.run_id)
    return first


def start_retraining(client: MlflowClient, training_set: TrainingSet, use_case: UseCase) -> str:
    """Identity of the run of a retraining, with its parameters and its data as an input."""
    request = training_set.request
    word = "first training" if training_set.champion_version is None else "retrain"
    run = settle_run(
        client,
        find_experiment(client, use_case),
        identity=request_identity(request.key),
        name=f"{word} {request.as_of:%Y-%m-%d}",
        tags={
            "mlflow.user": request.actor,
            "mlflow.source.name": f"{use_case.name}.retrain",
            "mlflow.source.type": "JOB",
            "mlflow.note.content": request.reason,
            "request_key": request.key,
        },
    )
    run_id = str(run.info.run_id)
    if not run.data.params:
        log_numbers(client, run, {}, parameters=_training_parameters(training_set, use_case))
    if run.inputs is None or not run.inputs.dataset_inputs:
        dataset = _dataset(training_set, use_case)
        write_once(lambda: client.log_inputs(run_id, datasets=[dataset]))
    return run_id


def finish_candidate(client: MlflowClient, run_id: str, result: CandidateResult, parameters: Mapping[str, Any]) -> None:
    """Nested run of one candidate, complete and ended; left alone when it is."""
    parent = client.get_run(run_id)
    run = settle_run(
        client,
        parent.info.experiment_id,
        identity=request_identity(f"{run_id}/{result.name}"),
        name=result.name,
        tags={_PARENT: run_id, "candidate": result.name, "mlflow.note.content": result.detail},
    )
    if run.info.status == "FINISHED":
        return
    numbers = estimate_numbers(f"validation_{result.metric}", result.loss) | {"seconds": result.seconds}
    log_numbers(client, run, numbers, parameters={name: str(value) for name, value in parameters.items()})
    client.set_terminated(run.info.run_id, "FINISHED")


def log_numbers(
    client: MlflowClient,
    run: Run,
    numbers: Mapping[str, float],
    *,
    parameters: Mapping[str, str] | None = None,
    model_id: str | None = None,
) -> None:
    """Write metrics and parameters in one call.

    Metrics carry the run's start as their time: a repeated call writes the same points, not more of them.
    """
    from mlflow.entities import Metric, Param

    run_id, when = run.info.run_id, run.info.start_time
    metrics = [Metric(name, value, when, 0, model_id=model_id, run_id=run_id) for name, value in numbers.items()]
    params = [Param(name, value) for name, value in (parameters or {}).items()]
    write_once(lambda: client.log_batch(run_id, metrics=metrics, params=params))


def estimate_numbers(name: str, estimate: Estimate) -> dict[str, float]:
    """Metrics of an estimate: value, interval and rows, those that are defined."""
    found = {name: estimate.value, f"{name}_low": estimate.low, f"{name}_high": estimate.high}
    return {key: value for key, value in found.items() if value is not None} | {f"{name}_rows": float(estimate.n)}


def parity_numbers(parity: Parity) -> dict[str, float]:
    """Metrics of the comparison with scikit-learn."""
    return {
        "parity/flips": float(parity.flips),
        "parity/largest_difference": parity.largest_difference,
        "parity/rows": float(parity.n),
    }


def cost_numbers(cost: ServingCost) -> dict[str, float]:
    """Metrics of what the package costs to ask."""
    numbers = cost.model_dump(exclude={"format", "n", "batch_rows"})
    return {f"cost/{name}": float(value) for name, value in numbers.items()}


def gate_numbers(decision: GateDecision) -> dict[str, float]:
    """Metrics of the gate: every forecaster's loss; value, interval and bound of every rule; those that are defined."""
    found = {f"holdout/{name}": loss for name, loss in decision.losses.items()}
    for rule in decision.rules:
        name = _metric_name(f"gate/{rule.name}", taken=found)
        numbers = {"": rule.value, "_low": rule.low, "_high": rule.high, "_bound": rule.bound, "_p": rule.p}
        found |= {name + suffix: value for suffix, value in numbers.items() if value is not None}
    return found


def _metric_name(text: str, *, taken: Mapping[str, float]) -> str:
    """A name that MLflow takes: slices are named after values, which may hold any sign; two never share a name."""
    told = text.replace("<=", " to ").replace("<", " below ").replace("=", ":")
    told = re.sub(r"[^\w\-. :/]", "_", told, flags=re.ASCII)[:_LONGEST_NAME]
    number, name = 1, told
    while name in taken:
        number += 1
        name = f"{told} {number}"
    return name


def _oldest(client: MlflowClient, experiment: str, identity: str) -> Run | None:
    wanted = f"tags.`{IDENTITY}` = '{identity}'"
    found = client.search_runs([experiment], wanted, max_results=1, order_by=["attributes.start_time ASC"])
    return found[0] if found else None


def _training_parameters(training_set: TrainingSet, use_case: UseCase) -> dict[str, str]:
    request, training = training_set.request, use_case.training
    return {
        "reason": request.reason,
        "actor": request.actor,
        "as_of": request.as_of.isoformat(),
        "since": request.since.isoformat() if request.since else "",
        "force": str(request.force),
        "strategy": training.strategy,
        "sliding_window": str(training.sliding_window or ""),
        "half_life": str(training.half_life or ""),
        "imbalance": training.imbalance,
        "calibration": training.calibration,
        "rows_history": str(training_set.sources.get("history", 0)),
        "rows_live": str(training_set.sources.get("live", 0)),
        "weight_live": "" if training_set.weight_live is None else f"{training_set.weight_live:.3f}",
        "seed": str(training.seed),
        "fit": _span(training_set.fit),
        "validation": _span(training_set.validation),
        "holdout": _span(training_set.holdout),
        "rows_fit": str(training_set.n_fit),
        "rows_validation": str(training_set.n_validation),
        "rows_holdout": str(training_set.n_holdout),
        "quarantined": str(training_set.quarantined),
        "data_version": str(training_set.data_version),
        "fingerprint": training_set.fingerprint,
        "watermark": training_set.watermark.isoformat(),
        "champion_version": str(training_set.champion_version or ""),
        "use_case_hash": use_case.hash,
    }


def _dataset(training_set: TrainingSet, use_case: UseCase) -> DatasetInput:
    """The version of the training table as MLflow shows it: name, digest, schema and rows."""
    from mlflow.entities import Dataset, DatasetInput, InputTag

    types = {"number": "double", "boolean": "boolean", "category": "string"}
    columns = [
        {"name": name, "type": types[feature.type], "required": not feature.nullable}
        for name, feature in use_case.features.items()
    ]
    source = {"path": f"{use_case.name}/training", "delta_table_version": training_set.data_version}
    rows = {"fit": training_set.n_fit, "validation": training_set.n_validation, "holdout": training_set.n_holdout}
    dataset = Dataset(
        name=f"{use_case.name}/training@v{training_set.data_version}",
        digest=training_set.fingerprint[:36],  # the longest that MLflow takes
        source_type="delta_table",
        source=json.dumps(source),
        schema=json.dumps({"mlflow_colspec": columns}),
        profile=json.dumps(rows | {"sources": training_set.sources}),
    )
    return DatasetInput(dataset, tags=[InputTag("mlflow.data.context", "training")])


def _span(window: Window) -> str:
    return f"{window.start:%Y-%m-%dT%H:%MZ} .. {window.end:%Y-%m-%dT%H:%MZ}"
