"""Real graphs with a fault in them: nodes added behind a converted model, and the same in scikit-learn."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from sklearn.pipeline import Pipeline

from ml.training.convert import convert_pipeline
from ml.use_case import UseCase

Floats = NDArray[np.float64]
_BEFORE = "answers_before"


@dataclass(frozen=True)
class Warp:
    """A change of a model's answers that it would make if it had been trained wrong.

    Attributes
    ----------
    matrix, shift
        Answers ``p`` become ``p @ matrix + shift``.
    power
        Before that they are raised to it and add up to 1 again.
    column, above
        Only in rows whose number feature lies above a value; None is every row.
    """

    matrix: Floats
    shift: Floats
    power: float = 1.0
    column: str | None = None
    above: float = 0.0

    def apply(self, answers: Floats, numbers: Floats | None) -> Floats:
        """Warped answers, as the graph computes them."""
        raised = answers**self.power
        raised = raised / raised.sum(axis=1, keepdims=True) if self.power != 1.0 else raised
        warped = raised @ self.matrix + self.shift
        return warped if numbers is None else np.where((numbers > np.float32(self.above))[:, None], warped, answers)


class Warped(Pipeline):  # type: ignore[misc]  # scikit-learn has no types
    """A fitted pipeline whose answers are warped: what scikit-learn would have of a model that is wrong."""

    def __init__(self, pipeline: Pipeline, warp: Warp) -> None:
        super().__init__(pipeline.steps)
        self._warp = warp

    def predict_proba(self, X: Any, **params: Any) -> Any:  # noqa: N803 - scikit-learn's name
        """See scikit-learn."""
        column = self._warp.column
        return self._warp.apply(super().predict_proba(X, **params), None if column is None else X[column].to_numpy())


def reverse_classes(use_case: UseCase) -> Warp:
    """The probability of each class is told of the class at the other end."""
    size = len(use_case.answers)
    return Warp(np.eye(size)[::-1].copy(), np.zeros(size))


def warped_graph(warp: Warp) -> Callable[[UseCase, Pipeline], bytes]:
    """Maker of the graph of a warped pipeline: the converted model, with the warp's nodes behind it."""

    def make(use_case: UseCase, pipeline: Pipeline) -> bytes:
        model = onnx.load_from_string(convert_pipeline(Pipeline(pipeline.steps), use_case))
        _take_over(model, "probabilities")
        _append_warp(model, warp, use_case)
        _append_labels(model, use_case)
        return bytes(model.SerializeToString())

    return make


def heavy_graph(megabytes: float) -> Callable[[UseCase, Pipeline], bytes]:
    """Maker of a graph that carries so many megabytes of zeros, and adds their sum to every answer."""

    def make(use_case: UseCase, pipeline: Pipeline) -> bytes:
        model = onnx.load_from_string(convert_pipeline(pipeline, use_case))
        answer = "value" if use_case.regression else "probabilities"
        _take_over(model, answer)
        _constant(model, "ballast", np.zeros(int(megabytes * 1e6 / 4), dtype=np.float32))
        _node(model, "ReduceMax", ["ballast"], "ballast_sum", keepdims=0)
        _node(model, "Add", [_BEFORE, "ballast_sum"], answer)
        return bytes(model.SerializeToString())

    return make


def slow_graph(size: int) -> Callable[[UseCase, Pipeline], bytes]:
    """Maker of a graph that multiplies two square matrices for every question, and adds none of it to the answer."""

    def make(use_case: UseCase, pipeline: Pipeline) -> bytes:
        model = onnx.load_from_string(convert_pipeline(pipeline, use_case))
        answer = "value" if use_case.regression else "probabilities"
        _take_over(model, answer)
        _node(model, "Shape", [_BEFORE], "shape")  # known only when it is asked: nothing can be computed beforehand
        _node(model, "Cast", ["shape"], "shape_float", to=TensorProto.FLOAT)
        _node(model, "ReduceMin", ["shape_float"], "least", keepdims=0)
        _constant(model, "zeros", np.zeros((size, size), dtype=np.float32))
        _node(model, "Mul", ["zeros", "least"], "left")
        _node(model, "MatMul", ["left", "zeros"], "product")
        _node(model, "ReduceMax", ["product"], "nothing", keepdims=0)
        _node(model, "Add", [_BEFORE, "nothing"], answer)
        return bytes(model.SerializeToString())

    return make


def _append_warp(model: onnx.ModelProto, warp: Warp, use_case: UseCase) -> None:
    current = _BEFORE
    if warp.power != 1.0:
        _constant(model, "power", np.array(warp.power, dtype=np.float32))
        _node(model, "Pow", [current, "power"], "raised")
        _node(model, "ReduceSum", ["raised", _constant(model, "second", np.array([1]))], "whole", keepdims=1)
        _node(model, "Div", ["raised", "whole"], "shares")
        current = "shares"
    _constant(model, "matrix", warp.matrix.astype(np.float32))
    _constant(model, "shift", warp.shift.astype(np.float32))
    _node(model, "MatMul", [current, "matrix"], "turned")
    target = "probabilities" if warp.column is None else "warped"
    _node(model, "Add", ["turned", "shift"], target)
    if warp.column is not None:
        place = use_case.numbers.index(warp.column)
        _constant(model, "place", np.array([place]))
        _constant(model, "above", np.array(warp.above, dtype=np.float32))
        _node(model, "Gather", ["numbers", "place"], "looked_at", axis=1)
        _node(model, "Greater", ["looked_at", "above"], "there")
        _node(model, "Where", ["there", "warped", _BEFORE], "probabilities")


def _append_labels(model: onnx.ModelProto, use_case: UseCase) -> None:
    """The decided class, of the warped probabilities."""
    for node in model.graph.node:
        for i, output in enumerate(node.output):
            if output == "label":
                node.output[i] = "label_before"
    model.graph.initializer.append(numpy_helper.from_array(np.array(use_case.answers, dtype=object), "class_names"))
    _node(model, "ArgMax", ["probabilities"], "best", axis=1, keepdims=0)
    _node(model, "Gather", ["class_names", "best"], "label")


def _take_over(model: onnx.ModelProto, output: str) -> None:
    """What gave an output gives it under another name, so that nodes can be put between."""
    for node in model.graph.node:
        for names in (node.output, node.input):
            for i, name in enumerate(names):
                if name == output:
                    names[i] = _BEFORE


def _constant(model: onnx.ModelProto, name: str, value: NDArray[Any]) -> str:
    model.graph.initializer.append(numpy_helper.from_array(value, name))
    return name


def _node(model: onnx.ModelProto, kind: str, inputs: list[str], output: str, **attributes: Any) -> None:
    model.graph.node.append(helper.make_node(kind, inputs, [output], name=f"mutant_{output}", **attributes))
