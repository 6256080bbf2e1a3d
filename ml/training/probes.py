"""Rows that ask a graph the questions that tell: missing values, and numbers right at the splits of its trees."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from sklearn.pipeline import Pipeline

from ml.training.boosters import splits_of
from ml.training.convert import floor_to_float32
from ml.use_case import UseCase


def gap_rows(frame: pd.DataFrame, use_case: UseCase, *, per_feature: int) -> pd.DataFrame:
    """Rows of the frame, so many per nullable feature, each without that feature's value; an unknown category, too."""
    chosen = []
    for name, feature in use_case.features.items():
        missing: float | str | None = None if feature.type == "category" else np.nan
        replacements = [missing] if feature.nullable else []
        replacements += ["\N{REPLACEMENT CHARACTER} no such category"] if feature.type == "category" else []
        for value in replacements:
            rows = frame.iloc[spread(len(frame), per_feature)]
            chosen.append(
                rows.assign(**{name: pd.Series([value] * len(rows), index=rows.index, dtype=rows[name].dtype)})
            )
    return pd.concat(chosen, ignore_index=True) if chosen else frame.iloc[:0]


def boundary_rows(pipeline: Pipeline, frame: pd.DataFrame, use_case: UseCase, *, limit: int) -> pd.DataFrame:
    """Rows of the frame moved to a split of the pipeline's trees: the float32 at or below it, and its neighbours.

    Parameters
    ----------
    pipeline
        Fitted. Without trees there are no such rows.
    limit
        Rows at most; splits are taken evenly over all of them.
    """
    numbers = use_case.numbers
    splits = np.array(sorted(_splits(pipeline, len(numbers))), dtype=np.float64).reshape(-1, 2)
    splits = splits[spread(len(splits), limit // 3)]
    base = frame.iloc[np.arange(3 * len(splits)) % len(frame)].reset_index(drop=True)
    at = floor_to_float32(splits[:, 1]).astype(np.float32)
    values = np.concatenate([at, np.nextafter(at, np.float32(np.inf)), np.nextafter(at, np.float32(-np.inf))])
    moved = np.tile(splits[:, 0].astype(int), 3)
    for position, name in enumerate(numbers):
        rows = moved == position
        base.loc[rows, name] = values[rows].astype(np.float64)
    return base


def spread(length: int, count: int) -> NDArray[np.int64]:
    """Positions spread evenly over a length, first and last included, at most ``count`` of them.

    Examples
    --------
    >>> spread(100, 3).tolist(), spread(2, 5).tolist()
    ([0, 50, 99], [0, 1])
    """
    return (
        np.unique(np.linspace(0, length - 1, min(length, count)).round().astype(np.int64)) if length else np.arange(0)
    )


def _splits(pipeline: Pipeline, numbers: int) -> set[tuple[int, float]]:
    """Number and threshold of every split on a number, in the number's own unit."""
    prepare = pipeline[0].named_transformers_.get("numbers")
    scaler = getattr(prepare, "named_steps", {}).get("scale")
    found = set()
    for columns, thresholds in _trees(pipeline[-1]):
        kept = (columns >= 0) & (columns < numbers)
        column, threshold = columns[kept], thresholds[kept]
        if scaler is not None:
            threshold = threshold * scaler.scale_[column] + scaler.mean_[column]
        found |= set(zip(column.tolist(), threshold.tolist(), strict=True))
    return found


def _trees(model: Any) -> Iterator[tuple[NDArray[Any], NDArray[Any]]]:
    """Split columns and thresholds of every tree inside a scikit-learn model; leaves have column -1 or lower."""
    if hasattr(model, "tree_"):
        yield model.tree_.feature, model.tree_.threshold
    for inner in np.ravel(np.array(getattr(model, "estimators_", ()), dtype=object)):
        yield from _trees(inner)
    for inner in getattr(model, "calibrated_classifiers_", ()):
        yield from _trees(inner.estimator)
    yield from splits_of(model)
    for tree in (tree for trees in getattr(model, "_predictors", ()) for tree in trees):
        inside = tree.nodes["is_leaf"] == 0
        yield tree.nodes["feature_idx"][inside], tree.nodes["num_threshold"][inside]
