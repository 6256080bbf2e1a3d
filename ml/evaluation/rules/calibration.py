"""Whether probabilities mean what they say as well as the champion's do."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from ml.evaluation.bootstrap import Resampled, resample_blocks
from ml.evaluation.calibration_error import calibration_tables, error_of
from ml.evaluation.evidence import Evidence, Floats
from ml.evaluation.metrics import LOSSES
from ml.evaluation.paired import compare_paired
from ml.evaluation.rules.harm import judge_harm
from ml.records.decision import RuleResult
from ml.records.measure import Verdict
from ml.use_case import UseCase


def judge_calibration(evidence: Evidence, use_case: UseCase) -> Iterator[RuleResult]:
    """``brier`` and ``calibration_error``: worse than the champion's by more than the margin beyond doubt fails."""
    champion = evidence.champion_answers
    if champion is None or use_case.regression or not evidence.n:
        return
    wanted = use_case.gate.calibration
    if wanted.brier is not None and use_case.gate.metric != "brier":
        yield _judge_brier(evidence, champion, use_case, wanted.brier)
    if wanted.expected_error is not None:
        yield _judge_error(evidence, champion, use_case, wanted.expected_error)


def _judge_brier(evidence: Evidence, champion: Floats, use_case: UseCase, margin: float) -> RuleResult:
    level = use_case.gate.harm_level
    own, theirs = (
        LOSSES["brier"](evidence.labels, answers, use_case.answers)
        for answers in (evidence.challenger_answers, champion)
    )
    harm = compare_paired(own, theirs, evidence.event_time, independent=use_case.gate.independent)
    detail = f"Brier score {own.mean():.4f} against the champion's {theirs.mean():.4f}"
    return judge_harm("brier", harm, bound=margin, level=level, p=harm.p_above(margin), detail=detail)


def _judge_error(evidence: Evidence, champion: Floats, use_case: UseCase, margin: float) -> RuleResult:
    gate, classes = use_case.gate, use_case.answers
    truth = np.array([classes.index(str(label)) for label in evidence.labels], dtype=np.int64)
    own = calibration_tables(evidence.challenger_answers, truth, bins=gate.calibration.bins)
    theirs = calibration_tables(champion, truth, bins=gate.calibration.bins)
    both = np.concatenate([own, theirs], axis=1)

    def worse(sums: Floats) -> Floats:
        half = sums.shape[-1] // 2
        found: Floats = error_of(sums[..., :half]) - error_of(sums[..., half:])
        return found

    found: Resampled = resample_blocks(both, evidence.event_time, worse, level=gate.harm_level)
    errors = [float(error_of(table.sum(axis=0))) for table in (own, theirs)]
    verdict = Verdict.UNDECIDABLE if found.low is None else Verdict.FAIL if found.low > margin else Verdict.PASS
    return RuleResult(
        name="calibration_error",
        value=found.value,
        low=found.low,
        high=found.high,
        bound=margin,
        n=evidence.n,
        level=gate.harm_level,
        verdict=verdict,
        detail=f"expected calibration error {errors[0]:.4f} against the champion's {errors[1]:.4f}, worse by at most "
        f"{margin:g} allowed",
    )
