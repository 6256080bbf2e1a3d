"""Models without a fault, which the gate must let pass."""

from __future__ import annotations

import numpy as np
import pandas as pd
from sklearn.pipeline import Pipeline

from ml.simulation.mutants.of_models import with_group
from ml.simulation.mutants.scene import Judged, Scene, attempt_of, judge
from ml.training.fit import choose, fit_pipeline
from ml.training.parts import rows_of
from ml.training.trial import try_candidate
from ml.training.tune import settled
from ml.use_case import UseCase


def better(scene: Scene) -> Judged:
    """Trained on all rows and their true labels."""
    return judge(scene, attempt_of(scene))


def first_model(scene: Scene) -> Judged:
    """There is no champion yet."""
    return judge(scene, attempt_of(scene, champion=None, past=None))


def another_estimator(scene: Scene) -> Judged:
    """The best of the file's other candidates on the validation rows; of a single one the same again."""
    fit_rows, validation = rows_of(scene.frame, "fit"), rows_of(scene.frame, "validation")
    others = list(scene.use_case.training.candidates)[1:] or [scene.candidate]
    choice = choose([try_candidate(scene.use_case, name, fit_rows, validation) for name in others])

    def fit(use_case: UseCase, rows: pd.DataFrame) -> Pipeline:
        return fit_pipeline(settled(use_case, choice.result), choice.chosen, rows)[0]

    return judge(scene, attempt_of(scene, fit=fit))


def another_seed(scene: Scene) -> Judged:
    """The same candidate, with other dice."""
    training = scene.use_case.training.model_copy(update={"seed": scene.use_case.training.seed + 1})
    return judge(scene, attempt_of(scene, use_case=scene.use_case.model_copy(update={"training": training})))


def missing_values(scene: Scene) -> Judged:
    """A tenth of what may be missing is."""
    rng, frame = scene.rng(), scene.frame.copy()
    for name, feature in scene.use_case.features.items():
        if feature.nullable:
            gone = rng.uniform(size=len(frame)) < 0.1
            frame[name] = frame[name].mask(gone, None if feature.type == "category" else np.nan)
    return judge(scene, attempt_of(scene, frame=frame))


def fair(scene: Scene) -> Judged:
    """With a protected feature that it does not look at."""
    use_case, frame, past = with_group(scene)
    return judge(scene, attempt_of(scene, use_case=use_case, frame=frame, past=past))


def slices(scene: Scene) -> Judged:
    """With slices of a number, of the hour and of the weekday, on none of which it is worse."""
    numbers = {name: 3 for name, feature in scene.use_case.features.items() if feature.type == "number"}
    by = dict(list(numbers.items())[:2]) | {"hour_of_day": "each", "day_of_week": "each"}
    wanted = scene.use_case.gate.slices.model_copy(update={"by": by, "minimum_rows": 10})
    gate = scene.use_case.gate.model_copy(update={"slices": wanted})
    return judge(scene, attempt_of(scene, use_case=scene.use_case.model_copy(update={"gate": gate})))


def third_challenger(scene: Scene) -> Judged:
    """Two others have met the champion before, and spent most of its level."""
    return judge(scene, attempt_of(scene, earlier=(0.4, 0.2)))
