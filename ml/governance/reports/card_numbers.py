"""The quantitative part of a model card: measured again on the version's own hold-out, and what the gate found."""

from __future__ import annotations

from collections.abc import Iterator

import pandas as pd

from ml.errors import DataError
from ml.evaluation.baselines import forecast_baselines
from ml.evaluation.behaviour import ask_golden_rows
from ml.evaluation.slices import cut_slices
from ml.governance.reports.gate_table import gate_of, gate_table
from ml.governance.reports.quality import (
    Floats,
    draw_answers,
    draw_slices,
    losses_of,
    mean_of,
    measure_slices,
)
from ml.governance.reports.sources import Sources
from ml.records.decision import Choice
from ml.records.league import League
from ml.records.report import Absent, Block, Cell, Facts, Table, Words
from ml.registry.port import ModelVersion
from ml.training.parts import rows_of


def describe_numbers(sources: Sources, version: ModelVersion) -> Iterator[Block]:
    """Loss, baselines, calibration and slices on the hold-out, golden rows, candidates, gate, league."""
    yield from _on_holdout(sources, version)
    gate = gate_of(sources, version)
    if gate is not None:
        met = "no champion" if gate.champion_version is None else f"champion version {gate.champion_version}"
        yield gate_table(f"The gate: {gate.decision}, against {met}", gate.rules)
        yield Words(text=" ".join(gate.reasons))
    yield from _candidates(sources, version)
    yield from _league(sources, version)


def _on_holdout(sources: Sources, version: ModelVersion) -> Iterator[Block]:
    try:
        frame = sources.lake.read_training(version.data_version)
        with sources.answers_of(version) as answer:
            judged = rows_of(frame, "holdout")
            found = answer(judged)
            golden = ask_golden_rows(answer, sources.use_case)
    except DataError as error:
        yield Facts(title="On the hold-out", rows=(("Numbers", Absent(reason=str(error))),))
        return
    yield from _losses(sources, frame, judged, found)
    if not judged.empty:
        yield draw_answers(judged, found, sources.use_case, sources.small_cell)
        yield from _slices(sources, frame, judged, found)
    if golden:
        rows = tuple((one.name, one.value, one.bound, one.holds, one.detail) for one in golden)
        yield Table(title="Golden rows", columns=("row", "value", "bound", "holds", "what it says"), rows=rows)


def _losses(sources: Sources, frame: pd.DataFrame, judged: pd.DataFrame, found: Floats) -> Iterator[Block]:
    use_case, times = sources.use_case, judged["event_time"]
    metrics = ("squared_error", "absolute_error") if use_case.regression else ("log_loss", "brier", "error_rate")
    rows: list[tuple[Cell, ...]] = [
        ("this version", metric, mean_of(losses_of(judged, found, use_case, metric), times, sources.small_cell))
        for metric in metrics
    ]
    for name, forecast in forecast_baselines(rows_of(frame, "fit", "validation"), judged, use_case).items():
        losses = losses_of(judged, forecast, use_case)
        rows.append((f"baseline: {name}", use_case.gate.metric, mean_of(losses, times, sources.small_cell)))
    yield Table(title="On the hold-out", columns=("who", "metric, lower is better", "mean"), rows=tuple(rows))


def _slices(sources: Sources, frame: pd.DataFrame, judged: pd.DataFrame, found: Floats) -> Iterator[Block]:
    use_case, limit = sources.use_case, sources.small_cell
    slices = cut_slices(rows_of(frame, "fit", "validation"), judged, use_case)
    if slices:
        losses = losses_of(judged, found, use_case)
        measured = measure_slices(losses, judged["event_time"], slices, use_case.gate.slices.by, limit)
        yield draw_slices(measured, use_case.gate.metric, len(judged), limit)


def _candidates(sources: Sources, version: ModelVersion) -> Iterator[Block]:
    found = sources.control.find("choice", version.tags["request_key"])
    if found is None:
        return
    choice = Choice.model_validate_json(found.payload)
    rows = tuple(
        (one.name, "chosen" if one.name == choice.chosen else "", one.loss, f"{one.seconds:.1f} s", one.detail)
        for one in choice.results
    )
    head = ("candidate", "", f"{choice.result.metric} on the validation rows", "time to fit", "remarks")
    yield Table(title="Candidates that were tried", columns=head, rows=rows)


def _league(sources: Sources, version: ModelVersion) -> Iterator[Block]:
    stored = sources.control.latest("league", sources.use_case.name)
    league = None if stored is None else League.model_validate_json(stored.payload)
    row = next((one for one in league.standings if one.version == version.version), None) if league else None
    if league is None or row is None:
        return
    yield Facts(
        title=f"On the newest labelled rows, as of {league.as_of:%Y-%m-%d %H:%M} UTC",
        rows=(
            ("Standing", row.standing.replace("_", " ")),
            (f"Mean {league.metric}", row.loss),
            ("Better than the champion by", row.gain),
            ("Why", row.reason),
        ),
    )
