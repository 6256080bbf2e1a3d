"""People's decisions about single answers: how often they override the model, and who was right later."""

from __future__ import annotations

import math
from datetime import datetime

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ml.records.measure import Estimate, Window
from ml.records.overrides import Override, OverrideReview, PersonOverrides
from ml.store.lake import Lake
from ml.use_case import UseCase

#: Kind of the records.
OVERRIDES = "overrides"

_RECENT = 20
_CONFIDENCE, _Z = 0.9, 1.6448536269514722


def review_overrides(lake: Lake, use_case: UseCase, window: Window, *, as_of: datetime) -> OverrideReview:
    """What people have decided about the answers of a window, as far as it was known at a moment."""
    decided = lake.overridden(window, as_of=as_of)
    return judge_overrides(decided, use_case, window=window, as_of=as_of, answered=len(lake.answered(window)))


def judge_overrides(
    decided: pd.DataFrame, use_case: UseCase, *, window: Window, as_of: datetime, answered: int
) -> OverrideReview:
    """Counts, shares with intervals, and people, from answers that people have decided on.

    Parameters
    ----------
    decided
        As :meth:`ml.store.lake.Lake.overridden` has it.
    answered
        Answers of the window, decided on or not.
    """
    frame = _compare(decided, use_case)
    overridden = frame[frame["differs"]]
    known = overridden[overridden["known"]]
    person, model = int(known["person"].sum()), int(known["model"].sum())
    return OverrideReview(
        use_case=use_case.name,
        window=window,
        as_of=as_of,
        answered=answered,
        decided=len(frame),
        overridden=len(overridden),
        rate=share_of(len(overridden), answered, "no answer in the window"),
        known=len(known),
        person_right=person,
        model_right=model,
        neither=len(known) - person - model,
        person_share=share_of(person, len(known), "no truth is known of any of them"),
        people=tuple(_person(str(by), group) for by, group in frame.groupby("override_by", sort=True)),
        recent=tuple(_told(row) for _, row in overridden.sort_values("overridden_at").tail(_RECENT)[::-1].iterrows()),
    )


def share_of(count: int, n: int, undefined: str) -> Estimate:
    """A share with Wilson's interval at 90 %, rows taken as independent; undefined where there are none.

    References
    ----------
    Wilson (1927), Probable inference, the law of succession, and statistical inference, JASA 22.

    Examples
    --------
    >>> share = share_of(3, 10, "")
    >>> round(share.low, 3), share.value, round(share.high, 3)
    (0.127, 0.3, 0.558)
    """
    if n == 0:
        return Estimate(value=None, n=0, detail=undefined)
    share, z2 = count / n, _Z**2
    middle, half = share + z2 / (2 * n), _Z * math.sqrt(share * (1 - share) / n + z2 / (4 * n * n))
    low, high = (middle - half) / (1 + z2 / n), (middle + half) / (1 + z2 / n)
    return Estimate(value=share, n=n, low=max(low, 0.0), high=min(high, 1.0), confidence=_CONFIDENCE)


def _compare(decided: pd.DataFrame, use_case: UseCase) -> pd.DataFrame:
    """With ``differs`` (from the model), ``known`` (the truth), and who of ``person`` and ``model`` was right."""
    answer = decided["p_0"] if use_case.regression else decided["predicted"]
    known = decided["truth"].notna()
    person, model = _right(decided["override"], answer, decided["truth"], regression=use_case.regression)
    return decided.assign(
        answer=answer, differs=(decided["override"] != answer), known=known, person=person & known, model=model & known
    )


def _right(
    override: pd.Series, answer: pd.Series, truth: pd.Series, *, regression: bool
) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    if not regression:
        return (override == truth).to_numpy(bool), (answer == truth).to_numpy(bool)
    theirs, its = (override - truth).abs(), (answer - truth).abs()
    return (theirs < its).to_numpy(bool), (its < theirs).to_numpy(bool)


def _person(by: str, group: pd.DataFrame) -> PersonOverrides:
    overridden = group[group["differs"]]
    return PersonOverrides(
        by=by,
        decided=len(group),
        overridden=len(overridden),
        known=int(overridden["known"].sum()),
        right=int(overridden["person"].sum()),
    )


def _told(row: pd.Series) -> Override:
    return Override(
        id=str(row["id"]),
        event_time=row["event_time"].to_pydatetime(),
        model_version=int(row["model_version"]),
        answer=str(row["answer"]),
        override=str(row["override"]),
        by=str(row["override_by"]),
        reason=str(row["override_reason"] or ""),
        truth=str(row["truth"]) if row["known"] else None,
    )
