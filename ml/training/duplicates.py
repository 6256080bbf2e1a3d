"""Rows that repeat an earlier row under another id."""

from __future__ import annotations

import numpy as np
import pandas as pd

from ml.records.decision import RuleResult
from ml.records.measure import Estimate
from ml.training.block_interval import mean_over_blocks
from ml.training.bounded import keep_below, undecidable
from ml.use_case import UseCase


def check_duplicates(frame: pd.DataFrame, use_case: UseCase) -> RuleResult:
    """Share of live rows that have the event time and every feature of an earlier row, beyond the history's share.

    A client that sends again under new ids counts its rows twice; an id that occurs twice is found elsewhere. Without
    a number feature equal rows are no surprise, and nothing is said. On the harbour's year 0.02 % of the rows repeat.
    """
    name, bound = "duplicates", use_case.training.checks.duplicates
    live = (frame["source"] == "live").to_numpy()
    if not any(feature.type == "number" for feature in use_case.features.values()):
        return undecidable(name, "without a number feature rows may well be equal", n=len(frame), bound=bound)
    if not live.any():
        return undecidable(name, "there are no live rows", bound=bound)
    ordered = frame.sort_values(["event_time", "source", "id"], kind="stable")
    again = ordered.duplicated(["event_time", *use_case.features]).reindex(frame.index).to_numpy(dtype=np.float64)
    usual = float(again[~live].mean()) if (~live).any() else 0.0
    found = mean_over_blocks(again[live], frame["event_time"][live], block=use_case.gate.block)
    beyond = Estimate(
        value=max((found.value or 0.0) - usual, 0.0),
        n=found.n,
        low=None if found.low is None else found.low - usual,
        high=None if found.high is None else found.high - usual,
    )
    detail = f"{int(again[live].sum())} of {live.sum()} live rows repeat an earlier row, {usual:.3f} of the history's"
    return keep_below(name, beyond, bound, f"{detail}; at most {bound:g} more")
