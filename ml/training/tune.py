"""A search for a candidate's parameters within a budget of seconds and trials, on splits that keep to time."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from sklearn.model_selection import ParameterGrid, ParameterSampler

from ml.errors import PerennialError
from ml.records.decision import CandidateResult
from ml.training.fit import answer_of, fit_pipeline
from ml.training.loss import LOSSES
from ml.training.time_folds import time_folds
from ml.use_case import UseCase

Parameters = dict[str, Any]


@dataclass(frozen=True)
class Tuned:
    """What a search has found.

    Attributes
    ----------
    parameters
        The candidate's own with the best of its space.
    trials, of
        Settings that were tried before the budget ended, of so many.
    losses
        Mean loss of each setting that was tried, in order; None where it could not be fitted.
    """

    parameters: Parameters
    trials: int
    of: int
    losses: tuple[float | None, ...]


def tune(use_case: UseCase, name: str, rows: pd.DataFrame) -> Tuned:
    """Parameters with the lowest mean loss over the splits of :func:`ml.training.time_folds.time_folds`.

    The candidate's own parameters are tried first; the others come from its space, all of them where they fit into
    ``training.tuning.trials``, else a sample that ``training.seed`` draws. The same rows and as many trials give the
    same answer; a machine that is too slow for the budget in seconds tries fewer, and the record says how many.

    Parameters
    ----------
    rows
        Fit rows in order of time; the validation rows stay out of the search.

    References
    ----------
    Bergstra and Bengio (2012), Random search for hyper-parameter optimization, JMLR 13.
    """
    own = use_case.training.candidates[name].parameters
    settings = list(_settings(use_case, name))
    folds = time_folds(rows, use_case)
    deadline = time.monotonic() + use_case.training.tuning.seconds
    losses: list[float | None] = []
    for setting in settings if folds else []:
        if losses and time.monotonic() > deadline:
            break
        losses.append(_cross_loss(with_parameters(use_case, name, setting), name, rows, folds))
    known = [(loss, i) for i, loss in enumerate(losses) if loss is not None]
    best = settings[min(known)[1]] if known else own
    return Tuned(best, len(losses), len(settings), tuple(losses))


def with_parameters(use_case: UseCase, name: str, parameters: Parameters) -> UseCase:
    """The use case with a candidate's parameters replaced and nothing left to search for."""
    candidate = use_case.training.candidates[name].model_copy(update={"parameters": parameters, "space": {}})
    candidates = use_case.training.candidates | {name: candidate}
    return use_case.model_copy(update={"training": use_case.training.model_copy(update={"candidates": candidates})})


def with_calibration(use_case: UseCase, method: str) -> UseCase:
    """The use case with calibration switched to a method, or to ``none``."""
    return use_case.model_copy(update={"training": use_case.training.model_copy(update={"calibration": method})})


def settled(use_case: UseCase, result: CandidateResult) -> UseCase:
    """The use case as a candidate's trial has settled it: its parameters, and calibration where that helped."""
    if result.parameters is not None:
        own = use_case.training.candidates[result.name].parameters
        use_case = with_parameters(use_case, result.name, own | result.parameters)
    return with_calibration(use_case, use_case.training.calibration if result.calibrated else "none")


def _settings(use_case: UseCase, name: str) -> Iterator[Parameters]:
    candidate, tuning = use_case.training.candidates[name], use_case.training.tuning
    yield dict(candidate.parameters)
    grid = ParameterGrid(candidate.space)
    whole = len(grid) < tuning.trials
    drawn = grid if whole else ParameterSampler(candidate.space, tuning.trials - 1, random_state=use_case.training.seed)
    for setting in drawn if candidate.space and (whole or tuning.trials > 1) else ():
        if candidate.parameters | setting != candidate.parameters:
            yield candidate.parameters | setting


def _cross_loss(use_case: UseCase, name: str, rows: pd.DataFrame, folds: Any) -> float | None:
    """Mean loss over the rows of all splits; None where a model cannot be fitted."""
    plain = with_calibration(use_case, "none")
    losses = []
    for learnt, asked in folds:
        try:
            pipeline, _ = fit_pipeline(plain, name, rows.iloc[learnt])
        except PerennialError:
            return None
        told = answer_of(pipeline, use_case)(rows.iloc[asked])
        labels = rows["label"].iloc[asked].to_numpy()
        losses.append(LOSSES[use_case.gate.metric](labels, told, use_case.answers))
    return float(np.concatenate(losses).mean())
