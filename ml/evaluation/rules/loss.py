"""Whether the challenger is the better forecaster: than the champion, than the trivial forecasts."""

from __future__ import annotations

from collections.abc import Iterator

from ml.evaluation.baselines import asked_baselines
from ml.evaluation.evidence import Evidence, Floats
from ml.evaluation.paired import compare_paired
from ml.evaluation.spending import spend_level
from ml.records.decision import RuleResult
from ml.records.measure import Verdict
from ml.use_case import UseCase


def judge_loss(evidence: Evidence, use_case: UseCase) -> Iterator[RuleResult]:
    """``beats_champion`` and ``beats_{baseline}``.

    The champion must be beaten beyond doubt, at the level that :func:`ml.evaluation.spending.spend_level` leaves; with
    ``gate.test: non_inferiority`` it must be beyond doubt that the challenger is not worse by ``gate.margin``.
    Baselines must be beaten on average, not beyond doubt, since a week rarely holds enough events to prove the obvious
    (the harbour's forest is better than the majority by 0.31 nats in its first week, with p 0.09). Where the champion
    loses to a baseline as well, rejecting the challenger would keep what is worse: there it fails only if the baseline
    is better beyond doubt, at ``gate.level``. Over the harbour's year this takes a forest from 0.142 to 0.122.
    """
    if evidence.champion_loss is not None:
        yield _judge_champion(evidence, evidence.champion_loss, use_case)
    for name in asked_baselines(use_case):
        losses = evidence.baseline_losses.get(name)
        yield _without_rows(name) if losses is None else _judge_baseline(evidence, use_case, name, losses)


def _judge_champion(evidence: Evidence, champion: Floats, use_case: UseCase) -> RuleResult:
    gate = use_case.gate
    bound = gate.margin if gate.test == "superiority" else -gate.margin
    level = spend_level(gate.level, evidence.earlier) if gate.spend else gate.level
    gain = compare_paired(champion, evidence.challenger_loss, evidence.event_time, independent=gate.independent)
    told, p = gain.interval(level), gain.p_above(bound)
    if p is None:
        verdict, proof = Verdict.UNDECIDABLE, "no interval"
    else:
        verdict = Verdict.PASS if p < level else Verdict.FAIL
        proof = f"p {p:.2g} of being better by {bound:g} or less, below {level:.2g} needed"
    number = f" ({_ordinal(len(evidence.earlier) + 1)} challenger of this champion)" if gate.spend else ""
    return RuleResult(
        name="beats_champion",
        value=told.value,
        low=told.low,
        high=told.high,
        bound=bound,
        n=told.n,
        p=p,
        level=level,
        verdict=verdict,
        detail=f"{gate.metric} {_mean(evidence.challenger_loss)} against the champion's "
        f"{_mean(champion)}: better by {_number(told.value)}, {proof}{number}",
    )


def _judge_baseline(evidence: Evidence, use_case: UseCase, name: str, losses: Floats) -> RuleResult:
    gate = use_case.gate
    gain = compare_paired(losses, evidence.challenger_loss, evidence.event_time, independent=gate.independent)
    told, p = gain.interval(gate.level), gain.p_above(0.0)
    champion = evidence.champion_loss
    keeps_worse = champion is not None and champion.sum() > losses.sum()
    detail = (
        f"{gate.metric} {_mean(evidence.challenger_loss)} against {_mean(losses)} of the {name} forecast: "
        f"better by {_number(told.value)}"
    )
    if told.value is None:
        verdict = Verdict.UNDECIDABLE
    elif told.value > 0 or not keeps_worse:
        verdict = Verdict.PASS if told.value > 0 else Verdict.FAIL
    elif p is None:
        verdict, detail = Verdict.UNDECIDABLE, f"{detail}, no interval; the champion loses to it, too"
    else:
        verdict = Verdict.FAIL if 1 - p < gate.level else Verdict.PASS
        detail += f", p {1 - p:.2g} of not being worse, above {gate.level:.2g} needed as the champion loses to it, too"
    return RuleResult(
        name=f"beats_{name}",
        value=told.value,
        low=told.low,
        high=told.high,
        bound=0,
        n=told.n,
        p=p,
        verdict=verdict,
        detail=detail,
    )


def _without_rows(name: str) -> RuleResult:
    detail = f"the rows that the {name} forecast would learn from are not at hand"
    return RuleResult(name=f"beats_{name}", value=None, bound=0, n=0, verdict=Verdict.UNDECIDABLE, detail=detail)


def _mean(losses: Floats) -> str:
    return f"{losses.mean():.4f}" if len(losses) else "of no rows"


def _number(value: float | None) -> str:
    return "an unknown amount" if value is None else f"{value:.4f}"


def _ordinal(number: int) -> str:
    ending = "th" if 10 <= number % 100 <= 20 else {1: "st", 2: "nd", 3: "rd"}.get(number % 10, "th")
    return f"{number}{ending}"
