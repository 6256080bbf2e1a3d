"""The label-time contract: a label must not be knowable from its own row, or from an earlier one.

The label of ``t`` speaks of ``t + horizon``. A target that was made by shifting a column in the wrong direction, or by
not shifting it at all, looks learnable as never before, and is worth nothing: the model has learnt to repeat what its
own row says.
"""

from __future__ import annotations

from datetime import timedelta

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ml.records.decision import RuleResult
from ml.records.measure import Estimate, Verdict
from ml.training.block_interval import mean_over_blocks
from ml.training.bounded import keep_above, undecidable
from ml.training.class_names import name_classes
from ml.training.entities import entities_of, value_at
from ml.use_case import UseCase

#: Changes of the column without which nothing is said: a proportion of fewer has an interval as wide as the question.
CHANGES = 10

#: Labels that a column names wrongly, at most, where the label is that column.
ERRORS = 0.001

#: Columns with more values than this are looked at by the leakage check, which cuts them into bins.
VALUES = 20

#: Rows of a class without which a copy is not called one.
ROWS_OF_A_CLASS = 20


def check_label_time(frame: pd.DataFrame, use_case: UseCase, *, source: str) -> tuple[RuleResult, ...]:
    """Two rules on the rows of one source: labels follow the future of their column, and copy no present or past one.

    Returns
    -------
    tuple of RuleResult
        ``label_time_{source}``: share of the rows whose ``baselines.persistence`` column changes within
        ``target.horizon`` for which the label is what the column becomes, not what it is; 1 when the target is that
        column shifted as it should be, 0 when it was shifted in the wrong direction or not at all.
        ``label_copy_{source}``: features whose value in the same row, or ``target.horizon`` earlier, names the label.
    """
    rows = frame[frame["source"] == source].reset_index(drop=True)
    return _check_direction(rows, use_case, source), _check_copies(rows, use_case, source)


def follow_future(rows: pd.DataFrame, use_case: UseCase) -> Estimate:
    """Share of the changes of the persistence column that the label has foreseen, ``[0, 1]``, 1 is right.

    Only rows tell in which the column is another one ``target.horizon`` later: where nothing changes, a label from
    the past and one from the future are the same. A number is foreseen when the label is nearer to what it becomes.
    """
    column = use_case.baselines.persistence
    if column is None:
        return Estimate(value=None, n=0, detail="baselines.persistence names no column that the target could follow")
    if not use_case.target.horizon:
        return Estimate(value=None, n=0, detail="target.horizon is 0: the label speaks of its own moment")
    now, entities = _as_labels(rows[column], use_case), entities_of(rows, use_case)
    later = value_at(rows, now, entities, use_case.target.horizon)
    changed = (now.notna() & later.notna() & rows["label"].notna() & (now != later)).to_numpy()
    if changed.sum() < CHANGES:
        detail = f"{column} changes in {changed.sum()} rows whose future is known; {CHANGES} are needed"
        return Estimate(value=None, n=int(changed.sum()), detail=detail)
    label = rows["label"][changed]
    foreseen = _nearer(label, later[changed], now[changed], numeric=not use_case.target.classes)
    return mean_over_blocks(foreseen, rows["event_time"][changed], block=use_case.gate.block)


def _check_direction(rows: pd.DataFrame, use_case: UseCase, source: str) -> RuleResult:
    found = follow_future(rows, use_case)
    told = f"{found.value:.3f}" if found.value is not None else ""
    detail = (
        f"of {found.n} changes of {use_case.baselines.persistence} within {use_case.target.horizon}, the label is what "
        f"it becomes in a share of {told}; otherwise it is what it was"
    )
    return keep_above(f"label_time_{source}", found, use_case.training.checks.label_time, detail)


def _check_copies(rows: pd.DataFrame, use_case: UseCase, source: str) -> RuleResult:
    name = f"label_copy_{source}"
    counts = rows["label"].value_counts()
    rarest = counts.min() if use_case.target.classes else len(rows)
    if len(counts) < 2 or rarest < ROWS_OF_A_CLASS:
        return undecidable(name, f"fewer than {ROWS_OF_A_CLASS} rows of a class", n=len(rows))
    same = _names if use_case.target.classes else _equals
    copies = [told for told, values in _columns(rows, use_case) if same(values, rows["label"])]
    return RuleResult(
        name=name,
        value=len(copies),
        bound=0,
        n=len(rows),
        verdict=Verdict.FAIL if copies else Verdict.PASS,
        detail=f"the label is {', '.join(copies)}" if copies else "the label is no present or past value of a feature",
    )


def _columns(rows: pd.DataFrame, use_case: UseCase) -> list[tuple[str, pd.Series]]:
    """Features of few values, or numbers, as they are in the row and as they were ``target.horizon`` earlier."""
    few = [name for name in use_case.features if 2 <= rows[name].nunique() <= VALUES]
    few = few if use_case.target.classes else list(use_case.numbers)
    found = [(f"{name} of the same row", rows[name]) for name in few]
    back: timedelta = use_case.target.horizon
    if back:
        entities = entities_of(rows, use_case)
        found += [(f"{name} of {back} earlier", value_at(rows, rows[name], entities, -back)) for name in few]
    return found


def _names(values: pd.Series, label: pd.Series) -> bool:
    """Whether every value stands for one label, but for a few rows; values that are missing are left out."""
    known = values.notna()
    table = pd.crosstab(values[known].astype(str), label[known])
    if table.shape[1] < 2 or table.sum().min() < ROWS_OF_A_CLASS:
        return False
    wrong = table.to_numpy().sum() - table.to_numpy().max(axis=1).sum()
    return bool(wrong <= ERRORS * table.to_numpy().sum())


def _equals(values: pd.Series, label: pd.Series) -> bool:
    """Whether a number is the label, but for a few rows."""
    known = values.notna()
    if known.sum() < ROWS_OF_A_CLASS:
        return False
    wrong = values[known].to_numpy(dtype=np.float64) != label[known].to_numpy(dtype=np.float64)
    return bool(wrong.mean() <= ERRORS)


def _as_labels(values: pd.Series, use_case: UseCase) -> pd.Series:
    """A column's values read as labels: by ``target.classes``, or as the numbers that they are."""
    if not use_case.target.classes:
        return values.astype(object)
    return pd.Series(name_classes(values, use_case.target), index=values.index, dtype=object)


def _nearer(label: pd.Series, later: pd.Series, now: pd.Series, *, numeric: bool) -> NDArray[np.float64]:
    """1 where the label is nearer to the later value than to the present one, 0 where it is not, a half for ties."""
    to_later, to_now = (_distance(label, other, numeric=numeric) for other in (later, now))
    return np.where(to_later < to_now, 1.0, np.where(to_later > to_now, 0.0, 0.5))


def _distance(label: pd.Series, other: pd.Series, *, numeric: bool) -> NDArray[np.float64]:
    if numeric:
        return np.abs(np.asarray(label, dtype=np.float64) - np.asarray(other, dtype=np.float64))
    return np.asarray(label.to_numpy(dtype=object) != other.to_numpy(dtype=object), dtype=np.float64)
