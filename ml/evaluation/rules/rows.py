"""Golden rows and behaviour tests: a verdict for each row that people made, and for each change of a row."""

from __future__ import annotations

from collections.abc import Iterator

from ml.evaluation.behaviour import Behaved
from ml.evaluation.evidence import Evidence
from ml.records.decision import RuleResult
from ml.records.measure import Verdict
from ml.use_case import UseCase


def judge_rows(evidence: Evidence, use_case: UseCase) -> Iterator[RuleResult]:
    """``golden {name}`` and ``behaviour {name}``, as the file declares them."""
    del use_case  # what was asked for is in the evidence
    for told in evidence.golden:
        yield RuleResult(
            name=f"golden {told.name}",
            value=told.value,
            bound=told.bound,
            n=1,
            verdict=Verdict.PASS if told.holds else Verdict.FAIL,
            detail=told.detail,
        )
    for behaved in evidence.behaviour:
        yield _judge_behaviour(behaved)


def _judge_behaviour(behaved: Behaved) -> RuleResult:
    n, broken = len(behaved.holds), behaved.ids[~behaved.holds]
    share = float(behaved.holds.mean()) if n else None
    verdict = Verdict.UNDECIDABLE if share is None else Verdict.PASS if share >= behaved.share else Verdict.FAIL
    told = f"in {n - len(broken)} of {n} rows" if n else "in no row, since none could be changed"
    which = f"; not in {', '.join(map(str, broken[:3]))}" if len(broken) else ""
    return RuleResult(
        name=f"behaviour {behaved.name}",
        value=share,
        bound=behaved.share,
        n=n,
        verdict=verdict,
        detail=f"{behaved.detail} {told}, {behaved.share:.0%} needed{which}",
    )
