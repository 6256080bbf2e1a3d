"""How much better a block's labels are explained by lies among them than by none."""

from __future__ import annotations

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import stats

from ml.training.fit import answer_of, fit_pipeline
from ml.use_case import UseCase
from ml.use_case.training_options import Candidate

Floats = NDArray[np.float64]

#: Shares of flipped labels that are held against none, each as likely as the others.
FLIPPED = np.array([0.05, 0.1, 0.2, 0.4, 0.8])
#: Parts of the blocks, each answered by models of the others.
FOLDS = 7
#: No answer counts as surer than this: a model's certainty is not evidence of that strength.
_SMALLEST = 1e-3
#: Of trusted blocks, whose evidence raises the bound where honest labels are that noisy.
_RARELY = 0.99
#: Degrees of freedom of honest errors of a number: heavy tails, so that an outlier or two are no lie.
_FREEDOM = 4
#: Honest errors spread by no less than this share of the labels' own spread.
_SHARPEST = 1e-6

#: A straight and a stepwise model, so that neither's blindness makes an honest block look odd.
_STEPWISE = Candidate(
    estimator="hist_gradient_boosting", parameters={"max_leaf_nodes": 8, "min_samples_leaf": 20, "max_iter": 60}
)
STRAIGHT = "straight"


def with_judges(use_case: UseCase) -> UseCase:
    """The use case with the models that judge labels as its candidates."""
    line = Candidate(estimator="ridge" if use_case.regression else "logistic_regression")
    training = use_case.training.model_copy(update={"candidates": {STRAIGHT: line, "stepwise": _STEPWISE}})
    return use_case.model_copy(update={"training": training})


def weigh_labels(
    rows: pd.DataFrame, blocks: pd.Series, new: NDArray[np.bool_], use_case: UseCase
) -> tuple[dict[str, float], float]:
    """Evidence of lies by new block, and the bound: the file's, or what trusted blocks reach by themselves, nats.

    Parameters
    ----------
    rows
        Labelled rows in order of time.
    blocks
        Name of each row's block.
    new
        Which rows were never trained on.
    """
    odds = _odds_of_numbers(rows, blocks, new, use_case) if use_case.regression else _odds(rows, blocks, use_case)
    by_block = {
        kind: {str(name): lie_evidence(odds[index]) for name, index in _groups(blocks, part).items()}
        for kind, part in (("new", new), ("trusted", ~new))
    }
    usual = float(np.quantile(list(by_block["trusted"].values()), _RARELY))
    return by_block["new"], max(use_case.training.poison.evidence, usual)


def lie_evidence(odds: Floats) -> float:
    """Log likelihood ratio of a share of lies among the labels against none, nats.

    Parameters
    ----------
    odds
        Of each row, how much likelier its label is as a lie than as the truth, of shape ``(n_rows,)``.

    Notes
    -----
    With a share ``f`` of lies, a label is ``1 - f + f * odds`` times as likely as without; the likelihood is the mean
    over the shares :data:`FLIPPED`. Were the odds right and the rows independent, honest blocks would exceed
    ``log(1 / a)`` at most with probability ``a`` (Ville).

    Examples
    --------
    >>> lie_evidence(np.full(50, 0.01)) < 0 < lie_evidence(np.array([0.01] * 45 + [999.0] * 5))
    True
    """
    ratios = np.log(1 - FLIPPED + FLIPPED * odds[:, None]).sum(axis=0)
    return float(np.logaddexp.reduce(ratios) - np.log(len(FLIPPED)))


def odds_of_classes(given: Floats, classes: int) -> Floats:
    """Odds of a label replaced by any other class, from the probability of each row's label, shape ``(n_rows,)``."""
    odds: Floats = (1 - given) / (classes - 1) / given
    return odds


def odds_of_residuals(residuals: Floats, labels: Floats, trusted: NDArray[np.bool_]) -> Floats:
    """Odds of a number drawn from all labels against the model's answer with an honest error, shape ``(n_rows,)``.

    Both densities are Student's with 4 degrees of freedom, with the median absolute deviation of trusted rows as
    their scale: an honest outlier costs little, and lies among new rows cannot widen what is honest.

    Parameters
    ----------
    residuals
        Labels less answers by models that have not seen the row.
    trusted
        Rows that the scales are measured on.
    """
    centre, spread = float(np.median(labels[trusted])), _spread(labels[trusted])
    sharp = max(_spread(residuals[trusted]), _SHARPEST * spread)
    honest = stats.t.pdf(residuals / sharp, _FREEDOM) / sharp
    drawn = stats.t.pdf((labels - centre) / spread, _FREEDOM) / spread
    found: Floats = np.clip(drawn / honest, _SMALLEST, 1 / _SMALLEST)
    return found


def _spread(values: Floats) -> float:
    """Scale of a Student distribution with the values' median absolute deviation."""
    return float(stats.median_abs_deviation(values) / stats.t.ppf(0.75, _FREEDOM))


def _odds(rows: pd.DataFrame, blocks: pd.Series, use_case: UseCase) -> Floats:
    classes = list(use_case.target.class_names)
    hit = np.array([classes.index(label) for label in rows["label"]])
    given = _cross_answers(rows, blocks, use_case)[np.arange(len(rows)), hit]
    return odds_of_classes(np.clip(given, _SMALLEST, 1 - _SMALLEST), len(classes))


def _odds_of_numbers(rows: pd.DataFrame, blocks: pd.Series, new: NDArray[np.bool_], use_case: UseCase) -> Floats:
    labels = rows["label"].to_numpy(dtype=np.float64)
    return odds_of_residuals(labels - _cross_answers(rows, blocks, use_case)[:, 0], labels, ~new)


def _cross_answers(rows: pd.DataFrame, blocks: pd.Series, use_case: UseCase) -> Floats:
    """Mean answer of the judges, none of which has seen the row's block, shape ``(n_rows, n_answers)``."""
    judges = with_judges(use_case)
    folds = pd.factorize(blocks)[0] % FOLDS
    found = np.zeros((len(rows), len(use_case.answers)))
    for fold in np.unique(folds):
        out = folds == fold
        for name in judges.training.candidates:
            pipeline, _ = fit_pipeline(judges, name, rows[~out])
            found[out] += answer_of(pipeline, use_case)(rows[out]) / len(judges.training.candidates)
    return found


def _groups(blocks: pd.Series, part: NDArray[np.bool_]) -> dict[str, NDArray[np.int64]]:
    where = np.flatnonzero(part)
    names, number = np.unique(blocks.to_numpy(dtype=str)[where], return_inverse=True)
    return {str(name): where[number == i] for i, name in enumerate(names)}
