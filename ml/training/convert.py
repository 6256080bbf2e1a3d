"""A fitted pipeline as an ONNX graph that decides as the pipeline does."""

from __future__ import annotations

import copy
import warnings
from typing import Any

import numpy as np
from numpy.typing import NDArray
from skl2onnx import convert_sklearn
from skl2onnx.common.data_types import FloatTensorType, StringTensorType
from sklearn.calibration import CalibratedClassifierCV
from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import StandardScaler

from ml.errors import DataError
from ml.training.boosters import is_lightgbm, register_converter_of, with_lightgbm_thresholds
from ml.use_case import UseCase

#: Fixed, so that the same model gives the same bytes with a newer converter that knows newer operators.
OPSETS = {"": 17, "ai.onnx.ml": 3}
#: Begin of the names of nodes that prepare the features; onnxruntime names the node that fails, and code 301 follows.
PREPARING = "prepare/"


def convert_pipeline(pipeline: Pipeline, use_case: UseCase) -> bytes:
    """ONNX bytes of a fitted candidate; the same model gives the same bytes in any process.

    Inputs and outputs are those of :class:`ml.records.release.Package`. Three things keep the graph's decisions those
    of scikit-learn in float32: the scaler divides instead of multiplying by a rounded inverse; thresholds of trees
    are rounded down to float32, never up across a number; and training saw float32 as well
    (:func:`ml.training.inputs.feature_table`).

    Parameters
    ----------
    pipeline
        Of :func:`ml.training.candidates.build_candidate`, fitted.

    Raises
    ------
    DataError
        The pipeline holds an estimator that the converter does not know.
    """
    exact = Pipeline([("prepare", pipeline[0]), ("model", _round_thresholds(pipeline[-1]))])
    try:
        return _convert(exact, use_case)
    except Exception as error:  # each converter raises what it likes
        model = type(pipeline[-1]).__name__
        got = f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"
        raise DataError("model cannot be converted to ONNX", where=model, got=got) from error


def _convert(exact: Pipeline, use_case: UseCase) -> bytes:
    inputs = [
        ("numbers", FloatTensorType([None, len(use_case.numbers)])),
        ("categories", StringTensorType([None, len(use_case.categories)])),
    ]
    regression = use_case.regression
    register_converter_of(exact[-1])
    common = {
        "name": use_case.name,
        "initial_types": [(name, kind) for name, kind in inputs if kind.shape[1]],
        "target_opset": OPSETS,
    }
    divide = {StandardScaler: {"div": "div"}}
    with warnings.catch_warnings():
        # The converter reads attributes that scikit-learn 1.9 deprecates, and writes a boolean where protobuf 6
        # already wants an integer.
        warnings.filterwarnings("ignore", message="Attribute `prob[AB]_` was deprecated", category=FutureWarning)
        warnings.filterwarnings("ignore", message=".*got a boolean.*", category=DeprecationWarning)
        graph = convert_sklearn(
            exact,
            options=divide | ({} if regression else {id(exact[-1]): {"zipmap": False}}),
            final_types=[("value", FloatTensorType([None, 1]))] if regression else None,
            **common,
        )
        preparing = convert_sklearn(Pipeline([exact.steps[0]]), options=divide, **common)
    for node, twin in zip(graph.graph.node, preparing.graph.node, strict=False):  # the first nodes of both are the same
        if (node.name, node.op_type) != (twin.name, twin.op_type):
            break
        node.name = f"{PREPARING}{node.name}"
    graph.opset_import.sort(key=lambda one: one.domain)  # they come from a set, in another order in each process
    content: bytes = graph.SerializeToString(deterministic=True)
    return content


def floor_to_float32(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Largest float32 not above each number; ``x <= value`` and ``x <= floor(value)`` agree for every float32 x.

    Examples
    --------
    >>> bool(floor_to_float32(np.array([0.7]))[0] <= 0.7 < np.float32(0.7) + 1e-7)
    True
    """
    near = values.astype(np.float32)
    above = near.astype(np.float64) > values
    near[above] = np.nextafter(near[above], np.float32(-np.inf))
    return near.astype(np.float64)


def _round_thresholds(model: Any) -> Any:
    """A model of boosted trees with float32 thresholds; the converter or XGBoost does it itself for the other trees."""
    if isinstance(model, CalibratedClassifierCV):
        calibrated = copy.deepcopy(model)
        for inner in calibrated.calibrated_classifiers_:
            inner.estimator = _round_thresholds(inner.estimator)
        return calibrated
    if is_lightgbm(model):
        return with_lightgbm_thresholds(model, floor_to_float32)
    if not isinstance(model, HistGradientBoostingClassifier | HistGradientBoostingRegressor):
        return model
    rounded = copy.deepcopy(model)
    for trees in rounded._predictors:  # noqa: SLF001 - scikit-learn offers no other way to its trees
        for tree in trees:
            tree.nodes["num_threshold"] = floor_to_float32(tree.nodes["num_threshold"])
    return rounded
