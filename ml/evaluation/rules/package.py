"""Whether the artifact is what was trained, and cheap enough to serve: parity, size, latency."""

from __future__ import annotations

from collections.abc import Iterator

from ml.evaluation.evidence import Evidence
from ml.records.decision import RuleResult
from ml.records.measure import Verdict
from ml.use_case import UseCase

MEGABYTE = 1e6


def judge_package(evidence: Evidence, use_case: UseCase) -> Iterator[RuleResult]:
    """``parity``, and ``latency`` and ``size`` where the file bounds them; what was not measured is undecidable."""
    yield _judge_parity(evidence, use_case)
    cost, gate = evidence.cost, use_case.gate
    if gate.latency_ms is not None:
        value, n = (None, 0) if cost is None else (cost.single_ms, cost.n)
        yield _judge_bound("latency", value, gate.latency_ms, "ms for one row (median)", n)
    if gate.size_mb is not None:
        value, n = (None, 0) if cost is None else (cost.size_bytes / MEGABYTE, 1)
        yield _judge_bound("size", value, gate.size_mb, "MB", n)


def _judge_parity(evidence: Evidence, use_case: UseCase) -> RuleResult:
    parity, allowed = evidence.parity, use_case.gate.parity_flips
    holds = parity.verdict is Verdict.PASS and parity.flips <= allowed and parity.n > 0
    unknown = parity.verdict is Verdict.UNDECIDABLE
    return RuleResult(
        name="parity",
        value=parity.flips,
        bound=allowed,
        n=parity.n,
        verdict=Verdict.UNDECIDABLE if unknown else Verdict.PASS if holds else Verdict.FAIL,
        detail=f"ONNX and scikit-learn decide differently in {parity.flips} of {parity.n} rows, "
        f"{allowed} allowed; probabilities differ by {parity.largest_difference:.1g} at most",
    )


def _judge_bound(name: str, value: float | None, bound: float, unit: str, n: int) -> RuleResult:
    verdict = Verdict.UNDECIDABLE if value is None else Verdict.PASS if value <= bound else Verdict.FAIL
    told = "not measured" if value is None else f"{value:.3g} {unit}"
    detail = f"{told}, at most {bound:g} {unit} allowed"
    return RuleResult(name=name, value=value, bound=bound, n=n, verdict=verdict, detail=detail)
