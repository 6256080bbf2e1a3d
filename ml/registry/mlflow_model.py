"""The graph in MLflow's own model format: what ``mlflow.pyfunc.load_model`` loads."""

from __future__ import annotations

import json
from importlib.metadata import version as installed
from pathlib import Path
from typing import TYPE_CHECKING

from ml.records.decision import TrainingSet
from ml.records.release import Package
from ml.registry.tags import request_identity

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import LoggedModel, Run
    from mlflow.models import ModelSignature

#: What loading the graph needs; named here because MLflow would find out by loading it in another process, for 3 s.
_NEEDS = ("onnx", "onnxruntime", "numpy")

_TAG = "request_identity"


def settle_model(client: MlflowClient, run: Run, graph: Path, package: Package, training_set: TrainingSet) -> str:
    """Identity of the logged model of a run, whole and ready; made when absent, completed when half-made."""
    model = _find_or_create(client, run, package, training_set)
    if str(model.status) != "READY":
        _log_graph(client, run, model, graph, package)
    return str(model.model_id)


def _find_or_create(client: MlflowClient, run: Run, package: Package, training_set: TrainingSet) -> LoggedModel:
    identity = request_identity(training_set.request.key)
    experiment = run.info.experiment_id
    found = client.search_logged_models([experiment], filter_string=f"tags.`{_TAG}` = '{identity}'")
    if found:
        return min(found, key=lambda model: model.creation_timestamp)
    return client.create_logged_model(
        experiment,
        name=package.use_case,
        source_run_id=run.info.run_id,
        tags={_TAG: identity, "digest": package.digest},
        params={"data_version": str(training_set.data_version), "fingerprint": training_set.fingerprint},
        model_type="onnx",
    )


def _log_graph(client: MlflowClient, run: Run, model: LoggedModel, graph: Path, package: Package) -> None:
    import mlflow
    import mlflow.onnx
    import onnx

    mlflow.set_tracking_uri(client.tracking_uri)  # log_model finalizes by the process-wide address
    # MLflow links run and model once more with every call that names the run.
    linked = {output.model_id for output in run.outputs.model_outputs} if run.outputs else set()
    mlflow.onnx.log_model(
        onnx.load(graph),
        name=model.name,
        model_id=model.model_id,
        run_id=None if model.model_id in linked else run.info.run_id,
        pip_requirements=[f"{name}=={installed(name)}" for name in _NEEDS],
        signature=_signature(package),
        onnx_execution_providers=["CPUExecutionProvider"],
        onnx_session_options={"inter_op_num_threads": 1, "intra_op_num_threads": 1},
        save_as_external_data=False,
        metadata={"package": json.loads(package.model_dump_json(exclude={"golden_rows"}))},
    )


def _signature(package: Package) -> ModelSignature:
    """Inputs and outputs of the graph as tensors, as :class:`~ml.records.release.Package` describes them."""
    import numpy as np
    from mlflow.models import ModelSignature
    from mlflow.types import ColSpec, Schema, TensorSpec

    text, number = np.dtype("str"), np.dtype("float32")
    columns = (("numbers", number, package.numbers), ("categories", text, package.categories))
    inputs: list[ColSpec | TensorSpec] = [
        TensorSpec(kind, (-1, len(names)), name=name) for name, kind, names in columns if names
    ]
    outputs: list[ColSpec | TensorSpec] = [
        TensorSpec(text, (-1,), name="label"),
        TensorSpec(number, (-1, len(package.classes)), name="probabilities"),
    ]
    if package.classes == ("value",):
        outputs = [TensorSpec(number, (-1, 1), name="value")]
    return ModelSignature(inputs=Schema(inputs), outputs=Schema(outputs))
