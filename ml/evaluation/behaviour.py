"""What a model does with rows that people made: golden rows, and rows that were changed in a known way."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ml.use_case import UseCase
from ml.use_case.gate_options import Behaviour, GoldenRow, Value

Floats = NDArray[np.float64]
Answer = Callable[[pd.DataFrame], Floats]


@dataclass(frozen=True)
class Told:
    """A model's answer to one golden row: probability of the expected class, or distance from the number."""

    name: str
    value: float
    bound: float
    holds: bool
    detail: str


@dataclass(frozen=True)
class Behaved:
    """How a model's answers moved when rows were changed.

    Attributes
    ----------
    holds
        Per row whether it moved as expected, of shape ``(n_rows,)``.
    moved
        By how much, in probability or the target's unit.
    ids
        Of the rows.
    """

    name: str
    holds: NDArray[np.bool_]
    moved: Floats
    ids: NDArray[np.object_]
    share: float
    detail: str


def ask_golden_rows(answer: Answer, use_case: UseCase) -> tuple[Told, ...]:
    """Answers to ``gate.golden``, in its order (Ribeiro et al. 2020: minimum functionality).

    References
    ----------
    Ribeiro, Wu, Guestrin and Singh (2020), Beyond accuracy: behavioral testing of NLP models with CheckList, ACL,
    section 2.2.
    """
    asked = use_case.gate.golden
    if not asked:
        return ()
    rows = pd.DataFrame(
        [{name: _cell(use_case, name, golden.row.get(name)) for name in use_case.features} for golden in asked]
    )
    answers = answer(rows)
    return tuple(_tell(golden, told, use_case) for golden, told in zip(asked, answers, strict=True))


def try_behaviour(answer: Answer, rows: pd.DataFrame, use_case: UseCase) -> tuple[Behaved, ...]:
    """How answers move under each change of ``gate.behaviour`` (Ribeiro et al. 2020: invariance and direction).

    Rows in which a change changes nothing, or would leave the feature's declared range, are left out.
    """
    if not use_case.gate.behaviour or rows.empty:
        return ()
    before = answer(rows)
    return tuple(_try(asked, answer, rows, before, use_case) for asked in use_case.gate.behaviour)


def _try(asked: Behaviour, answer: Answer, rows: pd.DataFrame, before: Floats, use_case: UseCase) -> Behaved:
    changed = rows.copy()
    for name, put in asked.put.items():
        changed[name] = _cell(use_case, name, put)
        changed[name] = changed[name].astype(rows[name].dtype)
    for name, step in asked.add.items():
        changed[name] = rows[name].astype(np.float64) + step
    touched = _touched(asked, rows, changed, use_case)
    column = 0 if use_case.regression else use_case.answers.index(asked.of or str(use_case.target.positive))
    moved = np.zeros(0)
    if touched.any():
        moved = answer(changed[touched])[:, column] - before[touched, column]
    holds = {
        "same": np.abs(moved) <= asked.tolerance,
        "rises": moved >= -asked.tolerance,
        "falls": moved <= asked.tolerance,
    }[asked.expect]
    steps = (
        *(f"{name} {value:+g}" for name, value in asked.add.items()),
        *(f"{name} = {value}" for name, value in asked.put.items()),
    )
    what = "the answer" if use_case.regression else f"the probability of {use_case.answers[column]}"
    detail = f"with {', '.join(steps)} {what} {'stays the same' if asked.expect == 'same' else asked.expect}"
    return Behaved(asked.name, holds, moved, rows["id"].to_numpy()[touched], asked.share, detail)


def _touched(asked: Behaviour, rows: pd.DataFrame, changed: pd.DataFrame, use_case: UseCase) -> NDArray[np.bool_]:
    """Rows in which something changed and nothing left its range."""
    different, inside = np.zeros(len(rows), dtype=bool), np.ones(len(rows), dtype=bool)
    for name in (*asked.put, *asked.add):
        old, new = rows[name], changed[name]
        different |= ~((old == new) | (old.isna() & new.isna())).to_numpy(dtype=bool)
        bounds = use_case.features[name].range
        if name in asked.add and bounds is not None:
            inside &= new.between(*bounds).to_numpy(dtype=bool)
    return different & inside


def _tell(golden: GoldenRow, told: Floats, use_case: UseCase) -> Told:
    if use_case.regression:
        away = abs(float(told[0]) - float(golden.answer))
        detail = f"{told[0]:.4g} where {golden.answer:g} is expected, within {golden.within:g}"
        return Told(golden.name, away, golden.within, away <= golden.within, detail)
    found = float(told[use_case.answers.index(str(golden.answer))])
    detail = f"probability {found:.3f} of {golden.answer}, expected at least {golden.at_least:g}"
    return Told(golden.name, found, golden.at_least, found >= golden.at_least, detail)


def _cell(use_case: UseCase, name: str, value: Value) -> float | str | None:
    """As frames hold it: numbers and booleans as float, categories as text."""
    if use_case.features[name].type == "category":
        return None if value is None else str(value)
    return np.nan if value is None else float(value)
