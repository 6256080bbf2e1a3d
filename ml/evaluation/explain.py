"""Why the packaged model answers as it does: SHAP values of the very graph that serves."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ml.evaluation.predict import load_packaged
from ml.evaluation.shapley import Inputs, Shapley, shapley_values
from ml.records.explanation import Unit
from ml.training.graph import Graph
from ml.training.inputs import feature_table, graph_inputs
from ml.training.parts import rows_of
from ml.use_case import UseCase

#: Rows of the training data that stand for "not known".
BACKGROUND_ROWS = 100


def explain(
    folder: Path,
    frame: pd.DataFrame,
    background: pd.DataFrame,
    use_case: UseCase,
    *,
    log_odds: bool = False,
    seed: int = 0,
) -> Shapley:
    """SHAP values of a packaged model's answers to rows, in the order of ``use_case.answers``.

    Parameters
    ----------
    folder
        Holds ``model.onnx`` and ``package.json``.
    frame, background
        Have the model's feature columns: numbers with NaN for missing, categories with None.
    log_odds
        Of the probabilities, instead of the probabilities; not of a regression.

    Raises
    ------
    DataError
        As :func:`ml.evaluation.predict.predict`.
    """
    graph = load_packaged(folder, use_case)
    tables = (feature_table(rows, graph.numbers, graph.categories) for rows in (frame, background))
    rows, reference = (graph_inputs(table, graph.numbers, graph.categories) for table in tables)
    return explain_inputs(graph, rows, reference, use_case, log_odds=log_odds, seed=seed)


def explain_inputs(
    graph: Graph, rows: Inputs, background: Inputs, use_case: UseCase, *, log_odds: bool = False, seed: int = 0
) -> Shapley:
    """The same of rows that are what the graph takes already."""
    unit: Unit = "value" if use_case.regression else "log_odds" if log_odds else "probability"

    def ask(inputs: Inputs) -> NDArray[Any]:
        return graph.ask(inputs)[1]

    features = (*graph.numbers, *graph.categories)
    return shapley_values(ask, rows, background, features=features, answers=use_case.answers, unit=unit, seed=seed)


def choose_background(frame: pd.DataFrame, *, n: int = BACKGROUND_ROWS, seed: int = 0) -> pd.DataFrame:
    """Rows that a model was fitted on, drawn without replacement, in order of time; all of them where there are fewer.

    Parameters
    ----------
    frame
        A version of the training data, with ``part``.
    """
    fitted = rows_of(frame, "fit", "validation")
    if len(fitted) <= n:
        return fitted.reset_index(drop=True)
    chosen = np.random.default_rng(seed).choice(len(fitted), size=n, replace=False)
    return fitted.iloc[np.sort(chosen)].reset_index(drop=True)
