"""One candidate's trial: tuned and fitted on the fit rows, scored on the validation rows, calibrated if that helps."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ml.records.decision import CandidateResult, TrainingSet
from ml.records.measure import Estimate
from ml.training.block_interval import mean_over_blocks
from ml.training.capped import RESULT, read_handed
from ml.training.fit import answer_of, check_frame, fit_pipeline
from ml.training.loss import LOSSES
from ml.training.parts import rows_of
from ml.training.tune import Tuned, tune, with_calibration, with_parameters
from ml.use_case import UseCase

Floats = NDArray[np.float64]


def fit_candidate(name: str, frame: pd.DataFrame, training_set: TrainingSet, use_case: UseCase) -> CandidateResult:
    """:func:`try_candidate` on a training set's fit and validation rows.

    Parameters
    ----------
    name
        Key of ``training.candidates``.
    frame
        The training set's rows, with ``part``.

    Raises
    ------
    UseCaseError
        There is no such candidate, or it cannot be fitted.
    DataError
        The frame is not the training set's.
    """
    check_frame(frame, training_set)
    return try_candidate(use_case, name, rows_of(frame, "fit"), rows_of(frame, "validation"))


def try_handed(folder: Path, name: str) -> None:
    """:func:`fit_candidate` on what :func:`ml.training.capped.handed_over` has put into a folder; the result beside it.

    Raises
    ------
    UseCaseError
        The candidate cannot be fitted.
    """
    fit_candidate(name, *read_handed(folder)).write(folder / RESULT)


def try_candidate(use_case: UseCase, name: str, fit: pd.DataFrame, validation: pd.DataFrame) -> CandidateResult:
    """Loss on the validation rows with a 90 % interval over blocks of ``gate.block``, and how it was reached.

    Calibration is measured, not assumed: it is kept only where it lowers the validation loss.

    Raises
    ------
    UseCaseError
        There is no such candidate, or it cannot be fitted.
    DataError
        The fit rows do not hold every class.
    """
    started = time.perf_counter()
    space = use_case.training.candidates[name].space
    tuned = tune(use_case, name, fit) if space else None
    found = with_parameters(use_case, name, tuned.parameters) if tuned else use_case
    losses, remarks = _losses(with_calibration(found, "none"), name, fit, validation)
    told = [_tell_tuning(tuned)] if tuned else []
    calibrated = False
    if use_case.training.calibration != "none":
        after, _ = _losses(found, name, fit, validation)
        calibrated = bool(after.mean() < losses.mean())
        word = "kept" if calibrated else "left out"
        told.append(f"calibration {word}: validation loss {losses.mean():.5f} without, {after.mean():.5f} with it")
        losses = after if calibrated else losses
    return CandidateResult(
        name=name,
        loss=mean_over_blocks(losses, validation["event_time"], block=use_case.gate.block),
        metric=use_case.gate.metric,
        seconds=round(time.perf_counter() - started, 3),
        detail="; ".join(filter(None, [*told, remarks])),
        parameters={key: tuned.parameters[key] for key in space if key in tuned.parameters} if tuned else None,
        calibrated=calibrated,
    )


def measure_settled(use_case: UseCase, name: str, fit: pd.DataFrame, validation: pd.DataFrame) -> Estimate:
    """Loss of a candidate as its trial has settled it (:func:`ml.training.tune.settled`): the trial's own, again.

    Raises
    ------
    UseCaseError
        There is no such candidate, or it cannot be fitted.
    """
    losses, _ = _losses(use_case, name, fit, validation)
    return mean_over_blocks(losses, validation["event_time"], block=use_case.gate.block)


def _losses(use_case: UseCase, name: str, fit: pd.DataFrame, validation: pd.DataFrame) -> tuple[Floats, str]:
    pipeline, remarks = fit_pipeline(use_case, name, fit)
    told = answer_of(pipeline, use_case)(validation)
    losses = LOSSES[use_case.gate.metric](validation["label"].to_numpy(), told, use_case.answers)
    return losses, remarks


def _tell_tuning(tuned: Tuned) -> str:
    known = [loss for loss in tuned.losses if loss is not None]
    told = f"tuned: {tuned.trials} of {tuned.of} settings tried"
    return f"{told}, loss {known[0]:.5f} to {min(known):.5f}" if known else f"{told}, none could be fitted"
