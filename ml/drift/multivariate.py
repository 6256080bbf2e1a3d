"""Checks that look at all columns together, beside or within the check of single columns."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Literal

import numpy as np
import pandas as pd

from ml.drift.calibrate import DriftRule
from ml.drift.detect import check_drift
from ml.drift.domain_classifier import (
    ROWS,
    Advance,
    Rows,
    Telling,
    calibrate_by_permutation,
    calibrate_on_windows,
    is_like,
    on_the_line,
    rows_within,
    tell_apart,
)
from ml.drift.profile import build_pieces, build_profile, kind_of, kinds_in
from ml.drift.projection import JOINT, with_joint
from ml.drift.reference import encode_frame, gap_of
from ml.drift.wording import spoken
from ml.records.decision import ColumnDrift, DriftCheck
from ml.records.measure import Window
from ml.records.profile import ClassifierCalibration, Profile, ReferenceProfile
from ml.use_case import UseCase

#: What a check names the columns together.
ALL_COLUMNS, DOMAIN_CLASSIFIER = "all columns", "domain_classifier"
PCA_RECONSTRUCTION = "pca_reconstruction"

#: Rows of the reference and of the live window, read when they are needed.
Sides = Callable[[], tuple[Rows, Rows]]


def live_profile(
    frame: pd.DataFrame, reference: ReferenceProfile, *, window: Window, context: Sequence[str] = ()
) -> Profile:
    """Profile of live rows with the columns and bins of a reference, the derived one included."""
    rows, kinds = with_joint(frame, reference.projection), kinds_in(reference.whole)
    return build_profile(rows, kinds, window=window, edges=reference.whole, context=context)


def live_pieces(
    frame: pd.DataFrame,
    reference: ReferenceProfile,
    *,
    window: Window,
    block: timedelta,
    context: Sequence[str] = (),
) -> tuple[Profile, ...]:
    """The same for each block of the window, so that any window of whole blocks is a merge."""
    rows, kinds = with_joint(frame, reference.projection), kinds_in(reference.whole)
    return build_pieces(rows, kinds, window=window, block=block, edges=reference.whole, context=context)


def frame_sides(
    trained: Callable[[], pd.DataFrame], live: Callable[[], pd.DataFrame], use_case: UseCase, like: Profile
) -> Sides:
    """Both sides of a use case, from frames with ``event_time``."""
    return lambda: (encode_frame(trained(), use_case, like), encode_frame(live(), use_case, like))


def check_together(
    reference: ReferenceProfile,
    live: Profile,
    rule: DriftRule,
    *,
    sides: Sides,
    window: Window | None = None,
    model_version: int | None = None,
    earlier: Sequence[DriftCheck] = (),
    advance: Advance = lambda share: None,
) -> DriftCheck:
    """Drift check of single columns and, as far as the rule asks for it, of all columns together.

    The column of reconstruction errors is one of the single columns and shares their budget. The domain classifier is
    a check of its own: it and the columns have half of the budget each, so together they alarm in no more checks than
    the budget allows (union bound). With persistence each counts its own alarms.

    Parameters
    ----------
    sides
        Called only when the domain classifier is asked for and the window can be compared.

    Returns
    -------
    DriftCheck
        ``drift`` when one of them says so, else ``undecidable`` when one of them is, else ``no_drift``.
    """
    first, second = as_asked(reference, live, rule)
    columns = check_drift(
        first,
        second,
        replace(rule, false_alarm_budget=rule.share),
        window=window,
        model_version=model_version,
        earlier=[without_classifier(check) for check in earlier],
    )
    columns = columns.model_copy(update={"reasons": columns.reasons + _told_of_projection(first, rule)})
    if DOMAIN_CLASSIFIER not in rule.multivariate:
        return columns
    columns = columns.model_copy(update={"false_alarm_budget": rule.false_alarm_budget})
    if columns.score is None:
        return _with_reasons(columns, "The domain classifier was not asked, since the columns cannot be compared.")
    span = window or live.window
    found = _classify(first, columns, rule, sides, (span, advance))
    return _joined(columns, found, rule, earlier)


def as_asked(reference: ReferenceProfile, live: Profile, rule: DriftRule) -> tuple[ReferenceProfile, Profile]:
    """Both without the column of reconstruction errors where the rule does not ask for it."""
    if PCA_RECONSTRUCTION in rule.multivariate or JOINT not in {*reference.whole.columns, *live.columns}:
        return reference, live
    counts = {name: found for name, found in reference.counts.items() if name != JOINT}
    bare = {"whole": _without(reference.whole), "counts": counts, "projection": None, "calibration": None}
    return reference.model_copy(update=bare), _without(live)


def without_classifier(check: DriftCheck) -> DriftCheck:
    """A check as it was of single columns."""
    columns = tuple(column for column in check.columns if column.statistic != DOMAIN_CLASSIFIER)
    if len(columns) == len(check.columns) or check.score is None:
        return check
    score = max((column.score for column in columns if column.score is not None), default=None)
    return check.model_copy(update={"columns": columns, "score": score})


@dataclass(frozen=True)
class _Found:
    """Answer of the classifier."""

    telling: Telling
    calibration: ClassifierCalibration | None
    refusal: str


def _classify(
    reference: ReferenceProfile,
    columns: DriftCheck,
    rule: DriftRule,
    sides: Sides,
    asked: tuple[Window | None, Advance],
) -> _Found:
    span, advance = asked
    first, second = sides()
    calibration = _calibration(reference, columns, rule, (first, second), (span, advance))
    telling = tell_apart(first, second.thinned(calibration.rows))
    refusal = calibration.refusal
    if telling.area is None:
        refusal = f"The domain classifier cannot tell: {telling.reason}."
    return _Found(telling, calibration, refusal)


def _calibration(
    reference: ReferenceProfile,
    columns: DriftCheck,
    rule: DriftRule,
    sides: tuple[Rows, Rows],
    asked: tuple[Window | None, Advance],
) -> ClassifierCalibration:
    """The stored calibration where it fits, else one that is made."""
    (first, second), (span, advance) = sides, asked
    memory, length, gap = columns.memory or 1.0, float(columns.n_live), 0.0
    if reference.block is not None and span is not None:
        length, gap = (span.end - span.start).total_seconds(), gap_of(reference, memory)
    else:
        first = replace(first, places=np.linspace(0, columns.n_reference - 1, len(first.places)))
        gap = memory * columns.n_reference / max(len(reference.rows), 1) if memory > 1 else 0.0
    stored, rows = reference.classifier, len(second.places)
    if stored is not None and is_like(stored, rows=rows, length=length, budget=rule.share):
        return stored
    rows = min(rows, ROWS, max(rows_within(first, length), 1))
    made = calibrate_on_windows(first, length=length, rows=rows, gap=gap, budget=rule.share, advance=advance)
    if not made.refusal or memory > 1:
        return made
    return calibrate_by_permutation(first, second, budget=rule.share, advance=advance)


def _joined(columns: DriftCheck, found: _Found, rule: DriftRule, earlier: Sequence[DriftCheck]) -> DriftCheck:
    row = _row(columns, found)
    reasons = columns.reasons + _told_of_classifier(found, row)
    alarmed = _alarmed(row, columns, rule, earlier)
    drifted = columns.verdict == "drift" or (row.drifted and alarmed >= rule.alarms)
    verdict: Literal["drift", "no_drift", "undecidable"] = "no_drift"
    if drifted:
        verdict = "drift"
    elif found.refusal or columns.verdict == "undecidable":
        verdict = "undecidable"
    rows = sorted((row, *columns.columns), key=lambda one: one.score if one.score is not None else -1e300, reverse=True)
    return columns.model_copy(
        update={
            "score": max((one.score for one in rows if one.score is not None), default=None),
            "alarmed": max(columns.alarmed, alarmed),
            "columns": tuple(rows),
            "verdict": verdict,
            "reasons": reasons,
        }
    )


def _row(columns: DriftCheck, found: _Found) -> ColumnDrift:
    """The classifier's line of the check; its score is moved so that one threshold holds for all."""
    calibration, area = found.calibration, found.telling.area
    threshold = calibration.threshold if calibration is not None and not found.refusal else None
    score = None
    if calibration is not None and area is not None and threshold is not None and columns.threshold is not None:
        beyond = (on_the_line(area) - on_the_line(threshold)) / calibration.spread
        score = columns.threshold + beyond
    shares = {column.name: (column.missing_share_reference, column.missing_share_live) for column in columns.columns}
    missing = [sum(side) / max(len(shares), 1) for side in zip(*shares.values(), strict=True)] or [0.0, 0.0]
    return ColumnDrift(
        name=ALL_COLUMNS,
        statistic=DOMAIN_CLASSIFIER,
        value=area,
        score=score,
        threshold=threshold,
        drifted=area is not None and threshold is not None and area > threshold,
        n_reference=columns.n_reference,
        n_live=columns.n_live,
        missing_share_reference=missing[0],
        missing_share_live=missing[1],
    )


def _alarmed(row: ColumnDrift, columns: DriftCheck, rule: DriftRule, earlier: Sequence[DriftCheck]) -> int:
    """Alarms of the classifier itself among the last checks of the same model."""
    lines = [
        column
        for check in earlier
        if check.model_version == columns.model_version
        for column in check.columns
        if column.statistic == DOMAIN_CLASSIFIER and column.score is not None
    ]
    return int(row.drifted) + sum(column.drifted for column in lines[: rule.of - 1])


def _told_of_classifier(found: _Found, row: ColumnDrift) -> tuple[str, ...]:
    if found.refusal or row.value is None or row.threshold is None:
        return (found.refusal,)
    side = "above" if row.drifted else "not above"
    told = f"A classifier tells live rows from reference rows with an area under the ROC curve of {row.value:.3f}, "
    told += f"{side} the threshold {row.threshold:.3f}"
    if not row.drifted:
        return (told + ".",)
    pairs = ", ".join(f"{spoken(first)} with {spoken(second)}" for first, second in found.telling.pairs)
    return (f"{told}, by how columns go together: {pairs}.",)


def _told_of_projection(reference: ReferenceProfile, rule: DriftRule) -> tuple[str, ...]:
    if PCA_RECONSTRUCTION not in rule.multivariate:
        return ()
    if reference.projection is None:
        return ("The reference was made without pca_reconstruction; the next one will have it.",)
    if reference.projection.refusal:
        return (f"There is no reconstruction error: {reference.projection.refusal}",)
    left_out = [
        name
        for name, column in reference.whole.columns.items()
        if kind_of(column) == "number" and name not in {*reference.projection.columns, JOINT}
    ]
    return (
        (f"The reconstruction error leaves out what does not vary: {', '.join(map(spoken, left_out))}.",)
        if left_out
        else ()
    )


def _with_reasons(check: DriftCheck, *reasons: str) -> DriftCheck:
    return check.model_copy(update={"reasons": check.reasons + reasons})


def _without(profile: Profile) -> Profile:
    return profile.model_copy(update={"columns": {n: c for n, c in profile.columns.items() if n != JOINT}})
