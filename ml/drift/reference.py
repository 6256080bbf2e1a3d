"""The reference profile of a champion: its training rows, whole and cut into blocks."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ml.drift.answers import answer_columns
from ml.drift.calibrate import SEED, calibrate, live_blocks, rule_of
from ml.drift.columns import Times, kinds_of, times_of
from ml.drift.domain_classifier import Rows, calibrate_on_windows, encode_rows
from ml.drift.profile import build_profile
from ml.drift.projection import fit_projection, with_joint_kind, with_joint_of_others
from ml.drift.reference_builder import ReferenceBuilder
from ml.errors import DataError
from ml.records.profile import (
    Calibration,
    ClassifierCalibration,
    Profile,
    ReferenceProfile,
)
from ml.use_case import UseCase


def build_reference(
    frame: pd.DataFrame, use_case: UseCase, *, fingerprint: str, influence: dict[str, float] | None = None
) -> ReferenceProfile:
    """Reference profile of training rows.

    Parameters
    ----------
    frame
        Training rows with ``event_time`` (UTC), the features, and where they are known the columns of
        :func:`ml.drift.answers.with_answers`, as the answers of models that have not seen the rows.
    fingerprint
        Of the training data, for the record.
    influence
        Of each feature on the champion, :func:`ml.training.influence.measure_influence`.

    Raises
    ------
    DataError
        There are no rows, or a row has no event time.
    """
    if frame.empty or "event_time" not in frame.columns or frame["event_time"].isna().any():
        raise DataError("reference needs rows, each with an event time", where=use_case.name, got=f"{len(frame)} rows")
    answers = {name: what for name, what in answer_columns(use_case).items() if name in frame.columns}
    features, monitoring = kinds_of(use_case), use_case.monitoring
    kinds = features | {name: kind for name, (kind, _) in answers.items()}
    projection = fit_projection(frame, features) if "pca_reconstruction" in monitoring.multivariate else None
    if projection is not None:
        frame = with_joint_of_others(frame.sort_values("event_time", kind="stable"), projection, features)
        kinds = dict(with_joint_kind(kinds, projection))
    edges = build_profile(frame, kinds)
    builder = ReferenceBuilder(kinds, edges, block=monitoring.block, context=monitoring.context)
    builder.add(frame, times_of(frame["event_time"]))
    built = builder.build(use_case=use_case.name, window=monitoring.window, fingerprint=fingerprint)
    made = built.model_copy(
        update={
            "influence": influence or {},
            "roles": {name: role for name, (_, role) in answers.items()},
            "projection": projection,
            "calibration": _calibrate_for_windows(built, use_case),
        }
    )
    return made.model_copy(update={"classifier": _calibrate_classifier(made, frame, use_case)})


def keep_columns(reference: ReferenceProfile, names: Iterable[str]) -> ReferenceProfile:
    """The same reference with some of its columns; its calibration, which was for all of them, is left out."""
    kept = [name for name in reference.whole.columns if name in set(names)]
    return reference.model_copy(
        update={
            "whole": reference.whole.model_copy(update={"columns": {n: reference.whole.columns[n] for n in kept}}),
            "counts": {name: reference.counts[name] for name in kept},
            "influence": {name: value for name, value in reference.influence.items() if name in kept},
            "roles": {name: role for name, role in reference.roles.items() if name in kept},
            "calibration": None,
        }
    )


def encode_frame(frame: pd.DataFrame, use_case: UseCase, like: Profile) -> Rows:
    """Rows of a use case for the domain classifier; places are seconds of event time."""
    # Rows of one moment are in the order of their ids, whoever has read them.
    frame = frame.sort_values(["event_time", *(["id"] if "id" in frame.columns else [])])
    return encode_rows(frame, kinds_of(use_case), like, seconds_of(times_of(frame["event_time"])))


def seconds_of(times: Times) -> NDArray[np.float64]:
    """Seconds since 1970, UTC."""
    return times.astype("datetime64[us]").astype(np.int64) / 1e6


def gap_of(reference: ReferenceProfile, memory: float) -> float:
    """Autocorrelation time in seconds of event time; 0 without memory."""
    return memory * (reference.block or 0.0) if memory > 1 else 0.0


def _calibrate_classifier(
    reference: ReferenceProfile, frame: pd.DataFrame, use_case: UseCase
) -> ClassifierCalibration | None:
    rule = rule_of(use_case)
    if "domain_classifier" not in rule.multivariate or reference.calibration is None:
        return None
    return calibrate_on_windows(
        encode_frame(frame, use_case, reference.whole),
        length=use_case.monitoring.window.total_seconds(),
        rows=reference.calibration.rows,
        gap=gap_of(reference, reference.calibration.memory),
        budget=rule.share,
    )


def _calibrate_for_windows(reference: ReferenceProfile, use_case: UseCase) -> Calibration | None:
    """Calibration for live windows as full as the reference's own; the lengths of the others are made when needed."""
    blocks = live_blocks(reference, use_case.monitoring.window)
    rows = round(sum(reference.rows) / len(reference.rows) * blocks)
    rule = rule_of(use_case)
    return calibrate(
        reference,
        replace(rule, false_alarm_budget=rule.share),
        rows=rows,
        blocks=blocks,
        rng=np.random.default_rng(SEED),
    )
