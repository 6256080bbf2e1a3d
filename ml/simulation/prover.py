"""The gate prover: models with seeded faults go through the real stages, and each must be stopped; good ones must not.

A gate that cannot fail looks like one that never had to. Mutation testing asks of a test suite whether it notices a
fault that was put in on purpose (DeMillo, Lipton and Sayward 1978, Hints on test data selection, Computer 11); the same
is asked here of the checks before a fit, the export, the package and the gate.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from datetime import datetime
from pathlib import Path

import pandas as pd

from ml.records.proof import GateProof, MutantResult
from ml.simulation.mutants import good, of_data, of_models
from ml.simulation.mutants.scene import Judged, Scene, set_scene
from ml.training.rehearse import check_candidates
from ml.use_case import UseCase

Mutant = Callable[[Scene], Judged]

#: Every fault, by the name that it has in the table.
MUTANTS: Mapping[str, Mutant] = {
    "flipped labels": of_data.flipped_labels,
    "leaking feature": of_data.leaking_feature,
    "labels of the past": of_data.labels_of_the_past,
    "holdout overlaps training": of_data.overlapping_ids,
    "holdout overlaps training under other ids": of_data.overlapping_rows,
    "time-shuffled split": of_data.shuffled_split,
    "time-shuffled split, checked": of_data.shuffled_split_checked,
    "champion from the future": of_data.champion_of_the_future,
    "challenger of older data": of_data.older_data,
    "too few rows": of_data.too_few_rows,
    "one class in the holdout": of_data.one_class_only,
    "compared with itself": of_data.compared_with_itself,
    "poisoned blocks, 5 % flipped": of_data.poisoned(0.05),
    "poisoned blocks, 10 % flipped": of_data.poisoned(0.1),
    "poisoned blocks, 20 % flipped": of_data.poisoned(0.2),
    "poisoned blocks, backdoor": of_data.backdoor,
    "promoted by luck, 20 challengers": of_data.luck(20),
    "forgotten past": of_data.forgotten_past,
    "inverted classes": of_models.inverted_classes,
    "broken slice": of_models.broken_slice,
    "unfair to a group": of_models.unfair_to_a_group,
    "uncalibrated": of_models.uncalibrated,
    "knows no order": of_models.knows_no_order,
    "stale preprocessing": of_models.stale_preprocessing,
    "graph of another model": of_models.another_models_graph,
    "too slow": of_models.too_slow,
    "too large": of_models.too_large,
    "truncated artifact": of_models.truncated_artifact,
    "replaced artifact": of_models.replaced_artifact,
    "golden row answered wrongly": of_models.wrong_golden_row,
    "behaviour test violated": of_models.wrong_behaviour,
    "too many decisions changed": of_models.churning,
}
#: Every good model.
GOOD: Mapping[str, Mutant] = {
    "better": good.better,
    "first model": good.first_model,
    "another estimator": good.another_estimator,
    "another seed": good.another_seed,
    "missing values": good.missing_values,
    "fair": good.fair,
    "good on every slice": good.slices,
    "third challenger of a champion": good.third_challenger,
}
#: Left out of the fast form: they take longest, or differ least from another one.
SLOW = (
    "time-shuffled split, checked",
    "poisoned blocks, 5 % flipped",
    "poisoned blocks, 10 % flipped",
    "promoted by luck, 20 challengers",
    "replaced artifact",
    "another seed",
    "third challenger of a champion",
)
_OF_NUMBERS = ("leaking feature", "poisoned blocks, backdoor", "broken slice", "behaviour test violated")
_OF_CLASSES = (
    *("one class in the holdout", "inverted classes", "broken slice", "unfair to a group", "uncalibrated"),
    *("too many decisions changed", "fair"),
)


def prove_gate(
    use_case: UseCase,
    rows: pd.DataFrame,
    folder: Path,
    *,
    now: datetime,
    quick: bool = False,
    seed: int = 1,
    say: Callable[[str, float], None] = lambda _what, _share: None,
) -> GateProof:
    """What becomes of every mutant and every good model on a use case's own rows.

    Parameters
    ----------
    rows
        Usable rows with ``id``, ``event_time``, the features and ``label``.
    folder
        For packages; replaced with every mutant.
    quick
        Leave out :data:`SLOW`.
    say
        Told what is being tried, and which share is done.

    Raises
    ------
    DataError
        The rows are too few, or lack a class.
    """
    began = time.monotonic()
    check_candidates(use_case)
    scene = set_scene(use_case, rows, folder, seed=seed)
    skipped = dict(_not_for(scene))
    wanted = [
        (name, mutant, kind)
        for kind, mutants in ((False, MUTANTS), (True, GOOD))
        for name, mutant in mutants.items()
        if name not in skipped and not (quick and name in SLOW)
    ]
    found = []
    for number, (name, mutant, kind) in enumerate(wanted):
        say(name, number / len(wanted))
        found.append(_try(name, mutant, scene, good=kind))
    return GateProof(
        use_case=use_case.name,
        as_of=now,
        rows=len(scene.frame),
        mutants=tuple(found),
        skipped=skipped,
        seconds=round(time.monotonic() - began, 2),
    )


def _try(name: str, mutant: Mutant, scene: Scene, *, good: bool) -> MutantResult:
    judged = mutant(scene)
    return MutantResult(name=name, good=good, killed=judged.killed, by=judged.by, evidence=judged.evidence)


def _not_for(scene: Scene) -> list[tuple[str, str]]:
    """Mutants that this use case has no place for, and why."""
    use_case = scene.use_case
    found: list[tuple[str, str]] = []
    if use_case.baselines.persistence is None:
        found.append(("labels of the past", "baselines.persistence names no column"))
    if not any(feature.type == "number" for feature in use_case.features.values()):
        found += [(name, "there is no number feature") for name in _OF_NUMBERS]
    if use_case.regression:
        found += [(name, "a regression has no classes") for name in _OF_CLASSES]
    if len(use_case.answers) != 2:  # an area under the curve is that of two
        found.append(("knows no order", "there are not two classes"))
    return found
