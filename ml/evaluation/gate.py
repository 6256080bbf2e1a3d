"""The gate: rules that a challenger must keep, and the decision that follows from them."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Literal

from ml.evaluation.evidence import Evidence
from ml.evaluation.rules.calibration import judge_calibration
from ml.evaluation.rules.champion import judge_change, measure_churn
from ml.evaluation.rules.data import judge_data
from ml.evaluation.rules.fairness import judge_fairness
from ml.evaluation.rules.loss import judge_loss
from ml.evaluation.rules.package import judge_package
from ml.evaluation.rules.ranking import judge_ranking
from ml.evaluation.rules.rows import judge_rows
from ml.evaluation.rules.slices import judge_slices
from ml.records.decision import GateDecision, GateState, RuleResult
from ml.records.measure import Verdict
from ml.use_case import UseCase

Rule = Callable[[Evidence, UseCase], Iterable[RuleResult]]

#: In the order in which they are told.
RULES: tuple[Rule, ...] = (
    judge_data,
    judge_package,
    judge_loss,
    judge_slices,
    judge_fairness,
    judge_calibration,
    judge_ranking,
    judge_rows,
    judge_change,
)


def decide_gate(evidence: Evidence, use_case: UseCase) -> GateDecision:
    """Promote, review or reject a challenger, with every rule's numbers.

    Returns
    -------
    GateDecision
        Any ``fail`` or ``undecidable`` rejects; without a ``fail`` the state is then ``undecidable``. When every rule
        passes: ``promote``, or ``review`` with ``retraining.mode: review``; whether a change envelope then asks for a
        person is judged in :mod:`ml.governance.envelope`. A champion that cannot answer these rows
        cannot be compared; then a person decides whatever the mode, ``champion_unevaluable``.
    """
    rules = tuple(result for rule in RULES for result in rule(evidence, use_case))
    verdicts = {rule.verdict for rule in rules}
    passed = verdicts == {Verdict.PASS}
    told = [rule for rule in rules if passed or rule.verdict is not Verdict.PASS]
    state = _state(evidence, verdicts)
    fault = evidence.champion_fault
    return GateDecision(
        use_case=use_case.name,
        decision=_decide(state, passed=passed, review=use_case.retraining.mode == "review"),
        state=state,
        challenger_version=evidence.challenger_version,
        champion_version=evidence.champion_version,
        holdout=evidence.holdout,
        rules=rules,
        reasons=(
            *((f"The champion cannot be compared: {fault}.",) if fault else ()),
            *(f"{rule.name}: {rule.detail}." for rule in told),
        ),
        losses=_mean_losses(evidence),
        churn=None if use_case.regression else measure_churn(evidence),
    )


def _state(evidence: Evidence, verdicts: set[Verdict]) -> GateState:
    if Verdict.UNDECIDABLE in verdicts and Verdict.FAIL not in verdicts:
        return "undecidable"
    if evidence.champion_fault:
        return "champion_unevaluable"
    return "first_model" if evidence.champion_version is None else "compared"


def _decide(state: GateState, *, passed: bool, review: bool) -> Literal["promote", "review", "reject"]:
    if not passed:
        return "reject"
    return "review" if review or state == "champion_unevaluable" else "promote"


def _mean_losses(evidence: Evidence) -> dict[str, float]:
    if evidence.n == 0:
        return {}
    champion = {} if evidence.champion_loss is None else {"champion": evidence.champion_loss}
    losses = {"challenger": evidence.challenger_loss} | champion | evidence.baseline_losses
    return {name: float(loss.mean()) for name, loss in losses.items()}
