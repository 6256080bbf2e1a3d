"""The poisoning screen: blocks of new rows that an honest source would hardly have sent.

Three looks at each block, none of which a mere change of the weather passes for an attack:

* **lies**: how much better the block is explained by so and so many labels flipped, or numbers replaced, at random than
  by none, by models that have learnt from all other blocks, the new ones included, so that a new season is no surprise;
* **harm**: whether learning from the block raises the loss on trusted data by more than a bound;
* **conflicts**: whether many of its rows were told two labels.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import stats
from threadpoolctl import threadpool_limits

from ml.errors import PerennialError
from ml.training.block_interval import mean_over_blocks
from ml.training.fit import answer_of, fit_pipeline
from ml.training.label_evidence import FOLDS, STRAIGHT, weigh_labels, with_judges
from ml.training.loss import LOSSES, Loss, log_loss_rows
from ml.use_case import UseCase

Floats = NDArray[np.float64]

#: Trusted rows without which the screen has nothing to measure by.
TRUSTED_ROWS = 200
#: Conflicting rows below which a block is not put aside for them: people correct a label now and then.
CONFLICTING_ROWS = 5


@dataclass(frozen=True)
class BlockScreen:
    """What the screen found of one block of new rows.

    Attributes
    ----------
    evidence
        Log likelihood ratio of flipped or replaced labels against honest ones, nats; above 0 they explain it better.
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
        In order of names. With fewer than :data:`TRUSTED_ROWS` trusted rows, a class that they lack, or numbers most of
        which are the same, only conflicts are looked at.

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
    if _can_be_trusted(rows[~new], use_case):
        with threadpool_limits(1):  # many small fits: threads that wait for each other cost more than they bring
            evidence, bound = weigh_labels(rows, blocks, new, use_case)
            harm = measure_harm(rows, blocks, new, use_case)
    found = []
    for name, group in rows[new].groupby(blocks[new].to_numpy()):
        conflicts = int(group["conflict"].sum()) if "conflict" in group.columns else 0
        numbers = (evidence.get(str(name), 0.0), harm.get(str(name), 0.0), conflicts)
        reasons = _reasons(numbers, len(group), bound, use_case)
        found.append(BlockScreen(str(name), len(group), *numbers, reasons))
    return tuple(found)


def measure_harm(rows: pd.DataFrame, blocks: pd.Series, new: NDArray[np.bool_], use_case: UseCase) -> dict[str, float]:
    """Relative rise of the loss on trusted rows by learning from each new block, the low end of its interval.

    A straight model learns from two of three trusted blocks, without and with the new block, and answers the third.
    """
    trusted = pd.factorize(blocks[~new])[0] % 3 == 0
    learnt, judged = rows[~new][~trusted], rows[~new][trusted]
    variant, loss = with_judges(use_case), _loss(use_case)
    labels = judged["label"].to_numpy(dtype=np.float64 if use_case.regression else object)

    def losses(learning: pd.DataFrame) -> Floats:
        pipeline, _ = fit_pipeline(variant, STRAIGHT, learning)
        return loss(labels, answer_of(pipeline, use_case)(judged), use_case.answers)

    try:
        before = losses(learnt)
    except PerennialError:
        return {}  # a third of the trusted rows lacks a class
    usual = before.mean() or 1.0
    found = {}
    for name, group in rows[new].groupby(blocks[new].to_numpy()):
        rise = (losses(pd.concat([learnt, group], ignore_index=True)) - before) / usual
        estimate = mean_over_blocks(rise, judged["event_time"], block=use_case.gate.block)
        found[str(name)] = estimate.low if estimate.low is not None else 0.0
    return found


def _can_be_trusted(rows: pd.DataFrame, use_case: UseCase) -> bool:
    """Whether there are enough trusted rows: every class in each part of them, or numbers that differ."""
    if use_case.regression:
        return len(rows) >= TRUSTED_ROWS and bool(stats.median_abs_deviation(rows["label"].astype(float)) > 0)
    names: Sequence[str] = use_case.target.class_names
    return len(rows) >= TRUSTED_ROWS and all((rows["label"] == name).sum() >= FOLDS for name in names)


def _loss(use_case: UseCase) -> Loss:
    """What a lie costs: the gate's own metric of numbers; of classes the one that sees every probability."""
    return LOSSES[use_case.gate.metric] if use_case.regression else log_loss_rows


def _reasons(numbers: tuple[float, float, int], rows: int, bound: float, use_case: UseCase) -> tuple[str, ...]:
    evidence, harm, conflicts = numbers
    options = use_case.training.poison
    found = []
    if evidence > bound:
        lies = "replaced" if use_case.regression else "flipped"
        found.append(f"{lies} labels explain it better by {evidence:.1f} nats, at most {bound:.1f} are usual")
    if harm > options.harm:
        found.append(f"learning from it raises the loss on trusted rows by {harm:.1%}; {options.harm:.1%} may be")
    if conflicts >= CONFLICTING_ROWS and conflicts > options.conflicts * rows:
        found.append(f"{conflicts} of {rows} rows were told two labels, at most {options.conflicts:.0%} are usual")
    return tuple(found)
