"""Explanations of training against live data: whether the version answers by other features than it learnt to."""

from __future__ import annotations

import numpy as np
import pandas as pd

from ml.errors import DataError
from ml.evaluation.attribution_shift import Attributions, AttributionShift, compare_attributions
from ml.evaluation.explain import choose_background, explain
from ml.governance.reports.model.audited import LEVEL, Audited, Chapter, evenly
from ml.records.measure import Estimate
from ml.records.report import Absent, Bars, BarSide, Block, Cell, Facts, ReportFinding, Table

TITLE = "Why it answers: training against live"
#: Rows of each side that are explained, at equal distances in time.
EXPLAINED = 200
#: Training rows that stand for "not known".
BACKGROUND = 25
_SHOWN = 20


def describe_shift(audited: Audited) -> Chapter:
    """Mean size of each feature's SHAP values on training and on live rows, and which of them differ beyond doubt."""
    try:
        fault, found, unit = _compare(audited)
    except DataError as error:
        fault, found, unit = f"undecidable: {error}", (), ""
    if fault:
        return Chapter(TITLE, (Facts(rows=(("Attributions", Absent(reason=fault)),)),))
    shifted = [one for one in found if one.shifted]
    text = "No feature's attribution differs beyond doubt between training and live rows."
    if shifted:
        told = "; ".join(f"{one.feature} {_times(one)}" for one in shifted[:5])
        text = f"The version answers live by other features than in training: {told}."
    weight = "attention" if shifted else "note"
    finding = ReportFinding.model_validate({"weight": weight, "text": text, "section": TITLE})
    return Chapter(TITLE, (_bars(found, unit), _table(found, unit)), (finding,))


def _compare(audited: Audited) -> tuple[str, tuple[AttributionShift, ...], str]:
    if audited.trained.empty:
        return "undecidable: the rows that it was trained on are gone", (), ""
    if audited.live.empty:
        return audited.undecidable, (), ""
    background = choose_background(audited.trained.assign(part="fit"), n=BACKGROUND)
    names, trained, unit = _explain(audited, audited.trained, background)
    _, live, _ = _explain(audited, audited.live, background)
    return "", compare_attributions(names, trained, live, level=LEVEL), unit


def _explain(
    audited: Audited, rows: pd.DataFrame, background: pd.DataFrame
) -> tuple[tuple[str, ...], Attributions, str]:
    """Sizes of the attributions; of classes half the sum over all, which of two is that of either."""
    chosen = evenly(rows, EXPLAINED)
    told = explain(audited.folder, chosen, background, audited.use_case)
    sizes = np.abs(told.values).sum(axis=2) / (1 if audited.use_case.regression else 2)
    return told.features, Attributions(sizes, chosen["event_time"]), told.unit


def _times(one: AttributionShift) -> str:
    before, after = one.trained.value or 0.0, one.live.value or 0.0
    return f"counts {after / before:.2f} times as much" if before > 0 else "counts for the first time"


def _bars(found: tuple[AttributionShift, ...], unit: str) -> Bars:
    order = sorted(found, key=lambda one: (-(one.trained.value or 0.0), one.feature))[:_SHOWN]

    def side(name: str, values: list[Estimate]) -> BarSide:
        return BarSide(
            name=name,
            values=tuple(one.value for one in values),
            low=tuple(None if one.low is None else max(one.low, 0.0) for one in values),
            high=tuple(one.high for one in values),
            n=values[0].n if values else 0,
        )

    return Bars(
        title="Mean size of SHAP values",
        unit=f"mean |SHAP value|, {unit}",
        names=tuple(one.feature for one in order),
        sides=(
            side("training", [one.trained for one in order]),
            side("live", [one.live for one in order]),
        ),
        note="How far each feature moves the answers, of the registered graph itself. Intervals 90 %, respecting time.",
    )


def _table(found: tuple[AttributionShift, ...], unit: str) -> Block:
    rows: list[tuple[Cell, ...]] = [
        (
            one.feature,
            one.trained,
            one.live,
            one.change,
            Absent(reason="undecidable") if one.adjusted is None else one.adjusted,
            Absent(reason="undecidable") if one.adjusted is None else "shifted" if one.shifted else "no",
        )
        for one in found[:_SHOWN]
    ]
    return Table(
        title="Change of each feature's attribution",
        columns=("feature", f"training, {unit}", f"live, {unit}", "live minus training", "p", "differs"),
        rows=tuple(rows),
        note=f"p is two-sided and corrected over all features (Holm): at most {LEVEL:.0%} of audits without a shift "
        f"name one. {EXPLAINED} rows of each side at most, {BACKGROUND} training rows as background.",
    )
