"""Whether decisions differ between the groups of a protected feature more than they may."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ml.evaluation.bootstrap import Resampled, resample_blocks
from ml.evaluation.evidence import Evidence, Floats
from ml.evaluation.gaps import GAPS, gap_tables
from ml.records.decision import RuleResult
from ml.records.measure import Verdict
from ml.use_case import UseCase


def judge_fairness(evidence: Evidence, use_case: UseCase) -> Iterator[RuleResult]:
    """``{gap} {feature}`` for each protected feature: ``demographic_parity`` and ``equalized_odds``.

    A gap fails that lies above the file's bound beyond doubt, or exceeds the champion's by more than
    ``gate.fairness.worse_by`` beyond doubt. Groups with fewer than ``gate.slices.minimum_rows`` rows are left out and
    told; with fewer than two groups left there is nothing to compare, which is undecidable.
    """
    for feature in evidence.groups:
        compared = _compare(evidence, feature, use_case)
        for gap in GAPS:
            yield _judge_gap(gap, feature, compared, use_case)


@dataclass(frozen=True)
class _Compared:
    """Decisions on the rows of the groups that are large enough."""

    groups: NDArray[np.object_]
    truth: NDArray[np.bool_]
    challenger: NDArray[np.bool_]
    champion: NDArray[np.bool_] | None
    event_time: pd.DatetimeIndex
    left_out: str


def _compare(evidence: Evidence, feature: str, use_case: UseCase) -> _Compared:
    groups, minimum = evidence.groups[feature], use_case.gate.slices.minimum_rows
    names, counts = np.unique(groups, return_counts=True)
    small = names[counts < minimum]
    kept = ~np.isin(groups, small)
    positive = use_case.answers.index(str(use_case.target.positive))

    def decided(answers: Floats) -> NDArray[np.bool_]:
        found: NDArray[np.bool_] = answers[kept].argmax(axis=1) == positive
        return found

    champion = evidence.champion_answers
    return _Compared(
        groups=groups[kept],
        truth=(evidence.labels == use_case.target.positive)[kept],
        challenger=decided(evidence.challenger_answers),
        champion=None if champion is None else decided(champion),
        event_time=evidence.event_time[kept],
        left_out=f"; groups with fewer than {minimum} rows left out: {', '.join(small)}" if len(small) else "",
    )


def _judge_gap(gap: str, feature: str, compared: _Compared, use_case: UseCase) -> RuleResult:
    fairness, level, statistic = use_case.gate.fairness, use_case.gate.harm_level, GAPS[gap]
    name, bound = f"{gap} {feature}", getattr(fairness, gap)
    if len(set(compared.groups)) < 2:
        return _undecidable(name, len(compared.groups), f"fewer than two groups to compare{compared.left_out}")
    own = gap_tables(gap, compared.challenger, compared.truth, compared.groups)
    found = resample_blocks(own, compared.event_time, statistic, level=level)
    if not np.isfinite(found.value):
        return _undecidable(name, len(compared.groups), f"a group has no such rows{compared.left_out}")
    verdicts = [] if bound is None else [_above(found, bound)]
    told = f"gap {found.value:.3f} between groups ({_tell_groups(gap, compared)})"
    told += "" if bound is None else f", at most {bound:g} allowed"
    if compared.champion is not None:
        theirs = gap_tables(gap, compared.champion, compared.truth, compared.groups)
        worse = resample_blocks(
            np.concatenate([own, theirs], axis=1),
            compared.event_time,
            lambda sums: statistic(sums[..., : own.shape[1]]) - statistic(sums[..., own.shape[1] :]),
            level=level,
        )
        verdicts.append(_above(worse, fairness.worse_by))
        told += f", the champion's {float(statistic(theirs.sum(axis=0))):.3f}, worse by {fairness.worse_by:g} allowed"
    return RuleResult(
        name=name,
        value=found.value,
        low=found.low,
        high=found.high,
        bound=bound,
        n=len(compared.groups),
        level=level,
        verdict=_worst(verdicts),
        detail=told + compared.left_out,
    )


def _tell_groups(gap: str, compared: _Compared) -> str:
    """The rates that the gap is the largest difference of."""
    from fairlearn.metrics import MetricFrame, false_positive_rate, selection_rate, true_positive_rate

    rates = {"selection rate": selection_rate}
    if gap == "equalized_odds":
        rates = {"true positives": true_positive_rate, "false positives": false_positive_rate}
    found = MetricFrame(
        metrics=rates, y_true=compared.truth, y_pred=compared.challenger, sensitive_features=compared.groups
    ).by_group
    return "; ".join(
        f"{rate} {', '.join(f'{group} {value:.3f}' for group, value in found[rate].items())}" for rate in rates
    )


def _above(found: Resampled, bound: float) -> Verdict:
    if found.low is None:
        return Verdict.UNDECIDABLE
    return Verdict.FAIL if found.low > bound else Verdict.PASS


def _worst(verdicts: list[Verdict]) -> Verdict:
    for verdict in (Verdict.FAIL, Verdict.UNDECIDABLE):
        if verdict in verdicts:
            return verdict
    return Verdict.PASS


def _undecidable(name: str, n: int, detail: str) -> RuleResult:
    return RuleResult(name=name, value=None, n=n, verdict=Verdict.UNDECIDABLE, detail=detail)
