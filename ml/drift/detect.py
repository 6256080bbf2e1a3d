"""One live window against the champion's reference: the score, the columns, the verdict."""

from __future__ import annotations

from typing import Literal

from ml.drift.calibrate import calibrate_threshold, mean_distance
from ml.drift.statistics import Statistic, find_statistic
from ml.drift.statistics.shares import same_bins
from ml.records.decision import ColumnDrift, DriftCheck
from ml.records.measure import Window
from ml.records.profile import ColumnProfile, Profile, ReferenceProfile
from ml.use_case import UseCase


def check_drift(
    reference: ReferenceProfile,
    live: Profile,
    *,
    use_case: UseCase,
    window: Window,
    model_version: int | None,
) -> DriftCheck:
    """Drift check of a live window; the verdict is ``drift`` when the score is above the file's threshold.

    Parameters
    ----------
    reference
        Stored with the champion.
    live
        Profile of the window on the reference's bins.
    model_version
        The champion's.

    Returns
    -------
    DriftCheck
        ``undecidable``, with every reason, when the window holds fewer than ``monitoring.minimum_rows`` rows, the
        profiles have no columns or other ones, or a column's distance is undefined.
    """
    monitoring = use_case.monitoring
    statistic = find_statistic(monitoring.statistic)
    reasons = _obstacles(reference.whole, live, use_case)
    columns = _compare(reference.whole, live, statistic)
    score = None if reasons else mean_distance(reference.whole.columns, live.columns, statistic)
    return DriftCheck(
        use_case=use_case.name,
        window=window,
        model_version=model_version,
        statistic=statistic.name,
        score=score,
        threshold=monitoring.threshold,
        calibrated_threshold=calibrate_threshold(
            reference, statistic=statistic.name, false_alarm_budget=monitoring.false_alarm_budget
        ),
        n_reference=reference.whole.n,
        n_live=live.n,
        columns=columns,
        verdict=_judge(score, monitoring.threshold),
        reasons=reasons or _explain(score, columns, use_case),
    )


def _obstacles(reference: Profile, live: Profile, use_case: UseCase) -> tuple[str, ...]:
    """Why no verdict is possible, one sentence each; empty when one is."""
    found = []
    least = use_case.monitoring.minimum_rows
    if live.n < least:
        found.append(f"The window holds {live.n} rows; {least} are needed.")
    if reference.n == 0 or not reference.columns:
        found.append(f"The reference holds {reference.n} rows and {len(reference.columns)} columns.")
    for title, profile in (("reference", reference), ("live window", live)):
        lacking = [name for name in use_case.features if name not in profile.columns]
        if lacking:
            found.append(f"The {title} lacks {len(lacking)} of the use case's features: {', '.join(lacking)}.")
    unknown = sorted((reference.columns.keys() | live.columns.keys()) - use_case.features.keys())
    if unknown:
        found.append(f"The profiles hold {len(unknown)} columns that the use case does not know: {', '.join(unknown)}.")
    for name, column in live.columns.items():
        if name in reference.columns and not same_bins(reference.columns[name], column):
            found.append(f"{name} was counted on other bins than the reference.")
    return tuple(found)


def _compare(reference: Profile, live: Profile, statistic: Statistic) -> tuple[ColumnDrift, ...]:
    if live.n == 0 or reference.n == 0:
        return ()
    return tuple(
        ColumnDrift(
            name=name,
            statistic=statistic.name,
            value=statistic.distance(column, live.columns[name]),
            n_reference=reference.n,
            n_live=live.n,
            missing_share_reference=_missing_share(column, reference.n),
            missing_share_live=_missing_share(live.columns[name], live.n),
        )
        for name, column in reference.columns.items()
        if name in live.columns and same_bins(column, live.columns[name])
    )


def _missing_share(column: ColumnProfile, n: int) -> float:
    return column.missing / n


def _judge(score: float | None, threshold: float) -> Literal["drift", "no_drift", "undecidable"]:
    if score is None:
        return "undecidable"
    return "drift" if score > threshold else "no_drift"


def _explain(score: float | None, columns: tuple[ColumnDrift, ...], use_case: UseCase) -> tuple[str, ...]:
    monitoring = use_case.monitoring
    if score is None:
        undefined = ", ".join(column.name for column in columns if column.value is None)
        return (f"The distance of {undefined or 'a column'} is undefined.",)
    side = "above" if score > monitoring.threshold else "not above"
    furthest = sorted(columns, key=lambda column: -(column.value or 0.0))[:3]
    named = ", ".join(f"{column.name} {column.value:.3g}" for column in furthest)
    verdict = f"The mean {monitoring.statistic} over {len(columns)} columns is {score:.4g}, {side} the threshold"
    return (f"{verdict} {monitoring.threshold:g}.", f"Furthest from the reference: {named}.")
