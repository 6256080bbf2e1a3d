"""Balance of the live labels against the history's: inverted or mistaken classes show in it."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd

from ml.records.decision import RuleResult
from ml.records.measure import Estimate
from ml.training.block_interval import mean_over_blocks
from ml.training.bounded import keep_below, undecidable
from ml.use_case import UseCase

#: Fewer live rows say nothing about their balance.
ROWS_FOR_BALANCE = 100


def check_balance(frame: pd.DataFrame, use_case: UseCase) -> RuleResult:
    """Share of live rows with another class than the history's balance would give, ``[0, 1]``, with its interval.

    That is the total variation between the two balances: the history's share of the classes that became rarer, less
    their live share. Inverted labels of a rare class give nearly 1; weekly rain shares of the harbour's year differ
    from its winter's by 0.2 at most. Both sides' intervals are over blocks of ``gate.block``.
    """
    name, bound = "label_balance", use_case.training.checks.label_balance
    if not use_case.target.classes:
        return undecidable(name, "a number has no balance of classes", bound=bound)
    history, live = (frame[frame["source"] == source] for source in ("history", "live"))
    if len(live) < ROWS_FOR_BALANCE or history.empty:
        reason = f"{len(live)} live rows beside {len(history)} of history; {ROWS_FOR_BALANCE} and one are needed"
        return undecidable(name, reason, n=len(live), bound=bound)
    found = _variation(history, live, use_case)
    detail = f"{found.value:.2f} of the live rows have another class than the history's balance would give"
    return keep_below(name, found, bound, f"{detail}; at most {bound:g}")


def _variation(history: pd.DataFrame, live: pd.DataFrame, use_case: UseCase) -> Estimate:
    classes = use_case.target.class_names
    rarer = [c for c in classes if (history["label"] == c).mean() > (live["label"] == c).mean()]
    before, after = (_share(rows, rarer, use_case) for rows in (history, live))
    value = (before.value or 0.0) - (after.value or 0.0)
    if before.low is None or after.low is None:
        return Estimate(value=value, n=len(live), low=None, high=None)
    reach = math.hypot((before.value or 0.0) - before.low, (after.value or 0.0) - after.low)
    return Estimate(value=value, n=len(live), low=value - reach, high=value + reach)


def _share(rows: pd.DataFrame, classes: list[str], use_case: UseCase) -> Estimate:
    inside = np.asarray(rows["label"].isin(classes), dtype=np.float64)
    return mean_over_blocks(inside, rows["event_time"], block=use_case.gate.block)
