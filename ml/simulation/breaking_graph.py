"""Real graphs that pass their golden rows and fail at work: a reshape to just as many rows, and no others."""

from __future__ import annotations

import onnx
from onnx import TensorProto, helper

_BEFORE, _SHAPE = "drill_before", "drill_shape"


def break_inputs(content: bytes, rows: int) -> bytes:
    """The graph with a preparation that takes batches of so many rows only.

    Parameters
    ----------
    content
        ONNX bytes of a package's graph.
    rows
        Its golden rows.
    """
    model = onnx.load_from_string(content)
    graph = model.graph
    given = graph.input[0]
    for node in graph.node:
        node.input[:] = [_BEFORE if name == given.name else name for name in node.input]
    _add_shape(model, rows, given.type.tensor_type.shape.dim[1].dim_value)
    graph.node.insert(0, helper.make_node("Reshape", [given.name, _SHAPE], [_BEFORE], name="prepare/drill"))
    return bytes(model.SerializeToString())


def break_answers(content: bytes, rows: int) -> bytes:
    """The graph with a last step that takes batches of so many rows only; see :func:`break_inputs`."""
    model = onnx.load_from_string(content)
    graph = model.graph
    answer = next(output for output in graph.output if output.name in {"probabilities", "value"})
    for node in graph.node:
        node.output[:] = [_BEFORE if name == answer.name else name for name in node.output]
        node.input[:] = [_BEFORE if name == answer.name else name for name in node.input]
    dimensions = answer.type.tensor_type.shape.dim
    _add_shape(model, rows, dimensions[1].dim_value if len(dimensions) > 1 else -1)
    graph.node.append(helper.make_node("Reshape", [_BEFORE, _SHAPE], [answer.name], name="model/drill"))
    return bytes(model.SerializeToString())


def _add_shape(model: onnx.ModelProto, rows: int, columns: int) -> None:
    shape = helper.make_tensor(_SHAPE, TensorProto.INT64, [2], [rows, columns or -1])
    model.graph.initializer.append(shape)
