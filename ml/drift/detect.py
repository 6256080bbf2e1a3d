"""One live window against the champion's reference: the score, the columns, the verdict."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Literal

import numpy as np

from ml.drift.calibrate import SEED, DriftRule, calibrate, live_blocks
from ml.drift.context import name_contexts
from ml.drift.matched import Matched, context_obstacles, match_reference
from ml.drift.notices import find_notices
from ml.drift.obstacles import find_obstacles
from ml.drift.profile import counts_of, same_bins
from ml.drift.statistics import find_statistic
from ml.drift.statistics.base import Bins, Floats, bins_of
from ml.drift.statistics.total_variation import TOTAL_VARIATION
from ml.drift.statistics.wasserstein import WASSERSTEIN
from ml.drift.wording import spoken
from ml.errors import DataError
from ml.records.decision import ColumnDrift, DriftCheck
from ml.records.measure import Window
from ml.records.profile import Calibration, Profile, ReferenceProfile

#: A stored calibration holds for live windows whose number of rows differs by less than this share.
_SAME_SIZE = 0.25
#: The same for the share of rows that would have to change their context.
_SAME_MIX = 0.1


def check_drift(
    reference: ReferenceProfile,
    live: Profile,
    rule: DriftRule,
    *,
    window: Window | None = None,
    blocks: int | None = None,
    model_version: int | None = None,
    earlier: Sequence[DriftCheck] = (),
) -> DriftCheck:
    """Drift check of a live window; a score is above its threshold when the reference's own ways do not explain it.

    Parameters
    ----------
    reference
        Stored with the champion; its calibration is used when it fits the rule and the rows, else one is made.
    live
        Profile of the window on the reference's bins.
    window
        Event time of the live rows; None takes the profile's.
    blocks
        Blocks of the reference that the window is as long as; None derives it from the window, or from the rows.
    earlier
        Checks of the windows before, newest first, for ``rule.of``; those against another model do not count.

    Returns
    -------
    DriftCheck
        ``undecidable``, with every reason, when there is an obstacle (:mod:`ml.drift.obstacles`), every statistic of a
        column is undefined, the reference has not seen the live rows' contexts, or it is too short to be calibrated
        on. Never ``no_drift`` for what could not be compared. What is odd but no obstacle is told after the reasons.
    """
    window = window or live.window
    reasons = [*find_obstacles(reference, live, window, rule), *context_obstacles(reference, live, rule.context)]
    matched = _match(reference, live, rule)
    length = blocks if blocks is not None else _length(matched, live, window)
    calibration = reference.calibration
    if not (calibration and _fits(calibration, rule, live, length)):
        calibration = _calibrate(reference, live, rule, length) if not reasons else None
    if calibration is not None and calibration.refusal:
        reasons.append(calibration.refusal)
    columns = _compare(matched, live, rule, calibration) if matched is not None else ()
    reasons += _undefined(columns)
    scores = [column.score for column in columns if column.score is not None]
    score = max(scores) if scores and not reasons else None
    threshold = calibration.threshold if calibration is not None else None
    above = score is not None and threshold is not None and score > threshold
    counted = [check for check in earlier if check.model_version == model_version and check.score is not None]
    alarmed = int(above) + sum(
        check.threshold is not None and check.score is not None and check.score > check.threshold
        for check in counted[: rule.of - 1]
    )
    verdict: Literal["drift", "no_drift", "undecidable"] = "undecidable"
    if score is not None and threshold is not None:
        verdict = "drift" if above and alarmed >= rule.alarms else "no_drift"
    drifted = [column.effect for column in columns if column.drifted and column.effect is not None]
    return DriftCheck(
        use_case=reference.use_case,
        window=window,
        model_version=model_version,
        score=score,
        threshold=threshold,
        false_alarm_budget=rule.false_alarm_budget,
        alarmed=alarmed,
        alarms=rule.alarms,
        of=rule.of,
        n_reference=reference.whole.n if matched is None else matched.n,
        n_live=live.n,
        reference_windows=None if calibration is None else calibration.windows,
        memory=None if calibration is None else calibration.memory,
        columns=columns,
        effect=max(drifted) if drifted else None,
        verdict=verdict,
        reasons=(tuple(reasons) or _explain(score, threshold, columns, (alarmed, rule)) + _told(matched))
        + find_notices(reference, live, window),
    )


def matched_profile(reference: ReferenceProfile, live: Profile, rule: DriftRule) -> Profile:
    """What a live window was compared with, to be drawn beside it: the reference in the live window's contexts."""
    matched = _match(reference, live, rule)
    return reference.whole if matched is None else matched.profile()


def _match(reference: ReferenceProfile, live: Profile, rule: DriftRule) -> Matched | None:
    """Part of the reference that the live window is compared with; None where there is none."""
    try:
        return match_reference(reference, rule.context, live.contexts)
    except DataError:  # told among the obstacles
        return None


def _length(matched: Matched | None, live: Profile, window: Window | None) -> int:
    if matched is None:
        return 1
    reference = matched.reference
    if reference.block is not None and window is not None:
        length = window.end - window.start
        return matched.live_blocks(length) if matched.matched else live_blocks(reference, length)
    return max(round(live.n / max(float(matched.rows.sum()) / max(len(matched.blocks), 1), 1)), 1)


def _calibrate(reference: ReferenceProfile, live: Profile, rule: DriftRule, blocks: int) -> Calibration:
    rng = np.random.default_rng(SEED)
    return calibrate(reference, rule, rows=live.n, blocks=blocks, rng=rng, mix=live.contexts)


def _fits(calibration: Calibration, rule: DriftRule, live: Profile, blocks: int) -> bool:
    same = (calibration.statistics, calibration.false_alarm_budget, calibration.alarms, calibration.of)
    return (
        same == (rule.statistics, rule.false_alarm_budget, rule.alarms, rule.of)
        and calibration.blocks == blocks
        and abs(live.n - calibration.rows) <= _SAME_SIZE * calibration.rows
        and _mix_distance(calibration.mix, live.contexts if rule.context else {}) <= _SAME_MIX
    )


def _mix_distance(first: Mapping[str, int], second: Mapping[str, int]) -> float:
    """Share of rows that would have to change their context; 1 where only one side has contexts."""
    if not first and not second:
        return 0.0
    one, other = max(sum(first.values()), 1), max(sum(second.values()), 1)
    return sum(abs(first.get(name, 0) / one - second.get(name, 0) / other) for name in {*first, *second}) / 2 + (
        0.5 if not first or not second else 0.0
    )


def _compare(
    matched: Matched, live: Profile, rule: DriftRule, calibration: Calibration | None
) -> tuple[ColumnDrift, ...]:
    reference = matched.reference
    whole = reference.whole
    if live.n == 0 or whole.n == 0:
        return ()
    standards = _standards(calibration)
    threshold = calibration.threshold if calibration is not None else None
    found = []
    for name, column in whole.columns.items():
        if name not in live.columns or not same_bins(column, live.columns[name]):
            continue
        first, second, bins = matched.counts(name), counts_of(live.columns[name]), bins_of(column)
        effect = _effect(reference, name, first, second, bins)
        for statistic in (find_statistic(one) for one in rule.statistics):
            if bins.kind not in statistic.kinds:
                continue
            value = float(statistic.distance(first, second, bins))
            standard = standards.get((name, statistic.name))
            score = limit = None
            if standard is not None and calibration is not None:
                centre, spread = standard
                score = (
                    (float(statistic.unbounded(np.array(value), calibration.offset)) - centre) / spread
                    if math.isfinite(value)
                    else None
                )
                if threshold is not None:
                    limit = statistic.bounded(centre + spread * threshold, calibration.offset)
            found.append(
                ColumnDrift(
                    name=name,
                    statistic=statistic.name,
                    value=value if math.isfinite(value) else None,
                    score=score,
                    threshold=limit,
                    drifted=score is not None and threshold is not None and score > threshold,
                    n_reference=matched.n,
                    n_live=live.n,
                    missing_share_reference=float(first[-1] / max(first.sum(), 1)),
                    missing_share_live=live.columns[name].missing / live.n,
                    effect=effect,
                    role=reference.roles.get(name, "feature"),
                )
            )
    return tuple(sorted(found, key=lambda one: -(one.score if one.score is not None else -math.inf)))


def _effect(reference: ReferenceProfile, name: str, first: Floats, second: Floats, bins: Bins) -> float | None:
    """Change of the model's probability that goes with a column; None without a model."""
    influence: float | None
    if name in reference.roles:
        if bins.kind == "number":
            # Probabilities have a unit of their own, numbers that of their spread.
            unit = 1.0 if "value" in reference.roles.values() else bins.scale
            apart = float(WASSERSTEIN.distance(first, second, bins)) * unit
            return apart if math.isfinite(apart) else None
        influence = 1.0
    else:
        influence = reference.influence.get(name)
    moved = float(TOTAL_VARIATION.distance(first, second, bins))
    return None if influence is None or not math.isfinite(moved) else moved * influence


def _standards(calibration: Calibration | None) -> Mapping[tuple[str, str], tuple[float, float]]:
    if calibration is None:
        return {}
    pairs = zip(calibration.centres, calibration.spreads, strict=True)
    return dict(zip(calibration.cells, pairs, strict=True))


def _undefined(columns: tuple[ColumnDrift, ...]) -> list[str]:
    """Columns of which nothing could be computed."""
    names = dict.fromkeys(column.name for column in columns)
    known = {column.name for column in columns if column.value is not None}
    return [f"No statistic of {spoken(name)} is defined." for name in names if name not in known]


def _explain(
    score: float | None, threshold: float | None, columns: tuple[ColumnDrift, ...], persistence: tuple[int, DriftRule]
) -> tuple[str, ...]:
    if score is None or threshold is None:
        return ("There is no column to compare.",)
    alarmed, rule = persistence
    side = "above" if score > threshold else "not above"
    names = list(dict.fromkeys(column.name for column in columns if column.drifted))
    furthest = columns[0]
    count = len({column.name for column in columns})
    value, limit = furthest.value or 0.0, furthest.threshold or 0.0
    told = [
        f"The largest score over {count} columns is {score:.2f}, {side} the threshold {threshold:.2f}.",
        f"Furthest: {spoken(furthest.name)}, {furthest.statistic} {value:.3g}, threshold {limit:.3g}.",
    ]
    if names:
        told.append(f"Drifted: {', '.join(map(spoken, names))}.")
    if rule.of > 1:
        told.append(f"{alarmed} of the last {rule.of} checks are above their threshold; {rule.alarms} make a drift.")
    return tuple(told)


def _told(matched: Matched | None) -> tuple[str, ...]:
    """Which part of the reference was compared with, where there are contexts."""
    if matched is None or not matched.matched:
        return ()
    place = name_contexts(matched.names)
    return (
        f"Compared with the {matched.n} of {matched.reference.whole.n} reference rows of {place}, in the live mix.",
    )
