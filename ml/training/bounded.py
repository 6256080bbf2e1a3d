"""A number with its interval against a bound: it holds, it does not, or the data cannot tell."""

from __future__ import annotations

from ml.records.decision import RuleResult
from ml.records.measure import Estimate, Verdict


def keep_below(name: str, found: Estimate, bound: float, detail: str) -> RuleResult:
    """Result of a rule that a number is at most a bound: it fails only where its whole interval lies above.

    Examples
    --------
    >>> keep_below("leakage", Estimate(value=0.9, n=50, low=0.7, high=1.0), 0.8, "").verdict.value
    'undecidable'
    """
    if found.value is None:
        verdict = Verdict.UNDECIDABLE
    elif found.value <= bound:
        verdict = Verdict.PASS
    else:
        verdict = Verdict.FAIL if found.low is None or found.low > bound else Verdict.UNDECIDABLE
    return _result(name, found, bound, verdict, detail)


def keep_above(name: str, found: Estimate, bound: float, detail: str) -> RuleResult:
    """Result of a rule that a number is at least a bound: it fails only where its whole interval lies below."""
    if found.value is None:
        verdict = Verdict.UNDECIDABLE
    elif found.value >= bound:
        verdict = Verdict.PASS
    else:
        verdict = Verdict.FAIL if found.high is None or found.high < bound else Verdict.UNDECIDABLE
    return _result(name, found, bound, verdict, detail)


def undecidable(name: str, reason: str, *, n: int = 0, bound: float | None = None) -> RuleResult:
    """Result of a rule that has nothing to look at."""
    return RuleResult(name=name, value=None, bound=bound, n=n, verdict=Verdict.UNDECIDABLE, detail=reason)


def _result(name: str, found: Estimate, bound: float, verdict: Verdict, detail: str) -> RuleResult:
    return RuleResult(
        name=name,
        value=found.value,
        low=found.low,
        high=found.high,
        bound=bound,
        n=found.n,
        verdict=verdict,
        detail=detail if found.value is not None else found.detail or detail,
    )
