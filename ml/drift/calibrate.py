"""How far windows without drift lie apart, from the reference's own blocks, and the threshold that keeps a budget.

Rows of one source resemble their neighbours, so the blocks of the reference are resampled and not its rows. The
threshold must hold for all columns together: it is a quantile of the *largest* standardised statistic.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from ml.drift.context import name_contexts
from ml.drift.matched import Matched, match_reference, newest_mix
from ml.drift.memory import MINIMUM_BLOCKS, autocorrelation_time
from ml.drift.resample import Draws, Stretches
from ml.drift.statistics import Statistic, find_statistic
from ml.drift.statistics.base import Bins, bins_of
from ml.errors import DataError
from ml.records.profile import Calibration, ReferenceProfile
from ml.use_case import UseCase

Floats = NDArray[np.float64]

#: Windows of the live length that a reference with memory must hold. Naive resampling alarms in 14 to 37 % of checks
#: at a stated 5 % with four windows; with Student's quantile on the windows that stand apart, 5 to 7 windows of AR(1)
#: data with correlations of 0.5 to 0.98 from hour to hour gave 2 to 6 %.
MINIMUM_WINDOWS = 6
#: Blocks without which the absence of memory cannot be seen.
BLOCKS_TO_SEE_MEMORY = 100
#: Of the draws: the same reference and window give the same threshold.
SEED = 20260101
_TAIL = 0.1  # the share of draws that the tail's shape is taken from
_FAR = 0.01  # a budget below which Student's tail is too thin for the largest of many statistics
_SPREAD = 0.15  # a statistic that hardly varies by itself must still move by this much of its logarithm to count
_RARE_SPREAD = 1.0  # the same for events that the reference has hardly seen


@dataclass(frozen=True)
class DriftRule:
    """How a check is made.

    Attributes
    ----------
    statistics
        Names; each is used on the columns that it is defined for.
    false_alarm_budget
        Share of checks without drift that may alarm, all columns together, ``(0, 1)``; smaller gives a higher
        threshold.
    minimum_rows
        Fewer live rows are undecidable.
    alarms, of
        A drift is this many of the last ``of`` checks above their threshold.
    context
        What makes a row's context; live rows are compared with reference rows of the same contexts.
    multivariate
        Names of what looks at all columns together, :mod:`ml.drift.multivariate`.
    """

    statistics: tuple[str, ...] = ("wasserstein", "kolmogorov_smirnov", "psi", "missing_rate", "new_categories")
    false_alarm_budget: float = 0.05
    minimum_rows: int = 100
    alarms: int = 1
    of: int = 1
    context: tuple[str, ...] = ()
    multivariate: tuple[str, ...] = ()

    @cached_property
    def found(self) -> tuple[Statistic, ...]:
        """The statistics themselves."""
        return tuple(find_statistic(name) for name in self.statistics)

    @property
    def share(self) -> float:
        """What single columns may spend of the budget: half where the domain classifier has the other half."""
        return self.false_alarm_budget / (2 if "domain_classifier" in self.multivariate else 1)


def rule_of(use_case: UseCase) -> DriftRule:
    """The rule that a use case file states."""
    monitoring = use_case.monitoring
    return DriftRule(
        statistics=monitoring.statistics,
        false_alarm_budget=monitoring.budget_of_a_check,
        minimum_rows=monitoring.minimum_rows,
        alarms=monitoring.persistence.alarms,
        of=monitoring.persistence.of,
        context=monitoring.context,
        multivariate=monitoring.multivariate,
    )


def live_blocks(reference: ReferenceProfile, length: timedelta) -> int:
    """Blocks that a window of event time fills in the reference's way, at least 1: six a week where Sundays are empty.

    Raises
    ------
    DataError
        The reference has no event times.
    """
    if reference.block is None:
        raise DataError("reference has no event times", where=reference.use_case or "reference")
    span = (reference.positions[-1] + 1) if reference.positions else 1
    return max(round(length.total_seconds() / reference.block * len(reference.positions) / span), 1)


def calibrate(
    reference: ReferenceProfile,
    rule: DriftRule,
    *,
    rows: int,
    blocks: int,
    rng: np.random.Generator,
    mix: Mapping[str, int] | None = None,
) -> Calibration:
    """Threshold for live windows of so many rows and blocks.

    Two nulls are formed and the higher threshold counts. *Moving blocks*: runs of blocks, twice as long as the
    autocorrelation time, are drawn with replacement for a live window and for a reference of its own; rows are thinned
    to the live number. *Contiguous windows*: every stretch of live length within a timed reference against the rest,
    whose spread is extrapolated with Student's quantile; its degrees of freedom are the windows that fit with three
    autocorrelation times between them, but at least a quarter of all.

    With contexts, only blocks that hold the live window's contexts take part. Every drawn window is thinned to the
    live window's pattern, context by context, and its reference is matched to it as in a check.

    Parameters
    ----------
    rows, blocks
        Of the live window, in blocks of the reference.
    mix
        Rows of the live window by context; None takes the reference's newest blocks.

    Returns
    -------
    Calibration
        Without threshold, and with the reason, when the reference has fewer than :data:`MINIMUM_BLOCKS` blocks, or
        has memory and holds fewer than :data:`MINIMUM_WINDOWS` windows.

    References
    ----------
    Künsch (1989), The jackknife and the bootstrap for general stationary observations, section 2. Politis, Romano
    and Wolf (1999), Subsampling, chapter 3. Westfall and Young (1993), Resampling-based Multiple Testing, section 2.3:
    the largest statistic. Sokal (1997), Monte Carlo methods in statistical mechanics, section 3: autocorrelation time.
    """
    mix = dict(newest_mix(reference, blocks) if mix is None else mix) if rule.context else {}
    matched = match_reference(reference, rule.context, mix)
    cells = _cells(reference, rule)
    total = len(matched.blocks)
    counts = {name: matched.table(name) for name in dict.fromkeys(cell.column for cell in cells)}
    memory = autocorrelation_time(reference, counts)
    worth = total * matched.efficiency
    windows = worth / max(blocks, 1)
    refusal = _refusal(matched, worth, windows, memory)
    length = min(max(math.ceil(2 * memory), 1) if memory > 1 else 1, max(total // 4, 1))
    offset = 0.5 / max(rows, 1)
    drawn = Draws(matched, rule.of, rows=rows, blocks=max(blocks, 1), length=length, rng=rng)
    logs = _on_the_line(cells, counts, drawn, offset)
    centres, spreads = _standards(logs)
    threshold = None
    if not refusal:
        scores = np.max((logs - centres) / spreads, axis=-1)
        threshold = _quantile(_persisting(scores, rule.alarms), rule.false_alarm_budget)
        if reference.block is not None and windows >= MINIMUM_WINDOWS:
            whole = Stretches(matched, max(blocks, 1), drawn.pattern)
            stretches = _on_the_line(cells, counts, whole, offset)
            found = _runs(np.max((stretches - centres) / spreads, axis=-1)[:, 0], max(blocks, 1), rule)
            found = found[whole.unbroken[: len(found)]]
            # A trend within the reference looks like endless memory; what it does is in the spread of the windows.
            apart = worth / (max(blocks, 1) + min(3 * memory if memory > 1 else 0.0, 3 * max(blocks, 1)))
            threshold = max(threshold, extrapolate(found, apart, rule.false_alarm_budget))
    return Calibration(
        statistics=rule.statistics,
        false_alarm_budget=rule.false_alarm_budget,
        alarms=rule.alarms,
        of=rule.of,
        cells=tuple((cell.column, cell.statistic.name) for cell in cells),
        centres=tuple(centres.tolist()),
        spreads=tuple(spreads.tolist()),
        offset=offset,
        threshold=threshold,
        rows=rows,
        blocks=blocks,
        windows=windows,
        memory=memory,
        refusal=refusal,
        mix=mix,
    )


def calibrated_limits(calibration: Calibration) -> list[tuple[str, str, float, float | None]]:
    """Column, statistic, the value that is usual without drift, and the one that alone makes a drift."""
    found = []
    for (name, statistic), centre, spread in zip(
        calibration.cells, calibration.centres, calibration.spreads, strict=True
    ):
        bounded, reach = find_statistic(statistic).bounded, calibration.threshold
        limit = None if reach is None else bounded(centre + spread * reach, calibration.offset)
        found.append((name, statistic, bounded(centre, calibration.offset), limit))
    return found


@dataclass(frozen=True)
class Cell:
    """One column by one statistic."""

    column: str
    statistic: Statistic
    bins: Bins


def _cells(reference: ReferenceProfile, rule: DriftRule) -> tuple[Cell, ...]:
    bins = {name: bins_of(column) for name, column in reference.whole.columns.items()}
    return tuple(
        Cell(name, statistic, found)
        for name, found in bins.items()
        for statistic in rule.found
        if found.kind in statistic.kinds
    )


def _refusal(matched: Matched, worth: float, windows: float, memory: float) -> str:
    """Why there is no threshold; ``worth`` is how many blocks the matched ones are worth in the live mix."""
    total, place = math.floor(worth), f" of {name_contexts(matched.names)}" if matched.matched else ""
    if total < MINIMUM_BLOCKS:
        return f"The reference holds {total} blocks{place}; {MINIMUM_BLOCKS} are needed to see what it does by itself."
    if windows >= MINIMUM_WINDOWS:
        return ""
    if total < BLOCKS_TO_SEE_MEMORY or memory > 1:
        why = f"its columns remember {memory:.1f} blocks" if memory > 1 else f"{total} blocks cannot show its memory"
        return (
            f"The reference holds {windows:.1f} windows of this length{place} and {why}; "
            f"{MINIMUM_WINDOWS} windows are needed to tell drift from its own ways."
        )
    return ""


def _on_the_line(cells: tuple[Cell, ...], counts: dict[str, Floats], drawn: Draws | Stretches, offset: float) -> Floats:
    """All cells on the whole line, of shape ``(n_draws, groups, n_cells)``; undefined is 0."""
    found, tables, at = [], None, ""
    for cell in cells:
        if tables is None or cell.column != at:
            tables, at = drawn.tables(counts[cell.column]), cell.column
        values = np.nan_to_num(cell.statistic.distance(*tables, cell.bins))
        found.append(cell.statistic.unbounded(values, offset))
    table = np.stack(found, axis=-1) if found else np.zeros((len(drawn.live), 0))
    return table.reshape(-1, drawn.groups, len(cells))


def _standards(logs: Floats) -> tuple[Floats, Floats]:
    flat = logs.reshape(-1, logs.shape[-1])
    centres, spreads = flat.mean(axis=0), flat.std(axis=0)
    rare = np.mean(flat <= flat.min(axis=0, initial=0.0) + 1e-9, axis=0) > 0.5
    return centres, np.where(rare, np.maximum(spreads, _RARE_SPREAD), np.maximum(spreads, _SPREAD))


def _persisting(scores: Floats, alarms: int) -> Floats:
    """Of each sequence of checks, the score that so many of them reach."""
    return np.sort(scores, axis=-1)[:, -alarms]


def _runs(scores: Floats, blocks: int, rule: DriftRule) -> Floats:
    """The same for sequences of contiguous windows that follow each other."""
    reach = blocks * (rule.of - 1)
    if reach == 0 or len(scores) <= reach + 1:
        return scores
    sequences = np.stack([scores[i * blocks : len(scores) - reach + i * blocks] for i in range(rule.of)], axis=-1)
    return _persisting(sequences, rule.alarms)


def _quantile(scores: Floats, budget: float) -> float:
    """Quantile ``1 - budget``; beyond the draws' last tenth by an exponential tail, which has less noise."""
    if budget >= _TAIL:
        return float(np.quantile(scores, 1 - budget))
    start = float(np.quantile(scores, 1 - _TAIL))
    excess = scores[scores > start] - start
    return start + float(excess.mean() if len(excess) else 0.0) * math.log(_TAIL / budget)


def extrapolate(scores: Floats, windows: float, budget: float) -> float:
    """Student's prediction bound for one more window; below a budget of 1 % with the tail of a largest value.

    References
    ----------
    Gumbel (1958), Statistics of Extremes, section 5.2: the largest of many falls off exponentially, by
    ``sqrt(6) / pi`` of its standard deviation for each factor of e.
    """
    quantile = float(stats.t.ppf(1 - max(budget, _FAR), df=max(windows - 1, 1)))
    beyond = math.sqrt(6) / math.pi * math.log(max(_FAR / budget, 1.0))
    return float(scores.mean()) + float(scores.std(ddof=1)) * (quantile * math.sqrt(1 + 1 / windows) + beyond)
