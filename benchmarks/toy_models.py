"""Small graphs with known answers, and everything that can be wrong with one."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper

from ml.records.profile import BlockCounts, NumberProfile, Profile, ReferenceProfile
from ml.records.release import GoldenRow, Package
from ml.registry.manifest import MODEL, PACKAGE, digest_file
from ml.training.graph import REFERENCE
from ml.use_case import UseCase

TOY = UseCase.model_validate(
    {
        "name": "quay",
        "task": "binary_classification",
        "time_column": "time",
        "features": {
            "depth": {"type": "number", "range": [0, 100], "nullable": True},
            "load": {"type": "number", "range": [-50, 50]},
            "swell": {"type": "number", "range": [0, 20], "nullable": True},
        },
        "target": {"column": "late", "classes": {"0": "on time", "1": "late"}},
        "training": {"history": {"file": "data/quay.csv"}},
    }
)
#: Column of the probability that the ferry is late.
LATE = TOY.target.class_names.index("late")
#: Square matrix that a slow graph multiplies, and numbers that a huge one asks for.
SLOW_SIDE, HUGE_NUMBERS = 2200, 600_000_000


def toy_graph(weight: float, *, fault: str = "", width: int | None = None) -> bytes:
    """P(late) = sigmoid(weight * mean of the numbers, missing as 0), with at most one fault.

    Parameters
    ----------
    fault
        ``nan`` answers no numbers; ``nan_if_missing`` where a value is missing; ``nan_if_deep`` where the first number
        is above 60; ``slow``; ``huge`` asks for gigabytes; ``hang`` does not end; ``other_input`` and ``other_output``
        have other names; ``double`` wants float64; ``third_class`` answers three probabilities.
    """
    nodes = _mean("nan_if_missing" if fault == "nan_if_missing" else "") + _extra(fault)
    nodes += [
        helper.make_node("Mul", ["extra", "weight"], ["scaled"]),
        helper.make_node("Sigmoid", ["scaled"], ["second"]),
        helper.make_node("Sub", ["one", "second"], ["first"]),
        helper.make_node("Concat", ["second", "first"], ["both"], axis=1),
        helper.make_node("ArgMax", ["both"], ["winner"], axis=1, keepdims=0),
        helper.make_node("Gather", ["names", "winner"], ["label"], axis=0),
        helper.make_node(
            "Concat", ["both", "second"] if fault == "third_class" else ["both"], ["probabilities"], axis=1
        ),
    ]
    return _finish(nodes, weight, fault, width or len(TOY.numbers))


def write_toy(folder: Path, graph: bytes, *, judged: float, **changes: object) -> Package:
    """A whole package folder whose golden rows the weight ``judged`` answered; ``changes`` are of the package."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / MODEL).write_bytes(graph)
    content = {
        "use_case": TOY.name,
        "use_case_hash": TOY.hash,
        "digest": digest_file(folder / MODEL),
        "size_bytes": len(graph),
        "numbers": TOY.numbers,
        "categories": TOY.categories,
        "classes": TOY.target.class_names,
        "golden_rows": tuple(answer(row, judged) for row in golden_inputs()),
        "libraries": {"onnx": onnx.__version__},
    }
    package = Package.model_validate(content | changes)
    package.write(folder / PACKAGE)
    column = NumberProfile(edges=(0.0,), counts=(1, 2), missing=0, mean=0.5, m2=1.0, minimum=-1.0, maximum=2.0)
    ReferenceProfile(
        use_case=TOY.name,
        whole=Profile(window=None, n=3, columns={"depth": column}),
        positions=(0,),
        rows=(3,),
        counts={"depth": BlockCounts.pack(np.array([[1, 2, 0]]))},
        fingerprint="f" * 64,
    ).write(folder / REFERENCE)
    return package


def golden_inputs(n: int = 20) -> list[tuple[float | None, ...]]:
    """Rows within the ranges, the first with a value missing."""
    drawn = np.random.default_rng(7).uniform([0, -50, 0], [50, 50, 20], size=(n, 3)).round(3).tolist()
    return [(None, *drawn[0][1:]), *(tuple(row) for row in drawn[1:])]


def probability(row: Sequence[float | None], weight: float) -> float:
    """P(late), worked out without the graph."""
    mean = sum(value or 0.0 for value in row) / len(row)
    return float(1 / (1 + np.exp(-weight * mean)))


def answer(row: tuple[float | None, ...], weight: float) -> GoldenRow:
    """Golden row with that answer; columns in the order of the use case's classes, ``late, on time``."""
    late = probability(row, weight)
    return GoldenRow(row=row, label="late" if late > 0.5 else "on time", probabilities=(late, 1 - late))


def damage(content: bytes, rng: np.random.Generator) -> bytes:
    """The same bytes but for one bit."""
    spoilt: NDArray[np.uint8] = np.frombuffer(content, np.uint8).copy()
    spoilt[rng.integers(len(spoilt))] ^= 1 << int(rng.integers(8))
    return spoilt.tobytes()


def _mean(fault: str) -> list[onnx.NodeProto]:
    kind = "Identity" if fault == "nan_if_missing" else "Where"
    asked = ["single"] if kind == "Identity" else ["absent", "zero", "single"]
    return [
        helper.make_node("Cast", ["given"], ["single"], to=TensorProto.FLOAT),
        helper.make_node("IsNaN", ["single"], ["absent"]),
        helper.make_node(kind, asked, ["present"]),
        helper.make_node("ReduceMean", ["present"], ["mean"], axes=[1], keepdims=1),
        helper.make_node("Mul", ["mean", "zero"], ["nothing"]),
        helper.make_node("ReduceSum", ["nothing"], ["none"], keepdims=0),
    ]


def _extra(fault: str) -> list[onnx.NodeProto]:
    """From ``mean`` to ``extra``, the same number unless something is wrong."""
    if fault == "nan":
        return [helper.make_node("Mul", ["mean", "nan"], ["extra"])]
    if fault == "nan_if_deep":
        return [
            helper.make_node("Slice", ["present", "at_0", "at_1", "axis"], ["depth"]),
            helper.make_node("Greater", ["depth", "sixty"], ["deep"]),
            helper.make_node("Where", ["deep", "nan", "mean"], ["extra"]),
        ]
    if fault in ("slow", "huge"):
        work = [helper.make_node("Expand", ["none", "side" if fault == "slow" else "many"], ["matrix"])]
        if fault == "slow":
            work.append(helper.make_node("MatMul", ["matrix", "matrix"], ["product"]))
        last = "product" if fault == "slow" else "matrix"
        work.append(helper.make_node("ReduceMax", [last], ["top"], keepdims=0))
        return [*work, helper.make_node("Add", ["mean", "top"], ["extra"])]
    if fault == "hang":
        return [_endless(), helper.make_node("Add", ["mean", "turned"], ["extra"])]
    return [helper.make_node("Identity", ["mean"], ["extra"])]


def _endless() -> onnx.NodeProto:
    body = helper.make_graph(
        [
            helper.make_node("Identity", ["go_on"], ["goes_on"]),
            helper.make_node("Add", ["before", "before"], ["after"]),
        ],
        "turn",
        [
            helper.make_tensor_value_info("turn", TensorProto.INT64, []),
            helper.make_tensor_value_info("go_on", TensorProto.BOOL, []),
            helper.make_tensor_value_info("before", TensorProto.FLOAT, []),
        ],
        [
            helper.make_tensor_value_info("goes_on", TensorProto.BOOL, []),
            helper.make_tensor_value_info("after", TensorProto.FLOAT, []),
        ],
    )
    return helper.make_node("Loop", ["turns", "yes", "none"], ["turned"], body=body)


def _finish(nodes: list[onnx.NodeProto], weight: float, fault: str, width: int) -> bytes:
    given = "features" if fault == "other_input" else "numbers"
    told = "scores" if fault == "other_output" else "probabilities"
    nodes = [helper.make_node("Identity", [given], ["given"]), *nodes]
    if fault == "other_output":
        nodes.append(helper.make_node("Identity", ["probabilities"], [told]))
    kind = TensorProto.DOUBLE if fault == "double" else TensorProto.FLOAT
    single = {"zero": 0.0, "one": 1.0, "weight": weight, "nan": float("nan"), "sixty": 60.0}
    constants = [helper.make_tensor(name, TensorProto.FLOAT, [], [value]) for name, value in single.items()]
    whole = {"at_0": [0], "at_1": [1], "axis": [1], "side": [SLOW_SIDE, SLOW_SIDE], "many": [HUGE_NUMBERS]}
    constants += [helper.make_tensor(name, TensorProto.INT64, [len(v)], v) for name, v in whole.items()]
    constants += [
        helper.make_tensor("turns", TensorProto.INT64, [], [2**60]),
        helper.make_tensor("yes", TensorProto.BOOL, [], [True]),
        helper.make_tensor("names", TensorProto.STRING, [2], [b"late", b"on time"]),
    ]
    body = helper.make_graph(
        nodes,
        "toy",
        [helper.make_tensor_value_info(given, kind, [None, width])],
        [
            helper.make_tensor_value_info("label", TensorProto.STRING, [None]),
            helper.make_tensor_value_info(told, TensorProto.FLOAT, [None, 3 if fault == "third_class" else 2]),
        ],
        constants,
    )
    versions = [helper.make_opsetid("", 17)]
    content: bytes = helper.make_model(body, opset_imports=versions, ir_version=9).SerializeToString()
    return content
