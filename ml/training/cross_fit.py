"""Answers to training rows by models that have not seen them."""

from __future__ import annotations

import numpy as np
import pandas as pd

from ml.errors import PerennialError
from ml.training.fit import Answer, answer_of, fit_pipeline
from ml.use_case import UseCase

#: Contiguous parts of the training time; each is answered by a model of the others.
FOLDS = 3


def cross_fit(
    use_case: UseCase, name: str, rows: pd.DataFrame, *, folds: int = FOLDS
) -> tuple[tuple[pd.DataFrame, Answer], ...] | None:
    """Parts of the rows, oldest first, each with a model of the same candidate that was fitted on the other parts.

    A model is far surer of the rows that it was fitted on than of any that are to come, so its answers to them are no
    measure of what is normal for its answers.

    Parameters
    ----------
    rows
        Training rows in order of time.
    folds
        Parts of equal size, 2 or more.

    Returns
    -------
    tuple or None
        None when a model cannot be fitted on the other parts, which may lack a class.

    References
    ----------
    Wolpert (1992), Stacked generalization, Neural Networks 5, section 3: answers of models that have not seen a row.
    """
    found = []
    for part in np.array_split(np.arange(len(rows)), folds):
        others = np.setdiff1d(np.arange(len(rows)), part)
        try:
            pipeline, _ = fit_pipeline(use_case, name, rows.iloc[others])
        except PerennialError:
            return None
        found.append((rows.iloc[part], answer_of(pipeline, use_case)))
    return tuple(found)
