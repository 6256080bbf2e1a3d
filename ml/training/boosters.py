"""LightGBM and XGBoost as candidates: optional libraries, made repeatable and convertible without a rounded split.

Neither is imported before a use case file names it.
"""

from __future__ import annotations

import copy
import re
import sys
from collections.abc import Iterator
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray
from skl2onnx import update_registered_converter
from skl2onnx.common.shape_calculator import (
    calculate_linear_classifier_output_shapes,
    calculate_linear_regressor_output_shapes,
)
from sklearn.preprocessing import LabelEncoder

#: LightGBM takes every number up to this size for 0 when it predicts, and splits 0 from the numbers below at minus it.
_ZERO = np.float32(1e-35)
_CLASSIFIER = {"nocl": [True, False], "zipmap": [True, False, "columns"]}


def lightgbm_classifier(**parameters: Any) -> Any:
    """``lightgbm.LGBMClassifier``, one thread, the same trees each time."""
    from lightgbm import LGBMClassifier

    return LGBMClassifier(**{**_REPEATABLE, **parameters})


def lightgbm_regressor(**parameters: Any) -> Any:
    """``lightgbm.LGBMRegressor``, one thread, the same trees each time."""
    from lightgbm import LGBMRegressor

    return LGBMRegressor(**{**_REPEATABLE, **parameters})


def xgboost_classifier(**parameters: Any) -> Any:
    """``xgboost.XGBClassifier`` that takes the names of classes, as every other classifier does."""
    return _named_xgboost()(**{"n_jobs": 1, **parameters})


def xgboost_regressor(**parameters: Any) -> Any:
    """``xgboost.XGBRegressor``, one thread."""
    from xgboost import XGBRegressor

    return XGBRegressor(**{"n_jobs": 1, **parameters})


_REPEATABLE = {"n_jobs": 1, "deterministic": True, "force_row_wise": True, "verbose": -1}


@cache
def _named_xgboost() -> type[Any]:
    """Made at the first use: its base is in a library that may not be installed."""
    from xgboost import XGBClassifier

    class NamedXGBClassifier(XGBClassifier):
        """XGBoost itself asks for classes 0, 1, 2, ..."""

        _names: Any = None

        def fit(self, X: Any, y: Any, **options: Any) -> Any:  # noqa: N803 - scikit-learn's names
            """Fit on the positions of the classes in order of their names."""
            self._names = None
            names = LabelEncoder().fit(y)
            super().fit(X, names.transform(y), **options)
            self._names = names
            return self

        def predict(self, X: Any, **options: Any) -> Any:  # noqa: N803
            """Names of the most probable classes."""
            return self._names.inverse_transform(super().predict(X, **options).astype(int))

        @property
        def classes_(self) -> NDArray[Any]:
            """Names of the classes, sorted."""
            return np.arange(self.n_classes_) if self._names is None else np.asarray(self._names.classes_)

    # The name by which another process finds the class: a backtest's processes exchange fitted models.
    NamedXGBClassifier.__qualname__ = "NamedXGBClassifier"
    return NamedXGBClassifier


def __getattr__(name: str) -> Any:
    if name == "NamedXGBClassifier":
        return _named_xgboost()
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def is_lightgbm(model: Any) -> bool:
    """Whether a model is LightGBM's; false where that was never imported."""
    library = sys.modules.get("lightgbm")
    return library is not None and isinstance(model, library.LGBMModel)


def is_xgboost(model: Any) -> bool:
    """Whether a model is XGBoost's; false where that was never imported."""
    library = sys.modules.get("xgboost")
    return library is not None and isinstance(model, library.XGBModel)


def register_converter_of(model: Any) -> None:
    """Tell skl2onnx how to convert a LightGBM or XGBoost model; nothing for any other.

    Raises
    ------
    ImportError
        ``onnxmltools`` is not installed.
    """
    if is_lightgbm(model):
        from onnxmltools.convert.lightgbm.operator_converters.LightGbm import convert_lightgbm as convert
    elif is_xgboost(model):
        from onnxmltools.convert.xgboost.operator_converters.XGBoost import convert_xgboost as convert
    else:
        return
    kind, classifies = type(model), hasattr(model, "predict_proba")
    shapes = calculate_linear_classifier_output_shapes if classifies else calculate_linear_regressor_output_shapes
    # An alias of our own: skl2onnx wants one per class, and ours is a class that onnxmltools has never seen.
    update_registered_converter(
        kind, f"Perennial{kind.__name__}", shapes, convert, options=_CLASSIFIER if classifies else None
    )


def with_lightgbm_thresholds(model: Any, rounding: Any) -> Any:
    """A copy of a fitted LightGBM model with every threshold passed through a function of float64 arrays.

    The thresholds are rewritten in the booster's text, LightGBM's own file format, whose tree sizes are left out as
    they are only needed to read it in parallel.
    """
    from lightgbm import Booster

    def rounded(line: re.Match[str]) -> str:
        thresholds = np.array(line[1].split(), dtype=np.float64)
        values = np.where(thresholds == -_ZERO, np.nextafter(-_ZERO, np.float32(-1)), rounding(thresholds))
        return "threshold=" + " ".join(repr(float(value)) for value in values)

    text = re.sub(r"^threshold=(.*)$", rounded, model.booster_.model_to_string(), flags=re.MULTILINE)
    exact = copy.copy(model)
    exact._Booster = Booster(model_str=re.sub(r"^tree_sizes=.*\n", "", text, flags=re.MULTILINE))  # noqa: SLF001
    return exact


def splits_of(model: Any) -> Iterator[tuple[NDArray[np.int64], NDArray[np.float64]]]:
    """Columns and thresholds of the splits of a LightGBM or XGBoost model; nothing for any other."""
    if is_lightgbm(model):
        text = model.booster_.model_to_string()
        columns = re.findall(r"^split_feature=(.*)$", text, flags=re.MULTILINE)
        thresholds = re.findall(r"^threshold=(.*)$", text, flags=re.MULTILINE)
        for column, threshold in zip(columns, thresholds, strict=True):
            yield np.array(column.split(), dtype=np.int64), np.array(threshold.split(), dtype=np.float64)
    elif is_xgboost(model):
        found = model.get_booster().trees_to_dataframe().query("Feature != 'Leaf'")
        yield found["Feature"].str.removeprefix("f").astype(int).to_numpy(), found["Split"].to_numpy(dtype=np.float64)
