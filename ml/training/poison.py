"""The poisoning screen: blocks of new rows that an honest source would hardly have sent.

Three looks at each block, none of which a mere change of the weather passes for an attack:

* **flipped labels**: how much better the block is explained by so and so many labels flipped at random than by none,
  by models that have learnt from all other blocks, the new ones included, so that a new season is no surprise;
* **harm**: whether learning from the block raises the loss on trusted data by more than a bound;
* **conflicts**: whether many of its rows were told two labels.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from ml.errors import PerennialError
from ml.training.block_interval import mean_over_blocks
from ml.training.fit import answer_of, fit_pipeline
from ml.training.loss import log_loss_rows
from ml.use_case import UseCase
from ml.use_case.schema import Candidate

Floats = NDArray[np.float64]

#: Shares of flipped labels that are held against none, each as likely as the others.
FLIPPED = np.array([0.05, 0.1, 0.2, 0.4, 0.8])
#: Parts of the blocks, each answered by models of the others.
FOLDS = 7
#: Trusted rows without which the screen has nothing to measure by.
TRUSTED_ROWS = 200
#: Conflicting rows below which a block is not put aside for them: people correct a label now and then.
CONFLICTING_ROWS = 5
#: No answer counts as surer than this: a model's certainty is not evidence of that strength.
_SMALLEST = 1e-3
_RARELY = 0.99  # of trusted blocks, whose evidence raises the bound where honest labels are that noisy

#: A straight and a stepwise model, so that neither's blindness makes an honest block look odd.
_MODELS = {
    "straight": Candidate(estimator="logistic_regression"),
    "stepwise": Candidate(
        estimator="hist_gradient_boosting", parameters={"max_leaf_nodes": 8, "min_samples_leaf": 20, "max_iter": 60}
    ),
}


@dataclass(frozen=True)
class BlockScreen:
    """What the screen found of one block of new rows.

    Attributes
    ----------
    evidence
        Log likelihood ratio of flipped labels against honest ones, nats; above 0 flips explain the block better.
    harm
        Lower end of the 90 % interval of the relative rise of the loss on trusted rows.
    conflicts
        Rows that were told two labels.
    reasons
        Of a suspicious block; empty where it passes.
    """

    block: str
    rows: int
    evidence: float
    harm: float
    conflicts: int
    reasons: tuple[str, ...]


def name_blocks(rows: pd.DataFrame, use_case: UseCase) -> pd.Series:
    """Block of each row: the start of its piece of time, and who told its label where ``told_by`` knows one.

    Examples
    --------
    A row of 7 April whose label came from ``station`` is of block ``2013-04-07/station``.
    """
    starts = rows["event_time"].dt.floor(use_case.training.poison.block)
    form = "%Y-%m-%d" if not (use_case.training.poison.block % pd.Timedelta(days=1)) else "%Y-%m-%dT%H:%M:%S"
    names: pd.Series = starts.dt.strftime(form).astype(object)
    if "told_by" in rows.columns:
        known = rows["told_by"].notna() & ~rows["told_by"].isin(["", "client"])
        names = names.mask(known, names + "/" + rows["told_by"].astype(str))
    return names


def screen_blocks(rows: pd.DataFrame, new: NDArray[np.bool_], use_case: UseCase) -> tuple[BlockScreen, ...]:
    """Every block of the new rows with what the screen found of it.

    Parameters
    ----------
    rows
        Labelled rows: ``event_time``, the features, ``label``; ``told_by`` and ``conflict`` where they are known.
    new
        Which of them were never trained on; the others are trusted.

    Returns
    -------
    tuple of BlockScreen
        In order of names. With fewer than :data:`TRUSTED_ROWS` trusted rows, a class that they lack, or a number to
        predict, only conflicts are looked at.

    References
    ----------
    Nelson et al. (2008), Exploiting machine learning to subvert your spam filter, LEET, section 5.1: reject on
    negative impact. Barreno et al. (2010), The security of machine learning, Machine Learning 81, section 5.
    Steinhardt et al. (2017), Certified defenses for data poisoning attacks, NIPS 30: outliers are judged against data
    that is trusted. Angluin and Laird (1988), Learning from noisy examples, Machine Learning 2: flips as a mixture.
    """
    order = np.argsort(rows["event_time"].to_numpy(), kind="stable")
    rows, new = rows.iloc[order].reset_index(drop=True), new[order]
    if not new.any():
        return ()
    blocks = name_blocks(rows, use_case)
    evidence: dict[str, float] = {}
    harm: dict[str, float] = {}
    bound = use_case.training.poison.evidence
    if use_case.target.classes and _can_be_trusted(rows[~new], use_case):
        with threadpool_limits(1):  # many small fits: threads that wait for each other cost more than they bring
            evidence, bound = _weigh_labels(rows, blocks, new, use_case)
            harm = measure_harm(rows, blocks, new, use_case)
    found = []
    for name, group in rows[new].groupby(blocks[new].to_numpy()):
        conflicts = int(group["conflict"].sum()) if "conflict" in group.columns else 0
        numbers = (evidence.get(str(name), 0.0), harm.get(str(name), 0.0), conflicts)
        reasons = _reasons(numbers, len(group), bound, use_case)
        found.append(BlockScreen(str(name), len(group), *numbers, reasons))
    return tuple(found)


def flip_evidence(given: Floats, classes: int) -> float:
    """Log likelihood ratio of labels flipped at random against honest ones, nats.

    Parameters
    ----------
    given
        Probability of each row's label by models that have not seen it, of shape ``(n_rows,)``.

    Notes
    -----
    With share ``f`` of labels replaced by any other class, a label of probability ``p`` has probability
    ``(1 - f) p + f (1 - p) / (classes - 1)``; the likelihood is the mean over the shares :data:`FLIPPED`. Were the
    probabilities right and the rows independent, honest blocks would exceed ``log(1 / a)`` at most with probability
    ``a`` (Ville).

    Examples
    --------
    >>> flip_evidence(np.full(50, 0.99), 2) < 0 < flip_evidence(np.array([0.99] * 45 + [0.001] * 5), 2)
    True
    """
    flipped = (1 - FLIPPED) * given[:, None] + FLIPPED * (1 - given[:, None]) / (classes - 1)
    ratios = (np.log(flipped) - np.log(given[:, None])).sum(axis=0)
    return float(np.logaddexp.reduce(ratios) - np.log(len(FLIPPED)))


def measure_harm(rows: pd.DataFrame, blocks: pd.Series, new: NDArray[np.bool_], use_case: UseCase) -> dict[str, float]:
    """Relative rise of the loss on trusted rows by learning from each new block, the low end of its interval.

    A straight model learns from two of three trusted blocks, without and with the new block, and answers the third.
    """
    trusted = pd.factorize(blocks[~new])[0] % 3 == 0
    learnt, judged = rows[~new][~trusted], rows[~new][trusted]
    variant = _with_models(use_case)
    classes = use_case.target.class_names
    labels = judged["label"].to_numpy()

    def losses(learning: pd.DataFrame) -> Floats:
        pipeline, _ = fit_pipeline(variant, "straight", learning)
        return log_loss_rows(labels, answer_of(pipeline, use_case)(judged), classes)

    try:
        before = losses(learnt)
    except PerennialError:
        return {}  # a third of the trusted rows lacks a class
    found = {}
    for name, group in rows[new].groupby(blocks[new].to_numpy()):
        rise = (losses(pd.concat([learnt, group], ignore_index=True)) - before) / max(before.mean(), _SMALLEST)
        estimate = mean_over_blocks(rise, judged["event_time"], block=use_case.gate.block)
        found[str(name)] = estimate.low if estimate.low is not None else 0.0
    return found


def _weigh_labels(
    rows: pd.DataFrame, blocks: pd.Series, new: NDArray[np.bool_], use_case: UseCase
) -> tuple[dict[str, float], float]:
    """Evidence of flips by new block, and the bound: the file's, or what trusted blocks reach by themselves."""
    given = _cross_answers(rows, blocks, use_case)
    count = len(use_case.target.class_names)
    by_block = {
        kind: {str(name): flip_evidence(given[index], count) for name, index in _groups(blocks, part).items()}
        for kind, part in (("new", new), ("trusted", ~new))
    }
    usual = float(np.quantile(list(by_block["trusted"].values()), _RARELY))
    return by_block["new"], max(use_case.training.poison.evidence, usual)


def _cross_answers(rows: pd.DataFrame, blocks: pd.Series, use_case: UseCase) -> Floats:
    """Probability of each row's label, mean of the models, none of which has seen the row's block."""
    variant, classes = _with_models(use_case), list(use_case.target.class_names)
    folds = pd.factorize(blocks)[0] % FOLDS
    hit = np.array([classes.index(label) for label in rows["label"]])
    given = np.zeros(len(rows))
    for fold in np.unique(folds):
        out = folds == fold
        for name in _MODELS:
            pipeline, _ = fit_pipeline(variant, name, rows[~out])
            given[out] += answer_of(pipeline, use_case)(rows[out])[np.arange(out.sum()), hit[out]] / len(_MODELS)
    return np.clip(given, _SMALLEST, 1 - _SMALLEST)


def _groups(blocks: pd.Series, part: NDArray[np.bool_]) -> dict[str, NDArray[np.int64]]:
    where = np.flatnonzero(part)
    names, number = np.unique(blocks.to_numpy(dtype=str)[where], return_inverse=True)
    return {str(name): where[number == i] for i, name in enumerate(names)}


def _can_be_trusted(rows: pd.DataFrame, use_case: UseCase) -> bool:
    """Whether there are enough trusted rows, every class in each part of them."""
    names: Sequence[str] = use_case.target.class_names
    return len(rows) >= TRUSTED_ROWS and all((rows["label"] == name).sum() >= FOLDS for name in names)


def _with_models(use_case: UseCase) -> UseCase:
    training = use_case.training.model_copy(update={"candidates": _MODELS})
    return use_case.model_copy(update={"training": training})


def _reasons(numbers: tuple[float, float, int], rows: int, bound: float, use_case: UseCase) -> tuple[str, ...]:
    evidence, harm, conflicts = numbers
    options = use_case.training.poison
    found = []
    if evidence > bound:
        found.append(f"flipped labels explain it better by {evidence:.1f} nats, at most {bound:.1f} are usual")
    if harm > options.harm:
        found.append(f"learning from it raises the loss on trusted rows by {harm:.1%}; {options.harm:.1%} may be")
    if conflicts >= CONFLICTING_ROWS and conflicts > options.conflicts * rows:
        found.append(f"{conflicts} of {rows} rows were told two labels, at most {options.conflicts:.0%} are usual")
    return tuple(found)
