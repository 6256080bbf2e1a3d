"""What the training rows of a new model look like, to it and by themselves: the reference for live data."""

from __future__ import annotations

import numpy as np
import pandas as pd

from ml.drift.answers import Answer, with_answers
from ml.drift.columns import kinds_of
from ml.drift.profile import build_profile
from ml.drift.reference import build_reference
from ml.records.profile import ReferenceProfile
from ml.training.cross_fit import cross_fit
from ml.training.error_model import fit_error_model
from ml.training.influence import measure_influence
from ml.use_case import UseCase


def describe_training(
    use_case: UseCase, candidate: str, trained: pd.DataFrame, answer: Answer, *, fingerprint: str
) -> ReferenceProfile:
    """Reference profile of a model: its training rows, what models like it answer to them unseen, and influences.

    Parameters
    ----------
    candidate
        That the model is an instance of.
    trained
        Rows that it was fitted on, in order of time.
    answer
        The model.

    Returns
    -------
    ReferenceProfile
        Without columns of answers where :func:`ml.training.cross_fit.cross_fit` finds too little to fit on.

    Raises
    ------
    DataError
        There are no rows, or a row has no event time.
    """
    rng = np.random.default_rng(use_case.training.seed)
    influence = measure_influence(answer, trained, tuple(use_case.features), rng=rng)
    described = trained
    parts = cross_fit(use_case, candidate, trained)
    if parts:
        typical = build_profile(trained, kinds_of(use_case))
        described = pd.concat([with_answers(rows, model, use_case, typical) for rows, model in parts])
    built = build_reference(described, use_case, fingerprint=fingerprint, influence=influence)
    if not (use_case.regression and parts):
        return built
    answers = np.concatenate([model(rows) for rows, model in parts])
    return built.model_copy(update={"errors": fit_error_model(trained, answers, use_case)})
