"""Where the version fails: slices found by search, and how little must change for it to decide otherwise."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from ml.evaluation.conditions import columns_of
from ml.evaluation.flips import PAIRED_STEPS, SMALL, Flips, find_flips
from ml.evaluation.weak_slices import WeakSlice, WeakSlices, find_weak_slices
from ml.governance.reports.model.audited import LEVEL, Audited, Chapter, evenly
from ml.governance.reports.quality import losses_of
from ml.records.report import Absent, Block, Cell, Facts, Line, Lines, ReportFinding, Table
from ml.training.loss import expected_losses

TITLE = "Where it fails"
#: Live rows that are changed, at equal distances in time.
CHANGED = 200
_DEPTH = 3
_DISTANCES = (0.01, 0.025, 0.05, 0.1, 0.15, 0.2, 0.35, 0.5, 0.75, 1.0)


def describe_failures(audited: Audited) -> Chapter:
    """Weak slices by loss and by surprise, and flips of the decision."""
    slices = () if audited.undecidable else tuple(_searches(audited))
    blocks: list[Block] = [_table(audited, name, found) for name, found in slices]
    if audited.undecidable:
        blocks.append(Facts(rows=(("Weak slices", Absent(reason=audited.undecidable)),)))
    flips = _flips(audited)
    blocks += flips if isinstance(flips, list) else list(_told(audited, flips))
    findings = [finding for name, found in slices for finding in _of_slices(name, found)]
    if isinstance(flips, Flips):
        findings += _of_flips(audited, flips)
    return Chapter(TITLE, tuple(blocks), tuple(findings))


def _searches(audited: Audited) -> Iterator[tuple[str, WeakSlices]]:
    """By what rows cost; of classes also by how much more that is than the version expects itself."""
    use_case, rows = audited.use_case, audited.judged
    columns, losses = columns_of(rows, use_case), losses_of(rows, audited.answers, use_case)
    costs = {"cost": losses}
    if not use_case.regression:
        costs["surprise"] = losses - expected_losses(audited.answers, use_case.gate.metric)
    for name, cost in costs.items():
        found = find_weak_slices(
            columns,
            cost,
            rows["event_time"],
            block=use_case.gate.block,
            minimum_rows=audited.smallest,
            level=LEVEL,
            depth=_DEPTH,
            floor=0.0 if name == "surprise" else None,
        )
        yield name, found


_TITLES = {"cost": "Where it costs the most", "surprise": "Where it costs more than it expects itself"}


def _table(audited: Audited, name: str, found: WeakSlices) -> Block:
    if found.undecidable:
        return Facts(title=_TITLES[name], rows=(("Search", Absent(reason=f"undecidable: {found.undecidable}")),))
    metric = audited.use_case.gate.metric
    told = {"cost": f"mean {metric}", "surprise": f"mean {metric} above the expected one"}[name]
    rows: list[tuple[Cell, ...]] = [
        (
            one.told,
            "yes" if one.confirmed else "no",
            one.excess,
            one.mean,
            Absent(reason="undecidable") if one.adjusted is None else one.adjusted,
            one.found,
        )
        for one in found.tried
    ]
    return Table(
        title=_TITLES[name],
        columns=("slice", "confirmed", "above the other rows by", told, "p", "excess where it was found"),
        rows=tuple(rows),
        note=f"{found.searched:,} conjunctions of up to {_DEPTH} conditions were looked at on {found.n_found:,} rows; "
        f"the worst, each among the rows that those found before it leave, were measured on {found.n:,} rows of other "
        f"times, which the search had not seen: there the excess is an honest one, with its interval and rows. p is "
        f"corrected over these (Holm): of searches without a weak slice at most {LEVEL:.0%} confirm one.",
    )


def _of_slices(name: str, found: WeakSlices) -> Iterator[ReportFinding]:
    def told(one: WeakSlice) -> str:
        return f"{one.told} (by {one.excess.value:.3g} on {one.n:,} rows)"

    if found.undecidable:
        return
    names = "; ".join(told(one) for one in found.confirmed[:3])
    if name == "surprise" and found.confirmed:
        text = f"Its probabilities are too sure where {names}."
        yield ReportFinding(weight="attention", text=text, section=TITLE)
    elif name == "surprise":
        yield ReportFinding(weight="note", text="No slice was found in which it is too sure.", section=TITLE)
    elif found.confirmed:
        yield ReportFinding(weight="note", text=f"It costs more than elsewhere where {names}.", section=TITLE)


def _flips(audited: Audited) -> Flips | list[Block]:
    """How near decisions are to turning; or why that is not known."""
    fault = audited.fault and f"undecidable: it cannot answer these rows: {audited.fault}"
    if audited.use_case.regression:
        fault = "a regression decides nothing that could turn"
    elif audited.live.empty:
        fault = audited.undecidable
    elif audited.trained.empty:
        fault = "undecidable: the rows that it was trained on are gone, so that nobody knows which values are possible"
    if fault:
        return [Facts(title="Smallest changes that turn a decision", rows=(("Flips", Absent(reason=fault)),))]
    return find_flips(audited.answer, evenly(audited.live, CHANGED), audited.trained, audited.use_case)


def _told(audited: Audited, flips: Flips) -> Iterator[Block]:
    lines = []
    for name, single in (("one feature", True), ("one or two", False)):
        shares = [flips.share_within(distance, single=single) for distance in _DISTANCES]
        lines.append(
            Line(
                name=f"{name} (n {len(flips.single):,})",
                x=_DISTANCES,
                y=tuple(one.value for one in shares),
                low=tuple(one.low for one in shares),
                high=tuple(one.high for one in shares),
            )
        )
    yield Lines(
        title="Share of decisions that turn, by how far features move",
        x_label="distance: observed rows that lie between old and new value, as a share, in sum",
        y_label="share of live rows",
        lines=tuple(lines),
        note="The nearest of all steps that were tried, between observed values; another value of a category or "
        f"boolean counts 1. Two at once: {', '.join(flips.paired)}, by up to {max(PAIRED_STEPS):g} each.",
    )
    yield _by_feature(audited, flips)


def _by_feature(audited: Audited, flips: Flips) -> Table:
    rows: list[tuple[Cell, ...]] = []
    for name, feature in audited.use_case.features.items():
        near = [one.distance for one in flips.single if one is not None and one.moves[0].feature == name]
        middle: Cell = Absent(reason="it is nearest in too few rows")
        if len(near) >= audited.sources.small_cell:
            middle = float(np.median(near))
        rows.append((name, "yes" if feature.protected else "", flips.share_alone(name), middle))
    order = sorted(range(len(rows)), key=lambda i: (-float(flips.alone[str(rows[i][0])].sum()), i))
    return Table(
        title="What one feature alone can turn",
        columns=("feature", "protected", "share of decisions that it can turn", "median distance where it is nearest"),
        rows=tuple(rows[i] for i in order),
        note=f"All others as they were, over all observed values; {len(flips.single):,} live rows at equal distances "
        "in time. Single rows are not shown.",
    )


def _of_flips(audited: Audited, flips: Flips) -> Iterator[ReportFinding]:
    near = flips.share_within(SMALL)
    if near.value is None:
        return
    text = f"{near.value:.1%} of decisions turn when one or two features move past {SMALL:.0%} of the observed rows."
    yield ReportFinding(weight="note", text=text, section=TITLE)
    for name, feature in audited.use_case.features.items():
        share = flips.share_alone(name)
        if feature.protected and share.value:
            text = f"Another value of the protected feature {name} alone turns {share.value:.1%} of decisions."
            yield ReportFinding(weight="attention", text=text, section=TITLE)
