"""Slices and groups: how the version does on parts of the rows, and whether it decides alike between groups."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ml.evaluation.bootstrap import Resampled, resample_blocks
from ml.evaluation.gaps import GAPS, gap_tables
from ml.evaluation.reliability import share_in_time
from ml.evaluation.slices import cut_slices, groups_of
from ml.governance.reports.model.audited import LEVEL, Audited, Chapter
from ml.governance.reports.quality import draw_slices, losses_of, measure_slices
from ml.governance.reports.small_cells import keep_back
from ml.records.measure import Estimate
from ml.records.report import Absent, Block, Cell, Facts, ReportFinding, Table

TITLE = "Slices and fairness"
Booleans = NDArray[np.bool_]


def describe_slices(audited: Audited) -> Chapter:
    """Loss by slice, rates of every group of a protected feature, and the gaps between groups."""
    if audited.undecidable:
        return Chapter(TITLE, (Facts(rows=(("Slices and groups", Absent(reason=audited.undecidable)),)),))
    groups = groups_of(audited.judged, audited.use_case)
    gaps = {feature: tuple(_gaps(audited, feature, found)) for feature, found in groups.items()}
    blocks = (*_slices(audited), *_groups(audited, groups), _gap_table(audited, gaps))
    findings = (
        ReportFinding(
            weight="attention",
            text=f"{gap.replace('_', ' ').capitalize()} between groups of {feature} is {told.value:.3f}, beyond doubt "
            f"above the bound of {bound:g} that the use case file sets.",
            section=TITLE,
        )
        for feature, found in gaps.items()
        for gap, told, bound, verdict in found
        if verdict == "fail" and told.value is not None
    )
    return Chapter(TITLE, blocks, tuple(findings))


def _slices(audited: Audited) -> Iterator[Block]:
    use_case, limit = audited.use_case, audited.sources.small_cell
    slices = cut_slices(audited.trained, audited.judged, use_case)
    if not slices:
        yield Facts(rows=(("Slices", Absent(reason="the use case file declares none in gate.slices.by")),))
        return
    losses = losses_of(audited.judged, audited.answers, use_case)
    found = measure_slices(losses, audited.judged["event_time"], slices, use_case.gate.slices.by, limit)
    yield draw_slices(found, use_case.gate.metric, len(losses), limit)


def _decisions(audited: Audited) -> tuple[Booleans, Booleans]:
    """Whether each row was decided to be, and was, positive."""
    positive = str(audited.use_case.target.positive)
    decided = audited.answers.argmax(axis=1) == audited.use_case.answers.index(positive)
    return decided, (audited.judged["label"] == positive).to_numpy(dtype=bool)


def _groups(audited: Audited, groups: dict[str, NDArray[np.object_]]) -> Iterator[Block]:
    if audited.use_case.regression or not groups:
        return
    decided, truth = _decisions(audited)
    times, limit = pd.DatetimeIndex(audited.judged["event_time"]), audited.sources.small_cell
    for feature, group in groups.items():
        columns = [_rates(decided, of, group, times, limit) for of in (np.ones(len(truth), dtype=bool), truth, ~truth)]
        positive = audited.use_case.target.positive
        yield Table(
            title=f"Groups of {feature}",
            columns=("group", f"decided {positive}", "true positive rate", "false positive rate"),
            rows=tuple((name, *(column[name] for column in columns)) for name in sorted(set(group))),
            note=f"Share of rows that were decided to be {positive}: of all rows, of those that were, of those that "
            "were not. Intervals 90 %, respecting time.",
        )


def _rates(
    decided: Booleans, of: Booleans, group: NDArray[np.object_], times: pd.DatetimeIndex, limit: int
) -> dict[str, Cell]:
    """Share decided to be positive of some rows of each group; groups whose count is too small are kept back."""
    counts = {str(name): int((of & (group == name)).sum()) for name in sorted(set(group))}
    hidden = keep_back(counts, limit)
    found: dict[str, Cell] = {}
    for name in counts:
        rows = of & (group == name)
        found[name] = share_in_time(decided[rows], times[rows])
        if name in hidden:
            found[name] = Absent(reason=f"suppressed: fewer than {limit} rows, or beside such a group")
    return found


_Gap = tuple[str, Estimate, float | None, str]


def _gaps(audited: Audited, feature: str, group: NDArray[np.object_]) -> Iterator[_Gap]:
    """Each gap with its interval, its bound and the verdict; groups too small to compare are left out."""
    fairness = audited.use_case.gate.fairness
    if audited.use_case.regression:
        return
    decided, truth = _decisions(audited)
    names, counts = np.unique(group.astype(str), return_counts=True)
    kept = np.isin(group.astype(str), names[counts >= audited.smallest])
    for gap, statistic in GAPS.items():
        bound = getattr(fairness, gap)
        if len(set(group[kept])) < 2:
            told = f"fewer than two groups with {audited.smallest} rows"
            yield gap, Estimate(value=None, n=int(kept.sum()), detail=told), bound, "undecidable"
            continue
        table = gap_tables(gap, decided[kept], truth[kept], group[kept])
        found = resample_blocks(table, audited.judged["event_time"][kept], statistic, level=LEVEL)
        yield gap, _told(found, int(kept.sum())), bound, _verdict(found, bound)


def _told(found: Resampled, n: int) -> Estimate:
    if not np.isfinite(found.value):
        return Estimate(value=None, n=n, detail="a group has no such rows")
    low = None if found.low is None else max(found.low, 0.0)
    return Estimate(value=found.value, n=n, low=low, high=found.high)


def _verdict(found: Resampled, bound: float | None) -> str:
    if bound is None:
        return "no bound is set"
    if found.low is None or found.high is None or not np.isfinite(found.value):
        return "undecidable"
    return "fail" if found.low > bound else "pass" if found.high <= bound else "undecidable"


def _gap_table(audited: Audited, gaps: dict[str, tuple[_Gap, ...]]) -> Block:
    if audited.use_case.regression:
        return Facts(rows=(("Fairness of decisions", Absent(reason="a regression decides nothing")),))
    if not gaps:
        return Facts(rows=(("Fairness", Absent(reason="the use case file declares no feature as protected")),))
    rows = tuple(
        (feature, gap.replace("_", " "), told, Absent(reason="none") if bound is None else bound, verdict)
        for feature, found in gaps.items()
        for gap, told, bound, verdict in found
    )
    return Table(
        title="Gaps between groups",
        columns=("protected feature", "gap", "largest difference", "bound", "verdict"),
        rows=rows,
        note="0 is equal. Fails where the interval lies above the bound, passes where it lies below; each end is wrong "
        f"at {LEVEL:.0%}. Groups with fewer than {audited.smallest} rows are left out.",
    )
