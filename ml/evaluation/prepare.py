"""A candidate made ready to be judged: refitted, exported, proven, described and timed, in a process with its caps."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path

import pandas as pd

from ml.evaluation.describe import describe_training
from ml.evaluation.predict import predict
from ml.records.decision import CandidateResult, Choice, TrainingSet
from ml.records.measure import Estimate
from ml.training.capped import handed_over, read_handed, work_within
from ml.training.cost import COST, measure_cost
from ml.training.cross_fit import FOLDS
from ml.training.fit import choose
from ml.training.graph import MODEL, PARITY, REFERENCE, load_graph
from ml.training.package import package
from ml.training.parts import rows_of
from ml.training.tune import settled
from ml.use_case import UseCase

#: A model of all rows, and one without each third of them.
FITS = 1 + FOLDS
_CHOICE, _PACKAGE = "choice.json", "package"


def prepare_within_caps(
    choice: Choice,
    frame: pd.DataFrame,
    training_set: TrainingSet,
    use_case: UseCase,
    folder: Path,
    *,
    environment: Mapping[str, str] | None = None,
) -> Choice:
    """:func:`prepare` the choice under ``training.caps``, or the next best candidate that keeps them.

    A candidate that kept its caps on the fit rows may exceed them on all rows, or may fail on them. It is recorded as
    stopped, without a loss, and the best of the others takes its place.

    Parameters
    ----------
    folder
        Gets the whole of the package or nothing of it; what was there is replaced.
    environment
        Of the process; None inherits.

    Returns
    -------
    Choice
        Whose candidate is in the folder.

    Raises
    ------
    NoCandidate
        None could be prepared.
    DataError
        The frame is not the training set's.
    """
    desk = folder.with_name(f"{folder.name}-desk")
    while True:
        with handed_over(desk, frame, training_set, use_case):
            choice.write(desk / _CHOICE)
            reason = work_within(
                "ml.evaluation.prepare:prepare_handed",
                desk,
                choice.chosen,
                use_case.training.caps,
                environment,
                fits=FITS,
            )
            if not reason:
                shutil.rmtree(folder, ignore_errors=True)
                (desk / _PACKAGE).rename(folder)
                return choice
        choice = choose([_without_loss(r, reason) if r.name == choice.chosen else r for r in choice.results])


def prepare_handed(folder: Path, name: str) -> None:
    """:func:`prepare` what is on a desk that :func:`ml.training.capped.handed_over` has laid."""
    frame, training_set, use_case = read_handed(folder)
    chosen = next(result for result in Choice.read(folder / _CHOICE).results if result.name == name)
    prepare(chosen, frame, training_set, use_case, folder / _PACKAGE)


def prepare(
    chosen: CandidateResult, frame: pd.DataFrame, training_set: TrainingSet, use_case: UseCase, folder: Path
) -> None:
    """Write a candidate's package with its parity, the reference for live data and what it costs to ask.

    Parameters
    ----------
    chosen
        Its trial, which has settled parameters and calibration.
    frame
        The training set's rows, with ``part``; the model learns from all but the holdout.

    Raises
    ------
    UseCaseError
        The candidate cannot be fitted.
    DataError
        The frame is not the training set's, or the model cannot be converted to ONNX.
    """
    fitted_as = settled(use_case, chosen)
    packaged, parity = package(chosen.name, frame, training_set, use_case, folder, fitted_as=fitted_as)
    parity.write(folder / PARITY)
    described = describe_training(
        fitted_as,
        chosen.name,
        rows_of(frame, "fit", "validation"),
        lambda rows: predict(folder, rows, use_case),
        fingerprint=training_set.fingerprint,
    )
    described.write(folder / REFERENCE)
    graph = load_graph((folder / MODEL).read_bytes(), numbers=packaged.numbers, categories=packaged.categories)
    measure_cost(graph, rows_of(frame, "holdout"), size_bytes=packaged.size_bytes).write(folder / COST)


def _without_loss(result: CandidateResult, reason: str) -> CandidateResult:
    detail = f"fitted on all rows: {reason}"
    return result.model_copy(update={"loss": Estimate(value=None, n=0, detail=detail), "detail": detail})
