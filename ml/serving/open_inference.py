"""Open Inference Protocol V2, as KServe, Triton and MLServer speak it: JSON and binary tensors.

A feature is an input of its name with ``n`` values (:mod:`ml.serving.table` says what else is taken); ``id`` and
``event_time`` may come along. Outputs are ``class`` and ``probabilities``, or ``value``, and ``id``.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec
import numpy as np
from msgspec.structs import replace
from numpy.typing import NDArray

from ml.records.codes import Code
from ml.serving.body import MAX_ROWS, read_json
from ml.serving.decode import Layout
from ml.serving.http import Reply, reply_json
from ml.serving.model import Model
from ml.serving.outcome import Outcome, Render
from ml.serving.problem import RequestRefused
from ml.serving.protocol import Protocol, Question, Request
from ml.serving.table import EVENT_TIME, ID, read_columns
from ml.serving.tensors import pack, read_tensor
from ml.use_case import UseCase

JSON_LENGTH = b"inference-header-content-length"
EXTENSIONS = ("binary_tensor_data", "model_repository", "model_configuration", "statistics")

_DATATYPES = {"number": "FP64", "boolean": "BOOL", "category": "BYTES"}
_PATH = re.compile(
    r"/v2/models/(?P<name>[^/]+)(?:/versions/(?P<version>[^/]+))?(?:/(?P<verb>ready|config|stats|infer))?"
)


@dataclass(frozen=True)
class Path:
    """What a path below ``/v2/models`` speaks of; ``verb`` is empty for the metadata, ``version`` for any."""

    name: str
    version: str
    verb: str

    def check(self, model: Model) -> Model:
        """The model that serves, as the one that the path speaks of.

        Raises
        ------
        RequestRefused
            The path speaks of another version (404).
        """
        serves = str(model.manifest.model_version)
        if self.version not in {"", serves}:
            raise RequestRefused(
                Code.MALFORMED, f"version {self.version[:20]} does not serve; {serves} does", status=404
            )
        return model


def read_path(path: str) -> Path | None:
    """What a path speaks of, None when it is no path of a model."""
    found = _PATH.fullmatch(path)
    return Path(found["name"], found["version"] or "", found["verb"] or "") if found else None


class _Parameters(msgspec.Struct):
    binary_data_size: int | None = None
    binary_data: bool | None = None
    binary_data_output: bool = False


class _Tensor(msgspec.Struct):
    name: str
    parameters: _Parameters = msgspec.field(default_factory=_Parameters)


class _Body(msgspec.Struct):
    inputs: list[Any]
    id: str = ""
    parameters: _Parameters = msgspec.field(default_factory=_Parameters)
    outputs: list[_Tensor] | None = None


def read_inference(request: Request, layout: Layout) -> Question:
    """Question of a body of ``infer``.

    Raises
    ------
    RequestRefused
        The body is not understood (400, 413, 422).
    """
    head, tail = _split(request)
    content = read_json(head, _Body)
    columns: dict[str, Any] = {}
    at = 0
    for given in content.inputs:
        size = _binary_size(given)
        binary = None if size is None else tail[at : at + size]
        if binary is not None and len(binary) != size:
            raise RequestRefused(Code.MALFORMED, f"binary_data_size {size} goes beyond the end of the body")
        at += size or 0
        name, values = read_tensor(given, binary)
        if name in columns:
            raise RequestRefused(Code.MALFORMED, f"input {name[:100]} comes twice")
        columns[name] = values
    if at != len(tail):
        raise RequestRefused(Code.MALFORMED, f"{len(tail) - at} bytes of the body belong to no input")
    if not columns:
        raise RequestRefused(Code.MALFORMED, "inputs is empty")
    wanted = _wanted(content, layout.use_case)
    return Question(read_columns(columns, layout), _render(wanted, content.id))


def _split(request: Request) -> tuple[bytes, bytes]:
    length = request.headers.get(JSON_LENGTH)
    if length is None:
        return request.body, b""
    if not length.isdigit() or len(length) > 10 or int(length) > len(request.body):
        detail = f"{JSON_LENGTH.decode()} must be from 0 to {len(request.body)}, got {length[:20].decode('latin-1')}"
        raise RequestRefused(Code.MALFORMED, detail)
    return request.body[: int(length)], request.body[int(length) :]


def _binary_size(given: Any) -> int | None:
    if not isinstance(given, dict):
        raise RequestRefused(Code.MALFORMED, "an input must be an object")
    parameters = given.get("parameters")
    size = parameters.get("binary_data_size") if isinstance(parameters, dict) else None
    if size is not None and (type(size) is not int or not 0 <= size < 2**31):
        raise RequestRefused(Code.MALFORMED, "binary_data_size must be a number of bytes")
    return size


def _wanted(content: _Body, use_case: UseCase) -> dict[str, bool]:
    """Whether an output is to be binary, by name."""
    known = [output["name"] for output in describe_outputs(use_case)]
    default = content.parameters.binary_data_output
    if not content.outputs:
        return dict.fromkeys(known, default)
    for output in content.outputs:
        if output.name not in known:
            raise RequestRefused(Code.MALFORMED, f"output must be one of {', '.join(known)}, got {output.name[:50]}")
    return {
        output.name: default if output.parameters.binary_data is None else output.parameters.binary_data
        for output in content.outputs
    }


def _render(wanted: Mapping[str, bool], identity: str) -> Render:
    def render(outcome: Outcome) -> Reply:
        outputs, binaries = [], []
        for name, binary in wanted.items():
            datatype, shape, values = _values(outcome, name)
            output: dict[str, Any] = {"name": name, "datatype": datatype, "shape": shape}
            if binary:
                binaries.append(pack(values, datatype))
                outputs.append(output | {"parameters": {"binary_data_size": len(binaries[-1])}})
            else:
                outputs.append(output | {"data": values.tolist() if isinstance(values, np.ndarray) else values})
        head = {
            "model_name": outcome.model.manifest.use_case,
            "model_version": str(outcome.model.manifest.model_version),
            "id": identity,
            "parameters": _parameters(outcome),
            "outputs": outputs,
        }
        marks = outcome.degraded.headers if outcome.degraded else ()
        if not binaries:
            return replace(reply_json(200, head), headers=marks)
        encoded = msgspec.json.encode(head)
        length = (JSON_LENGTH, str(len(encoded)).encode())
        return Reply(200, encoded + b"".join(binaries), b"application/octet-stream", (length, *marks))

    return render


def _parameters(outcome: Outcome) -> dict[str, Any]:
    """What V2 has no member for; its parameters are texts, numbers and truths."""
    told: dict[str, Any] = {"request_id": outcome.request_id, "digest": outcome.model.manifest.digest}
    if outcome.degraded is None:
        return told
    members = outcome.degraded.as_json().items()
    return told | {f"degraded_{name}": value for name, value in members if value is not None}


def _values(outcome: Outcome, name: str) -> tuple[str, list[int], Sequence[Any] | NDArray[np.float64]]:
    """Datatype, shape and values of an output."""
    n = len(outcome.batch.ids)
    if name == ID:
        return "BYTES", [n], outcome.batch.ids
    if name == "class":
        return "BYTES", [n], outcome.answers.labels
    told = outcome.answers.told
    return "FP64", [n] if name == "value" else list(told.shape), told.ravel()


def explain_refusal(refused: RequestRefused) -> dict[str, Any]:
    """The one member that clients of V2 look for."""
    return {"error": refused.detail}


OPEN_INFERENCE = Protocol(read_inference, explain_refusal)


def describe_server(version: str) -> dict[str, Any]:
    """Server metadata."""
    return {"name": "perennial", "version": version, "extensions": list(EXTENSIONS)}


def describe_inputs(use_case: UseCase) -> list[dict[str, Any]]:
    """Metadata of the inputs that each row must have."""
    return [
        {"name": name, "datatype": _DATATYPES[feature.type], "shape": [-1]}
        for name, feature in use_case.features.items()
    ]


def describe_outputs(use_case: UseCase) -> list[dict[str, Any]]:
    """Metadata of the outputs."""
    told: list[dict[str, Any]] = [{"name": "value", "datatype": "FP64", "shape": [-1]}]
    if not use_case.regression:
        told = [
            {"name": "class", "datatype": "BYTES", "shape": [-1]},
            {"name": "probabilities", "datatype": "FP64", "shape": [-1, len(use_case.answers)]},
        ]
    return [*told, {"name": ID, "datatype": "BYTES", "shape": [-1]}]


def describe_model(use_case: UseCase, model: Model) -> dict[str, Any]:
    """Model metadata."""
    return {
        "name": use_case.name,
        "versions": [str(model.manifest.model_version)],
        "platform": "onnxruntime_onnx",
        "inputs": describe_inputs(use_case),
        "outputs": describe_outputs(use_case),
        "parameters": {"digest": model.manifest.digest, "optional_inputs": [ID, EVENT_TIME]},
    }


def describe_config(use_case: UseCase) -> dict[str, Any]:
    """Model configuration, as far as Triton's means something here."""

    def told(tensors: list[dict[str, Any]]) -> list[dict[str, Any]]:
        types = {"FP64": "TYPE_FP64", "BOOL": "TYPE_BOOL", "BYTES": "TYPE_STRING"}
        return [{"name": t["name"], "data_type": types[t["datatype"]], "dims": t["shape"][1:] or [1]} for t in tensors]

    return {
        "name": use_case.name,
        "platform": "onnxruntime_onnx",
        "backend": "onnxruntime",
        "max_batch_size": MAX_ROWS,
        "input": told(describe_inputs(use_case)),
        "output": told(describe_outputs(use_case)),
    }


def describe_statistics(use_case: UseCase, model: Model, rows: Mapping[int, int]) -> dict[str, Any]:
    """Statistics of a model since the replica started.

    Parameters
    ----------
    rows
        Rows by the code that they ended with.
    """
    told = {
        "name": use_case.name,
        "version": str(model.manifest.model_version),
        "inference_count": rows.get(0, 0),
        "inference_stats": {
            "success": {"count": rows.get(0, 0)},
            "fail": {"count": sum(rows.values()) - rows.get(0, 0)},
        },
    }
    return {"model_stats": [told]}


def describe_repository(models: Mapping[str, Model | str]) -> list[dict[str, Any]]:
    """Every use case with the state of its model, or why it has none."""
    return [
        {"name": name, "state": "UNAVAILABLE", "reason": model}
        if isinstance(model, str)
        else {"name": name, "version": str(model.manifest.model_version), "state": "READY", "reason": ""}
        for name, model in models.items()
    ]
