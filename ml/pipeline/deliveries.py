"""Drift, retrainings and releases as the keys of DORA count them: how often, how fast, how safely; pure."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

from ml.records.measure import Window
from ml.records.pipeline import Deployment, DriftSeen, PipelineFacts


@dataclass(frozen=True)
class Failure:
    """A deployment that had to be taken back, and the seconds until the replicas served a good version again."""

    deployment: Deployment
    seconds: float


def deployed(facts: PipelineFacts) -> tuple[Deployment, ...]:
    """Deployments of the window, those that were rolled back included."""
    return tuple(one for one in facts.deployments if _within(one.time, facts.window))


def failures(facts: PipelineFacts) -> list[Failure]:
    """Deployments of the window that failed: rolled back by the release, or followed by an older version.

    Whoever goes back to an older version says that the newer one was a mistake.
    """
    found = []
    for one in deployed(facts):
        if one.rolled_back:
            found.append(Failure(one, one.seconds))
        elif (after := _next(one, facts.deployments)) is not None and after.version < one.version:
            found.append(Failure(one, (after.time - one.time).total_seconds()))
    return found


def lead_times(facts: PipelineFacts) -> list[float]:
    """Seconds from the decision to retrain to the first confirmed release of what it made, if that is in the window."""
    found = []
    for asked in facts.retrainings:
        if asked.version is None:
            continue
        served = [
            one.time
            for one in facts.deployments
            if (one.use_case, one.version) == (asked.use_case, asked.version)
            and not one.rolled_back
            and one.time >= asked.asked
        ]
        if served and _within(min(served), facts.window):
            found.append((min(served) - asked.asked).total_seconds())
    return sorted(found)


def recoveries(facts: PipelineFacts) -> tuple[list[float], list[DriftSeen]]:
    """Seconds from drift to recovery by episodes that ended in the window, and the episodes that have not ended.

    An episode begins with the first check that finds drift, and ends with a confirmed release or a check without.
    """
    ended: list[float] = []
    still: list[DriftSeen] = []
    for use_case in sorted({check.use_case for check in facts.checks}):
        moments: list[tuple[datetime, DriftSeen | Deployment]] = [
            (check.time, check) for check in facts.checks if check.use_case == use_case
        ]
        moments += [(one.time, one) for one in facts.deployments if one.use_case == use_case and not one.rolled_back]
        begun: DriftSeen | None = None
        for moment, what in sorted(moments, key=lambda found: found[0]):
            if isinstance(what, DriftSeen) and what.drifted:
                begun = begun or what
            elif begun is not None:
                if _within(moment, facts.window):
                    ended.append((moment - begun.time).total_seconds())
                begun = None
        still += [begun] if begun else []
    return sorted(ended), still


def _next(one: Deployment, all_of_them: Iterable[Deployment]) -> Deployment | None:
    later = [
        other
        for other in all_of_them
        if other.use_case == one.use_case and not other.rolled_back and other.time > one.time
    ]
    return min(later, key=lambda other: other.time, default=None)


def _within(moment: datetime, window: Window) -> bool:
    return window.start <= moment < window.end
