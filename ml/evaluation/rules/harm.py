"""The verdict of a rule that must prove harm before it fails a challenger."""

from __future__ import annotations

from ml.records.decision import RuleResult
from ml.records.measure import Verdict
from ml.training.serial_interval import SerialMean


def judge_harm(name: str, harm: SerialMean, *, bound: float, level: float, p: float | None, detail: str) -> RuleResult:
    """``fail`` where the harm exceeds its bound beyond doubt, ``undecidable`` where nothing can be told.

    Parameters
    ----------
    harm
        By how much the challenger is worse.
    p
        Against a harm of ``bound`` or less, corrected for other rules of its family if need be.
    """
    told = harm.interval(level)
    return RuleResult(
        name=name,
        value=told.value,
        low=told.low,
        high=told.high,
        bound=bound,
        n=told.n,
        p=p,
        level=level,
        verdict=Verdict.UNDECIDABLE if p is None else Verdict.FAIL if p < level else Verdict.PASS,
        detail=detail,
    )
