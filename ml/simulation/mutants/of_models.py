"""Faults of models and of packages: graphs that are wrong, unfair, too sure, too slow, too large, or another's."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
from sklearn.pipeline import Pipeline

from ml.simulation.mutants.scene import Judged, Scene, attempt_of, fit_first, judge, with_gate
from ml.simulation.mutants.surgery import (
    Warp,
    Warped,
    heavy_graph,
    reverse_classes,
    slow_graph,
    warped_graph,
)
from ml.training.convert import convert_pipeline
from ml.training.cost import measure_cost
from ml.training.fit import answer_of
from ml.training.graph import MODEL, load_graph
from ml.training.parts import rows_of
from ml.use_case import Feature, UseCase
from ml.use_case.gate_options import Behaviour, GoldenRow

#: The feature that is added to compare groups: one row in six is of the second group, whatever else it is.
_GROUP, _SHARE = "prover_group", 1 / 6
_SLICES = 10


def inverted_classes(scene: Scene) -> Judged:
    """The probability of each class is told of another."""
    return _warp(scene, reverse_classes(scene.use_case))


def uncalibrated(scene: Scene) -> Judged:
    """The same order of rows, and far too unsure of it: odds to a quarter, against a champion without noise."""
    size = len(scene.use_case.answers)
    champion = answer_of(fit_first(scene.use_case, scene.past), scene.use_case)
    warp = Warp(np.eye(size), np.zeros(size), power=0.25)
    return _warp(scene, warp, champion=replace(scene.champion, answer=champion))


def knows_no_order(scene: Scene) -> Judged:
    """Every row is told the same, and the file asks for the champion's order of two classes."""
    size = len(scene.use_case.answers)
    warp = Warp(np.zeros((size, size)), np.full(size, 1 / size))
    return _warp(scene, warp, use_case=with_gate(scene.use_case, roc_auc=0.0))


def broken_slice(scene: Scene) -> Judged:
    """Good everywhere but in the highest tenth of a number, where it knows nothing: all classes are as likely."""
    name, edge = _surest_tenth(scene)
    slices = scene.use_case.gate.slices.model_copy(update={"by": {name: _SLICES}, "minimum_rows": 20})
    size = len(scene.use_case.answers)
    warp = Warp(np.zeros((size, size)), np.full(size, 1 / size), column=name, above=edge)
    return _warp(scene, warp, use_case=with_gate(scene.use_case, slices=slices))


def _surest_tenth(scene: Scene) -> tuple[str, float]:
    """The number in whose highest tenth one class happens most, and where that tenth begins."""
    found = []
    for name, feature in scene.use_case.features.items():
        if feature.type == "number":
            values = scene.trained[name].astype(np.float64)
            edge = float(np.nanquantile(values, 1 - 1 / _SLICES))
            inside = scene.trained["label"][(values > edge).to_numpy()]
            if len(inside):
                found.append((float(inside.value_counts(normalize=True).iloc[0]), name, edge))
    _, name, edge = max(found)
    return name, edge


def unfair_to_a_group(scene: Scene) -> Judged:
    """Every row of one group is decided positive, whatever else it says."""
    use_case, frame, past = with_group(scene)
    size, positive = len(use_case.answers), use_case.answers.index(str(use_case.target.positive))
    shift = np.zeros(size)
    shift[positive] = 0.55
    warp = Warp(0.45 * np.eye(size), shift, column=_GROUP, above=0.5)
    return _warp(scene, warp, use_case=use_case, frame=frame, past=past)


def with_group(scene: Scene) -> tuple[UseCase, pd.DataFrame, pd.DataFrame]:
    """The use case, its rows and the champion's with a protected feature that has nothing to do with anything."""
    use_case = scene.use_case
    positive = use_case.target.positive or use_case.answers[0]
    use_case = use_case.model_copy(
        update={
            "features": use_case.features | {_GROUP: Feature(type="boolean", protected=True)},
            "target": use_case.target.model_copy(update={"positive": positive}),
        }
    )
    member = (scene.rng().uniform(size=len(scene.frame)) < _SHARE).astype(np.float64)
    frame = scene.frame.assign(**{_GROUP: member})
    return use_case, frame, frame[frame["id"].isin(scene.past["id"])]


def stale_preprocessing(scene: Scene) -> Judged:
    """The graph holds means and scales of the past, the model behind them was trained on others."""

    def graph(use_case: UseCase, pipeline: Pipeline) -> bytes:
        rows = scene.trained.copy()
        for name in use_case.numbers:
            rows[name] = rows[name].astype(np.float64) * 1.5 + 1.0
        stale = fit_first(use_case, rows)
        return convert_pipeline(Pipeline([("prepare", stale[0]), ("model", pipeline[-1])]), use_case)

    return judge(scene, attempt_of(scene, graph=graph))


def another_models_graph(scene: Scene) -> Judged:
    """The graph is of a model that was trained on half of the rows."""

    def graph(use_case: UseCase, pipeline: Pipeline) -> bytes:
        del pipeline
        return convert_pipeline(fit_first(use_case, scene.trained.iloc[::2]), use_case)

    return judge(scene, attempt_of(scene, graph=graph))


def too_slow(scene: Scene) -> Judged:
    """A graph that takes over five times what the plain one takes, which the variant allows."""
    plain = _plain_milliseconds(scene)
    use_case = with_gate(scene.use_case, latency_ms=5 * plain)
    size = int(np.clip(500 * np.cbrt(plain / 0.1), 500, 1500))  # a quarter GFLOP for a tenth of a millisecond
    return judge(scene, attempt_of(scene, use_case=use_case, graph=slow_graph(size)))


def too_large(scene: Scene) -> Judged:
    """A graph of a megabyte more than the variant allows."""
    content = convert_pipeline(fit_first(scene.use_case, scene.trained), scene.use_case)
    use_case = with_gate(scene.use_case, size_mb=len(content) / 1e6 + 1.0)
    return judge(scene, attempt_of(scene, use_case=use_case, graph=heavy_graph(2.0)))


def truncated_artifact(scene: Scene) -> Judged:
    """The last bytes of the graph are missing."""

    def spoil(folder: Path) -> None:
        whole = (folder / MODEL).read_bytes()
        (folder / MODEL).write_bytes(whole[:-10])

    return judge(scene, attempt_of(scene, spoil=spoil))


def replaced_artifact(scene: Scene) -> Judged:
    """Another graph lies where the judged one did."""

    def spoil(folder: Path) -> None:
        other = fit_first(scene.use_case, scene.trained.iloc[::2])
        (folder / MODEL).write_bytes(convert_pipeline(other, scene.use_case))

    return judge(scene, attempt_of(scene, spoil=spoil))


def wrong_golden_row(scene: Scene) -> Judged:
    """People know the answer to a row, and the model that is otherwise good says something else."""
    use_case = scene.use_case
    row = scene.trained.iloc[len(scene.trained) // 2]
    cells = {name: _cell(row[name], feature) for name, feature in use_case.features.items()}
    if use_case.regression:
        golden = GoldenRow(
            name="prover", row=cells, answer=float(row["label"]) + 10 * float(scene.trained["label"].std())
        )
    else:
        likely = scene.champion.answer(scene.trained.iloc[[len(scene.trained) // 2]])[0].argmin()
        golden = GoldenRow(name="prover", row=cells, answer=use_case.answers[int(likely)], at_least=0.99)
    return judge(scene, attempt_of(scene, use_case=with_gate(use_case, golden=(golden,))))


def wrong_behaviour(scene: Scene) -> Judged:
    """A number that the model looks at most may not matter, says the file."""
    name = _widest_number(scene)
    step = float(np.nanstd(scene.trained[name].astype(np.float64)))
    of = None if scene.use_case.regression else scene.use_case.answers[0]
    behaviour = Behaviour(name="prover", add={name: -step}, expect="same", of=of, tolerance=0.0, share=1.0)
    return judge(scene, attempt_of(scene, use_case=with_gate(scene.use_case, behaviour=(behaviour,))))


def churning(scene: Scene) -> Judged:
    """Not one decision may change, says the file, and some do."""
    return judge(scene, attempt_of(scene, use_case=with_gate(scene.use_case, churn=0.0)))


def _warp(scene: Scene, warp: Warp, **changed: object) -> Judged:
    """A model whose answers are warped, in scikit-learn and in the graph alike."""

    def fit(use_case: UseCase, rows: pd.DataFrame) -> Pipeline:
        return Warped(fit_first(use_case, rows), warp)

    return judge(scene, attempt_of(scene, fit=fit, graph=warped_graph(warp), **changed))


def _plain_milliseconds(scene: Scene) -> float:
    use_case = scene.use_case
    content = convert_pipeline(fit_first(use_case, scene.trained), use_case)
    graph = load_graph(content, numbers=use_case.numbers, categories=use_case.categories)
    return measure_cost(graph, rows_of(scene.frame, "holdout"), size_bytes=len(content)).single_ms


def _widest_number(scene: Scene) -> str:
    """The number with most different values."""
    names = [name for name, feature in scene.use_case.features.items() if feature.type == "number"]
    return max(names, key=lambda name: scene.trained[name].nunique())


def _cell(value: object, feature: Feature) -> bool | float | str | None:
    if value is None or value != value:  # noqa: PLR0124 - NaN is the value that is not itself
        return None
    if feature.type == "boolean":
        return bool(value)
    return str(value) if feature.type == "category" else float(str(value))
