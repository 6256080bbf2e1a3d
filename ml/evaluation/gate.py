"""The gate: rules that a challenger must keep, and the decision that follows from them."""

from __future__ import annotations

from datetime import datetime
from typing import Literal

import pandas as pd

from ml.evaluation.evidence import Evidence, Floats
from ml.evaluation.paired import compare_paired
from ml.records.decision import GateDecision, RuleResult
from ml.records.measure import Verdict
from ml.training.block_interval import count_blocks
from ml.use_case import UseCase


def decide_gate(evidence: Evidence, use_case: UseCase) -> GateDecision:
    """Promote, review or reject a challenger, with every rule's numbers.

    The rules: ``enough_rows`` and blocks in the holdout; ``unseen_holdout`` (it begins after all that either model was
    trained on, and shares no row); ``watermark`` (the challenger's data is not older than the champion's); ``parity``
    of the graph; ``beats_champion`` (the lower bound of the paired improvement lies above ``gate.margin``); and
    ``beats_persistence`` and ``beats_majority`` (a lower mean loss; the interval is told but does not count, since a
    week rarely holds enough events to prove the obvious, and because losing to a trivial forecast is worse than
    keeping the champion for a while).

    Returns
    -------
    GateDecision
        Any ``fail`` or ``undecidable`` rejects; without a ``fail`` the state is then ``undecidable``. When every rule
        passes: ``promote``, or ``review`` with ``retraining.mode: review``.
    """
    rules = _rules(evidence, use_case)
    verdicts = {rule.verdict for rule in rules}
    passed = verdicts == {Verdict.PASS}
    decision: Literal["promote", "review", "reject"] = "reject"
    if passed:
        decision = "review" if use_case.retraining.mode == "review" else "promote"
    state: Literal["first_model", "compared", "undecidable"]
    state = "first_model" if evidence.champion_loss is None else "compared"
    if Verdict.UNDECIDABLE in verdicts and Verdict.FAIL not in verdicts:
        state = "undecidable"
    told = [rule for rule in rules if passed or rule.verdict is not Verdict.PASS]
    return GateDecision(
        use_case=use_case.name,
        decision=decision,
        state=state,
        challenger_version=evidence.challenger_version,
        champion_version=evidence.champion_version,
        holdout=evidence.holdout,
        rules=rules,
        reasons=tuple(f"{rule.name}: {rule.detail}." for rule in told),
        losses=_mean_losses(evidence),
    )


def _mean_losses(evidence: Evidence) -> dict[str, float]:
    if evidence.n == 0:
        return {}
    champion = {} if evidence.champion_loss is None else {"champion": evidence.champion_loss}
    losses = {"challenger": evidence.challenger_loss} | champion | evidence.baseline_losses
    return {name: float(loss.mean()) for name, loss in losses.items()}


def _rules(evidence: Evidence, use_case: UseCase) -> tuple[RuleResult, ...]:
    return (
        _judge_rows(evidence, use_case),
        _judge_holdout(evidence),
        *(() if evidence.champion_watermark is None else (_judge_watermark(evidence, evidence.champion_watermark),)),
        _judge_parity(evidence, use_case),
        *(() if evidence.champion_loss is None else (_judge_champion(evidence, evidence.champion_loss, use_case),)),
        *(_judge_baseline(evidence, use_case, name) for name in evidence.baseline_losses),
    )


def _judge_rows(evidence: Evidence, use_case: UseCase) -> RuleResult:
    needed, blocks = use_case.gate.minimum_rows, count_blocks(evidence.event_time, use_case.gate.block)
    enough = evidence.n >= needed and blocks >= 2
    return RuleResult(
        name="enough_rows",
        value=evidence.n,
        bound=needed,
        n=evidence.n,
        verdict=Verdict.PASS if enough else Verdict.UNDECIDABLE,
        detail=f"the holdout has {evidence.n} labelled rows in {blocks} blocks; {needed} rows in 2 are needed",
    )


def _judge_holdout(evidence: Evidence) -> RuleResult:
    """The holdout's rows were seen by neither model."""
    known = [evidence.watermark] + ([evidence.champion_watermark] if evidence.champion_watermark else [])
    seen = int((evidence.event_time <= pd.Timestamp(max(known))).sum()) + evidence.shared_ids
    return RuleResult(
        name="unseen_holdout",
        value=seen,
        bound=0,
        n=evidence.n,
        verdict=Verdict.FAIL if seen else Verdict.PASS,
        detail=f"{seen} rows of the holdout are within training data, which ends {_minute(max(known))}",
    )


def _judge_watermark(evidence: Evidence, champion: datetime) -> RuleResult:
    """A champion's watermark never goes back."""
    newer = (evidence.watermark - champion).total_seconds() / 86400
    return RuleResult(
        name="watermark",
        value=newer,
        bound=0,
        n=evidence.n,
        verdict=Verdict.PASS if newer >= 0 else Verdict.FAIL,
        detail=f"the challenger's data ends {_minute(evidence.watermark)}, the champion's {_minute(champion)}",
    )


def _judge_parity(evidence: Evidence, use_case: UseCase) -> RuleResult:
    parity, allowed = evidence.parity, use_case.gate.parity_flips
    holds = parity.verdict is Verdict.PASS and parity.flips <= allowed and parity.n > 0
    return RuleResult(
        name="parity",
        value=parity.flips,
        bound=allowed,
        n=parity.n,
        verdict=Verdict.PASS if holds else Verdict.FAIL,
        detail=f"ONNX and scikit-learn decide differently in {parity.flips} of {parity.n} rows, "
        f"{allowed} allowed; probabilities differ by {parity.largest_difference:.1g} at most",
    )


def _judge_champion(evidence: Evidence, champion: Floats, use_case: UseCase) -> RuleResult:
    gate = use_case.gate
    gain = compare_paired(champion, evidence.challenger_loss, evidence.event_time, block=gate.block, level=gate.level)
    if gain.value is None or gain.low is None:
        verdict, bound = Verdict.UNDECIDABLE, "no interval"
    else:
        verdict = Verdict.PASS if gain.low > gate.margin else Verdict.FAIL
        bound = f"at level {gate.level:g} at least {gain.low:.4f}, needed above {gate.margin:g}"
    return RuleResult(
        name="beats_champion",
        value=gain.value,
        low=gain.low,
        high=gain.high,
        bound=gate.margin,
        n=gain.n,
        verdict=verdict,
        detail=f"{gate.metric} {_mean(evidence.challenger_loss)} against the champion's "
        f"{_mean(champion)}: better by {_number(gain.value)}, {bound}",
    )


def _judge_baseline(evidence: Evidence, use_case: UseCase, name: str) -> RuleResult:
    gate, losses = use_case.gate, evidence.baseline_losses[name]
    gain = compare_paired(losses, evidence.challenger_loss, evidence.event_time, block=gate.block, level=gate.level)
    better = Verdict.UNDECIDABLE if gain.value is None else Verdict.PASS if gain.value > 0 else Verdict.FAIL
    return RuleResult(
        name=f"beats_{name}",
        value=gain.value,
        low=gain.low,
        high=gain.high,
        bound=0,
        n=gain.n,
        verdict=better,
        detail=f"{gate.metric} {_mean(evidence.challenger_loss)} against {_mean(losses)} of the {name} forecast: "
        f"better by {_number(gain.value)}",
    )


def _mean(losses: Floats) -> str:
    return f"{losses.mean():.4f}" if len(losses) else "of no rows"


def _number(value: float | None) -> str:
    return "an unknown amount" if value is None else f"{value:.4f}"


def _minute(moment: datetime) -> str:
    return f"{moment:%Y-%m-%d %H:%M}"
