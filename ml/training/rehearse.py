"""A rehearsal of every candidate on made-up rows, so that a wrong one is told before anything is trained."""

from __future__ import annotations

import warnings
from collections.abc import Iterator

import numpy as np
import pandas as pd

from ml.errors import DataError, Problem, UseCaseError
from ml.training.candidates import build_candidate
from ml.training.convert import convert_pipeline
from ml.training.graph import load_graph
from ml.training.inputs import feature_table
from ml.training.tune import with_parameters
from ml.use_case import Feature, UseCase

ROWS = 240


def check_candidates(use_case: UseCase) -> None:
    """Build, fit, convert and run every candidate on made-up rows within the declared ranges.

    Raises
    ------
    UseCaseError
        Candidates that cannot be imported, built, fitted or converted to ONNX, all of them, each with its place in
        the use case file.
    """
    frame = _made_up_rows(use_case)
    problems = tuple(problem for name in use_case.training.candidates for problem in _rehearse(use_case, name, frame))
    if problems:
        raise UseCaseError(f"{use_case.name}.yaml", problems)


def _rehearse(use_case: UseCase, name: str, frame: pd.DataFrame) -> tuple[Problem, ...]:
    place, numbers, categories = f"training.candidates.{name}", use_case.numbers, use_case.categories
    try:
        pipeline = build_candidate(use_case, name)
    except UseCaseError as error:
        return error.problems
    if problems := tuple(_check_space(use_case, name)):
        return problems
    training = use_case.training
    weighted = training.half_life is not None or training.imbalance == "balanced"
    weights = {"model__sample_weight": np.ones(len(frame))} if weighted else {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # made-up rows need not converge
        try:
            pipeline.fit(feature_table(frame, numbers, categories), frame["label"].to_numpy(), **weights)
        except Exception as error:  # foreign estimators raise anything
            return (Problem(f"{place}.parameters", f"cannot be fitted: {_brief(error)}"),)
        try:
            graph = load_graph(convert_pipeline(pipeline, use_case), numbers=numbers, categories=categories)
            graph.answer(frame)
        except DataError as error:
            return (Problem(f"{place}.estimator", f"{error.what}: {error.got}"),)
    return ()


def _check_space(use_case: UseCase, name: str) -> Iterator[Problem]:
    """Parameters of a space that the estimator does not take."""
    candidate = use_case.training.candidates[name]
    for parameter, values in candidate.space.items():
        for value in values:
            try:
                build_candidate(with_parameters(use_case, name, candidate.parameters | {parameter: value}), name)
            except UseCaseError as error:
                yield Problem(f"training.candidates.{name}.space.{parameter}", error.problems[0].message)
                break


def _made_up_rows(use_case: UseCase) -> pd.DataFrame:
    rng = np.random.default_rng(use_case.training.seed)
    columns = {name: _made_up(feature, rng) for name, feature in use_case.features.items()}
    classes = use_case.target.class_names
    labels = rng.normal(size=ROWS) if use_case.regression else [classes[i % len(classes)] for i in range(ROWS)]
    return pd.DataFrame(columns | {"label": labels})


def _made_up(feature: Feature, rng: np.random.Generator) -> pd.Series:
    if feature.type == "category":
        return pd.Series(rng.choice(list(feature.values or ("a", "b", "c")), ROWS), dtype=object)
    if feature.type == "boolean":
        return pd.Series(rng.integers(0, 2, ROWS).astype(np.float64))
    lowest, highest = feature.range or (-1.0, 1.0)
    return pd.Series(rng.uniform(lowest, highest, ROWS))


def _brief(error: Exception) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"
