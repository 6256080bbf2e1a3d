"""A chosen candidate made again from its training rows, in a process with its caps, and measured again."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path

import pandas as pd

from ml.errors import PerennialError
from ml.evaluation.metrics import LOSSES
from ml.evaluation.predict import predict
from ml.records.base import Record
from ml.records.decision import Choice, TrainingSet
from ml.records.measure import Estimate
from ml.training.capped import handed_over, read_handed, work_within
from ml.training.package import package
from ml.training.parts import rows_of
from ml.training.trial import measure_settled
from ml.training.tune import settled
from ml.use_case import UseCase

#: A model of the fit rows, for the validation loss, and the one of all rows.
FITS = 2
_CHOICE, _REBUILT, _PACKAGE = "choice.json", "rebuilt.json", "package"


class Rebuilt(Record):
    """Metrics of a model that was made again.

    Attributes
    ----------
    validation
        Loss on the validation rows of the candidate as fitted on the fit rows.
    holdout
        Mean loss of the packaged model on the holdout.
    """

    validation: Estimate
    holdout: float


def rebuild_within_caps(
    choice: Choice,
    frame: pd.DataFrame,
    training_set: TrainingSet,
    use_case: UseCase,
    folder: Path,
    *,
    environment: Mapping[str, str] | None = None,
) -> Rebuilt:
    """Make the chosen candidate's package again, as its trial has settled it.

    Nothing is searched for or compared: the parameters that the trial found are on record, and the other candidates are
    no part of the model.

    Parameters
    ----------
    folder
        Gets the whole of the package or nothing of it; what was there is replaced. Beside it lies a desk for as long as
        the work lasts; one that a killed process has left is cleared away.
    environment
        Of the process that works; None inherits.

    Raises
    ------
    PerennialError
        The candidate cannot be fitted, or not within its caps.
    DataError
        The frame is not the training set's.
    """
    desk = folder.with_name(f"{folder.name}-desk")
    shutil.rmtree(folder, ignore_errors=True)
    with handed_over(desk, frame, training_set, use_case):
        choice.write(desk / _CHOICE)
        work, caps = "ml.evaluation.rebuild:rebuild_handed", use_case.training.caps
        reason = work_within(work, desk, choice.chosen, caps, environment, fits=FITS)
        if reason:
            raise PerennialError("model cannot be made again", where=f"{use_case.name}: {choice.chosen}", got=reason)
        (desk / _PACKAGE).rename(folder)
        return Rebuilt.read(desk / _REBUILT)


def rebuild_handed(folder: Path, name: str) -> None:
    """Make the package again of what is on a desk, and leave its metrics beside it."""
    frame, training_set, use_case = read_handed(folder)
    fitted_as = settled(use_case, next(r for r in Choice.read(folder / _CHOICE).results if r.name == name))
    validation = measure_settled(fitted_as, name, rows_of(frame, "fit"), rows_of(frame, "validation"))
    package(name, frame, training_set, use_case, folder / _PACKAGE, fitted_as=fitted_as)
    holdout = rows_of(frame, "holdout")
    told = predict(folder / _PACKAGE, holdout, use_case)
    losses = LOSSES[use_case.gate.metric](holdout["label"].to_numpy(), told, use_case.answers)
    Rebuilt(validation=validation, holdout=float(losses.mean())).write(folder / _REBUILT)
