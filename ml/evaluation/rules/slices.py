"""No slice regresses: where the challenger is worse beyond doubt on a part of the rows, it is rejected."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from ml.evaluation.evidence import Evidence, Floats
from ml.evaluation.paired import compare_paired
from ml.evaluation.rules.harm import judge_harm
from ml.records.decision import RuleResult
from ml.records.measure import Verdict
from ml.training.serial_interval import SerialMean
from ml.use_case import UseCase


def judge_slices(evidence: Evidence, use_case: UseCase) -> Iterator[RuleResult]:
    """``slice {name}`` for each slice with enough rows: worse than the champion beyond doubt fails.

    Over all slices together a challenger that is worse on none is failed with probability ``gate.harm_level`` at most
    (Holm's correction). Smaller slices are told in ``small_slices``; it is undecidable when no slice is large enough.

    References
    ----------
    Holm (1979), A simple sequentially rejective multiple test procedure, Scand. J. Stat. 6.
    """
    champion, wanted = evidence.champion_loss, use_case.gate.slices
    if champion is None or not wanted.by:
        return
    large = {name: mask for name, mask in evidence.slices.items() if mask.sum() >= wanted.minimum_rows}
    found = {
        name: compare_paired(
            evidence.challenger_loss[mask],
            champion[mask],
            evidence.event_time[mask],
            independent=use_case.gate.independent,
        )
        for name, mask in large.items()
    }
    adjusted = adjust_holm({name: harm.p_above(wanted.margin) for name, harm in found.items()})
    for name, harm in found.items():
        yield _judge_slice(name, harm, adjusted[name], evidence.challenger_loss[large[name]], use_case)
    small = [name for name in evidence.slices if name not in large]
    if small:
        yield _tell_small(small, len(large), evidence, wanted.minimum_rows)


def adjust_holm(p_values: Mapping[str, float | None]) -> dict[str, float | None]:
    """p-values that keep their level over all of them together; None stays.

    Examples
    --------
    >>> adjust_holm({"a": 0.01, "b": 0.04, "c": None})
    {'a': 0.02, 'b': 0.04, 'c': None}
    """
    known = sorted((p, name) for name, p in p_values.items() if p is not None)
    adjusted: dict[str, float | None] = dict.fromkeys(p_values)
    largest = 0.0
    for rank, (p, name) in enumerate(known):
        largest = max(largest, min(1.0, p * (len(known) - rank)))
        adjusted[name] = largest
    return adjusted


def _judge_slice(name: str, harm: SerialMean, p: float | None, losses: Floats, use_case: UseCase) -> RuleResult:
    gate = use_case.gate
    told = "unknown" if p is None else f"{p:.2g}"
    return judge_harm(
        f"slice {name}",
        harm,
        bound=gate.slices.margin,
        level=gate.harm_level,
        p=p,
        detail=f"{gate.metric} {losses.mean():.4f} on {harm.n} rows with {name}: worse than the champion by "
        f"{harm.mean:.4f}, p {told} among all slices",
    )


def _tell_small(small: list[str], judged: int, evidence: Evidence, minimum: int) -> RuleResult:
    names = ", ".join(small[:5]) + (f" and {len(small) - 5} more" if len(small) > 5 else "")
    return RuleResult(
        name="small_slices",
        value=len(small),
        n=evidence.n,
        verdict=Verdict.PASS if judged else Verdict.UNDECIDABLE,
        detail=f"{judged} slices judged, {len(small)} have fewer than {minimum} rows and are not: {names}",
    )
