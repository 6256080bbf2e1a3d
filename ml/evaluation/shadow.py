"""What a shadow's answers say about the version that gave them, beside what clients were answered."""

from __future__ import annotations

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ml.evaluation.metrics import LOSSES
from ml.evaluation.paired import compare_paired, p_of_discordant
from ml.records.codes import Code
from ml.records.measure import Estimate
from ml.records.shadow import ShadowComparison, ShadowFailures, ShadowSeconds
from ml.training.serial_interval import mean_in_time
from ml.use_case import UseCase
from ml.use_case.serving_options import Shadow

#: Each side of the intervals.
_SIDE = 0.05
_WORDS = 120

Floats = NDArray[np.float64]


def compare_shadow(answers: pd.DataFrame, labelled: pd.DataFrame, use_case: UseCase) -> ShadowComparison:
    """Agreement, difference, failures, time and, where the truth is known, loss.

    Parameters
    ----------
    answers, labelled
        As :class:`ml.store.shadowed.ShadowedAnswers` gives them.
    """
    failed, champion_failed = answers["code"] != Code.OK, answers["champion_code"] != Code.OK
    both = answers[~failed & ~champion_failed]
    theirs, own = _probabilities(both, "champion_p_", use_case), _probabilities(both, "p_", use_case)
    apart = np.abs(own - theirs).max(axis=1) if len(both) else np.zeros(0)
    other = (both["predicted"] != both["champion_predicted"]).to_numpy().astype(np.float64)
    undefined = Estimate(value=None, n=len(both), detail="a number is no decision")
    return ShadowComparison(
        requests=answers["request_id"].nunique(),
        rows=len(answers),
        compared=len(both),
        failures=_count_failures(answers.assign(failed=failed, champion_failed=champion_failed)),
        failures_by=_name_failures(answers[failed & ~champion_failed]),
        disagreement=undefined if use_case.regression else _mean(other, both),
        difference=_mean(apart, both),
        largest_difference=float(apart.max()) if len(both) else None,
        seconds=_seconds(both),
        loss=_compare_losses(labelled, use_case),
    )


def judge_shadow(found: ShadowComparison, options: Shadow) -> tuple[bool, str]:
    """Whether a version may go on to be released, and what was found; asked once, when the shadow is over.

    Requests on which only one of the two failed are, of a version that fails no more often, no more likely to be its
    own than the champion's: a sign test, exact.
    """
    alone, theirs = found.failures.candidate_alone, found.failures.champion_alone
    p = p_of_discordant(alone, theirs)
    told = describe(found)
    if alone and p < options.level:
        said = max(found.failures_by, key=lambda name: found.failures_by[name])
        return (
            False,
            f"it alone fails on {alone} requests, the champion on {theirs} (p = {p:.2g}): {said}; {told}",
        )
    for what, estimate, bound in (
        ("decides otherwise", found.disagreement, options.most_disagreement),
        ("differs", found.difference, options.most_difference),
    ):
        if bound is not None and estimate.value is not None and estimate.value > bound:
            return False, f"it {what} by {estimate.value:.3g}, {bound:g} allowed; {told}"
    return True, told


def describe(found: ShadowComparison) -> str:
    """The comparison in one line."""
    parts = [f"{found.requests} requests, {found.rows} rows"]
    failures = found.failures
    parts.append(f"failed alone {failures.candidate_alone}, the champion alone {failures.champion_alone}")
    if found.disagreement.value is not None:
        parts.append(f"decides otherwise in {found.disagreement.value:.2%} {_range(found.disagreement)}")
    if found.difference.value is not None:
        parts.append(f"differs by {found.difference.value:.3g} in the mean, {found.largest_difference:.3g} at most")
    if found.seconds.champion is not None and found.seconds.candidate is not None:
        parts.append(f"{1000 * found.seconds.candidate:.2g} ms a row, the champion {1000 * found.seconds.champion:.2g}")
    if found.loss.value is not None:
        parts.append(f"its loss is {found.loss.value:.3g} lower {_range(found.loss)} on {found.loss.n} labelled rows")
    return "; ".join(parts)


def _probabilities(rows: pd.DataFrame, prefix: str, use_case: UseCase) -> Floats:
    names = [f"{prefix}{number}" for number in range(len(use_case.answers))]
    return rows[names].to_numpy(np.float64)


def _count_failures(rows: pd.DataFrame) -> ShadowFailures:
    by_request = rows.groupby("request_id")[["failed", "champion_failed"]].any()
    own, theirs = by_request["failed"], by_request["champion_failed"]
    return ShadowFailures(
        both=int((own & theirs).sum()),
        champion_alone=int((theirs & ~own).sum()),
        candidate_alone=int((own & ~theirs).sum()),
    )


def _name_failures(rows: pd.DataFrame) -> dict[str, int]:
    said = rows["code"].astype(str) + ": " + rows["detail"].fillna("").str.slice(0, _WORDS)
    return {str(name): int(count) for name, count in said.value_counts().head(5).items()}


def _mean(values: Floats, rows: pd.DataFrame) -> Estimate:
    return mean_in_time(values, rows["received_at"]).interval(_SIDE)


def _seconds(rows: pd.DataFrame) -> ShadowSeconds:
    if rows.empty:
        return ShadowSeconds(champion=None, candidate=None, n=0)
    return ShadowSeconds(
        champion=float(rows["champion_seconds"].median()), candidate=float(rows["seconds"].median()), n=len(rows)
    )


def _compare_losses(labelled: pd.DataFrame, use_case: UseCase) -> Estimate:
    rows = labelled[(labelled["code"] == Code.OK) & (labelled["champion_code"] == Code.OK)]
    if rows.empty:
        return Estimate(value=None, n=0, detail="no truth is known yet")
    loss, labels = LOSSES[use_case.gate.metric], rows["label"].to_numpy()
    theirs, own = (
        loss(labels, _probabilities(rows, prefix, use_case), use_case.answers) for prefix in ("champion_p_", "p_")
    )
    return compare_paired(theirs, own, rows["event_time"]).interval(_SIDE)


def _range(estimate: Estimate) -> str:
    return "" if estimate.low is None else f"({estimate.low:.3g} to {estimate.high:.3g})"
