"""The scene that every mutant enters: a use case's own rows, a weak champion, and the stages that judge."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from sklearn.pipeline import Pipeline

from ml.errors import DataError
from ml.evaluation.evidence import Contender, Evidence, collect_evidence
from ml.evaluation.gate import decide_gate
from ml.evaluation.predict import contender
from ml.records.measure import Verdict, Window
from ml.training.check import BadData, check_data
from ml.training.convert import convert_pipeline
from ml.training.cost import measure_cost
from ml.training.fit import answer_of, fit_pipeline
from ml.training.graph import MODEL, load_graph
from ml.training.package import write_package
from ml.training.parts import assign_parts, rows_of, split_by_time
from ml.use_case import UseCase

#: Shares of the time that choose and judge; a longer holdout than the use case's own, so that a good model can show it.
_VALIDATION, _HOLDOUT = 0.1, 0.35
#: Labels of the weak champion's rows that are drawn at random.
_NOISE = 0.7
_SMALLEST_HOLDOUT = timedelta(days=2)

Fit = Callable[[UseCase, pd.DataFrame], Pipeline]


@dataclass(frozen=True)
class Scene:
    """What all mutants have in common.

    Attributes
    ----------
    use_case
        The user's, with a longer holdout and all history.
    frame
        Its rows with ``part``.
    champion
        Trained on the older half of the fit rows, most of whose labels are noise.
    past
        Those rows.
    folder
        For packages.
    """

    use_case: UseCase
    frame: pd.DataFrame
    champion: Contender
    past: pd.DataFrame
    folder: Path
    seed: int

    @property
    def trained(self) -> pd.DataFrame:
        """Rows that a challenger learns from."""
        return rows_of(self.frame, "fit", "validation")

    @property
    def holdout(self) -> pd.DataFrame:
        """Rows that it is judged on."""
        return rows_of(self.frame, "holdout")

    @property
    def candidate(self) -> str:
        """The first of the use case's."""
        return next(iter(self.use_case.training.candidates))

    def rng(self) -> np.random.Generator:
        """The same for each mutant, whatever came before."""
        return np.random.default_rng(self.seed)


@dataclass(frozen=True)
class Attempt:
    """A challenger on its way through the stages.

    Attributes
    ----------
    use_case
        The scene's, or a variant with a rule that the user's file does not ask for.
    frame
        Rows with ``part``, all that the challenger learns from and is judged on.
    fit
        Makes the model that scikit-learn has; None fits the first candidate.
    graph
        Makes ONNX bytes of it; None converts it.
    spoil
        Does something to the package's folder before it is judged.
    earlier
        p-values of challengers before it.
    checked
        Whether the data checks come first; without them it is the gate that must notice.
    told
        What stages before these have said, ``name: text``.
    """

    use_case: UseCase
    frame: pd.DataFrame
    champion: Contender | None
    past: pd.DataFrame | None
    fit: Fit | None = None
    graph: Callable[[UseCase, Pipeline], bytes] | None = None
    spoil: Callable[[Path], None] | None = None
    earlier: tuple[float, ...] = ()
    checked: bool = True
    told: tuple[str, ...] = ()


@dataclass(frozen=True)
class Judged:
    """Which stages and rules stopped an attempt, and what they said."""

    by: tuple[str, ...]
    evidence: str

    @property
    def killed(self) -> bool:
        """Whether any did."""
        return bool(self.by)


def set_scene(use_case: UseCase, rows: pd.DataFrame, folder: Path, *, seed: int) -> Scene:
    """The scene on a use case's rows.

    Parameters
    ----------
    rows
        Usable rows with ``id``, ``event_time``, the features and ``label``, in any order.

    Raises
    ------
    DataError
        They are too few for a champion, a challenger and a holdout.
    """
    rows = rows.sort_values(["event_time", "id"], ignore_index=True)
    if rows.empty:
        raise DataError("history has no usable row", where=use_case.name, got="0 rows")
    start, end = (rows["event_time"].iloc[i].to_pydatetime() for i in (0, -1))
    span = end - start
    training = use_case.training.model_copy(
        update={
            "strategy": "all_history",
            "sliding_window": None,
            "half_life": None,
            "validation": max(span * _VALIDATION, 2 * use_case.target.horizon),
            "holdout": span * _HOLDOUT,
        }
    )
    # What one machine needs for a row is no matter of the data; mutants that are slow bring a bound of their own.
    gate = use_case.gate.model_copy(update={"latency_ms": None, "spend": True})
    retraining = use_case.retraining.model_copy(update={"mode": "automatic"})  # no person sits here to be asked
    use_case = use_case.model_copy(update={"training": training, "gate": gate, "retraining": retraining})
    split = split_by_time(use_case, start=start, end=end + timedelta(microseconds=1))
    if split is None or split.holdout.end - split.holdout.start < _SMALLEST_HOLDOUT:
        raise DataError("history is too short to prove the gate on", where=use_case.name, got=str(span))
    half = split.fit.start + (split.fit.end - split.fit.start) / 2
    rows = rows.assign(source=np.where(rows["event_time"] < pd.Timestamp(half), "history", "live"))
    frame = assign_parts(rows, split).reset_index(drop=True)
    past = frame[frame["event_time"] < pd.Timestamp(half)]
    return Scene(use_case, frame, _weak_champion(use_case, past, seed), past, folder, seed)


def _weak_champion(use_case: UseCase, past: pd.DataFrame, seed: int) -> Contender:
    """A champion that has learnt from rows most of whose labels say nothing."""
    rng = np.random.default_rng([seed, 1])
    noisy = rng.uniform(size=len(past)) < _NOISE
    drawn = rng.permutation(past["label"].to_numpy())
    labels = np.where(noisy, drawn, past["label"].to_numpy())
    pipeline, _ = fit_pipeline(use_case, next(iter(use_case.training.candidates)), past.assign(label=labels))
    watermark = past["event_time"].max().to_pydatetime()
    return Contender(1, answer_of(pipeline, use_case), "weak champion", watermark)


def attempt_of(scene: Scene, **changed: Any) -> Attempt:
    """A good challenger's attempt, with what differs."""
    plain = Attempt(use_case=scene.use_case, frame=scene.frame, champion=scene.champion, past=scene.past)
    return replace(plain, **changed)


def judge(scene: Scene, attempt: Attempt) -> Judged:
    """The real stages in their order: data checks, fit, export, package, evidence, gate; the first refusal ends it."""
    if attempt.checked:
        try:
            check_data(attempt.frame, attempt.use_case)
        except BadData as bad:
            return _stopped([(rule.name, rule.detail) for rule in bad.failed])
    try:
        evidence = collect(scene, attempt)
    except DataError as error:
        return _stopped([("artifact", str(error).replace(f"{scene.folder}/", ""))])
    return gate_on(attempt, evidence)


def gate_on(attempt: Attempt, evidence: Evidence) -> Judged:
    """What the gate makes of evidence."""
    decision = decide_gate(evidence, attempt.use_case)
    if decision.decision == "promote":
        won = [rule.detail for rule in decision.rules if rule.name.startswith("beats_")]
        return Judged((), next(iter(won), "nothing was asked of it"))
    failed = [(rule.name, rule.detail) for rule in decision.rules if rule.verdict is not Verdict.PASS]
    return _stopped([*((told.split(":")[0], told) for told in attempt.told), *failed])


def collect(scene: Scene, attempt: Attempt) -> Evidence:
    """Evidence about a challenger that was fitted, exported and packaged for real."""
    use_case, trained = attempt.use_case, rows_of(attempt.frame, "fit", "validation")
    pipeline = (attempt.fit or fit_first)(use_case, trained)
    content = (attempt.graph or _convert)(use_case, pipeline)
    folder = scene.folder / "challenger"
    packaged, parity = write_package(pipeline, content, attempt.frame, use_case, folder)
    holdout = rows_of(attempt.frame, "holdout")
    graph = load_graph((folder / MODEL).read_bytes(), numbers=use_case.numbers, categories=use_case.categories)
    cost = measure_cost(graph, holdout, size_bytes=packaged.size_bytes)
    if attempt.spoil is not None:
        attempt.spoil(folder)
    moments = holdout["event_time"]
    return collect_evidence(
        use_case,
        attempt.frame,
        holdout=Window(start=moments.min(), end=moments.max() + pd.Timedelta(microseconds=1)),
        challenger=contender(folder, 2, use_case),
        champion=attempt.champion,
        parity=parity,
        cost=cost,
        past=attempt.past,
        earlier=attempt.earlier,
    )


def fit_first(use_case: UseCase, rows: pd.DataFrame) -> Pipeline:
    """The first candidate, fitted."""
    return fit_pipeline(use_case, next(iter(use_case.training.candidates)), rows)[0]


def flip_labels(labels: pd.Series, where: NDArray[np.bool_], use_case: UseCase) -> pd.Series:
    """Each class becomes the next one, each number is mirrored at the mean."""
    if use_case.regression:
        return labels.mask(where, 2 * labels.mean() - labels)
    names = use_case.answers
    following = {name: names[(i + 1) % len(names)] for i, name in enumerate(names)}
    return labels.mask(where, labels.map(following))


def with_gate(use_case: UseCase, **options: Any) -> UseCase:
    """The use case with other options of the gate."""
    return use_case.model_copy(update={"gate": use_case.gate.model_copy(update=options)})


def _convert(use_case: UseCase, pipeline: Pipeline) -> bytes:
    return convert_pipeline(pipeline, use_case)


def _stopped(found: list[tuple[str, str]]) -> Judged:
    return Judged(tuple(name for name, _ in found), "; ".join(detail for _, detail in found[:2]))
