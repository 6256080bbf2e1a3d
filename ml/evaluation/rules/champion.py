"""How the challenger differs from the champion elsewhere than in its loss: churn of decisions, the old regime."""

from __future__ import annotations

from collections.abc import Iterator

from ml.evaluation.evidence import Evidence, OldRegime
from ml.evaluation.paired import compare_paired
from ml.evaluation.rules.harm import judge_harm
from ml.records.decision import RuleResult
from ml.records.measure import Verdict
from ml.use_case import UseCase
from ml.use_case.gate_options import FORGOTTEN


def judge_change(evidence: Evidence, use_case: UseCase) -> Iterator[RuleResult]:
    """``churn`` where the file bounds it, and ``old_regime``: earlier rows are not answered catastrophically worse.

    References
    ----------
    Milani Fard et al. (2016), Launch and iterate: reducing prediction churn, NeurIPS, eq. 1. McCloskey and Cohen
    (1989), Catastrophic interference in connectionist networks.
    """
    if evidence.champion_answers is None:
        return
    if use_case.gate.churn is not None:
        yield _judge_churn(evidence, use_case.gate.churn)
    share = _may_forget(use_case)
    if share is not None:
        yield _judge_old_regime(evidence.old_regime, use_case, share)


def measure_churn(evidence: Evidence) -> float | None:
    """Share of decisions that differ from the champion's, ``[0, 1]``; None without a champion's answers, or rows."""
    if evidence.champion_answers is None or evidence.n == 0:
        return None
    changed = evidence.challenger_answers.argmax(axis=1) != evidence.champion_answers.argmax(axis=1)
    return float(changed.mean())


def _may_forget(use_case: UseCase) -> float | None:
    """Share of the majority's loss; None where anything may be forgotten."""
    asked = use_case.gate.old_regime.worse_by
    if asked is None:
        return FORGOTTEN if use_case.training.strategy == "all_history" else None
    return None if asked == "any" else asked


def _judge_churn(evidence: Evidence, bound: float) -> RuleResult:
    share = measure_churn(evidence)
    verdict = Verdict.UNDECIDABLE if share is None else Verdict.PASS if share <= bound else Verdict.FAIL
    return RuleResult(
        name="churn",
        value=share,
        bound=bound,
        n=evidence.n,
        verdict=verdict,
        detail=f"{round((share or 0) * evidence.n)} of {evidence.n} decisions differ from the champion's, "
        f"{bound:.0%} allowed",
    )


def _judge_old_regime(past: OldRegime | None, use_case: UseCase, share: float) -> RuleResult:
    level = use_case.gate.harm_level
    if past is None:
        return RuleResult(
            name="old_regime",
            value=None,
            bound=share,
            n=0,
            verdict=Verdict.UNDECIDABLE,
            detail="the champion's own rows are not at hand",
        )
    scale = float(past.majority_loss.mean())
    harm = compare_paired(
        past.challenger_loss, past.champion_loss, past.event_time, independent=use_case.gate.independent
    )
    return judge_harm(
        "old_regime",
        harm,
        bound=share * scale,
        level=level,
        p=harm.p_above(share * scale),
        detail=f"on {harm.n} of the champion's own rows, {past.trained_on} of them trained on by the challenger, "
        f"{use_case.gate.metric} {past.challenger_loss.mean():.4f} against {past.champion_loss.mean():.4f}; "
        f"worse by {share:.0%} of the majority's {scale:.4f} would be too much",
    )
