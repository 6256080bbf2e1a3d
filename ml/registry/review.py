"""A review of every registered version: each package is fetched, asked, and put away again."""

from __future__ import annotations

import tempfile
from datetime import datetime, timedelta
from pathlib import Path

import pandas as pd

from ml.evaluation.league import Entrant, Floats, hold_league
from ml.evaluation.predict import predict
from ml.records.league import League
from ml.records.measure import Window
from ml.registry.port import ModelVersion, Registry
from ml.store.lake import Lake
from ml.use_case import UseCase

_TICK = timedelta(microseconds=1)


def review_versions(use_case: UseCase, registry: Registry, lake: Lake, *, as_of: datetime) -> League:
    """League of all versions on labelled rows newer than the champion's data, at most ``retraining.evidence`` old.

    One package at a time is on disk, and versions with the same graph are asked once.

    Raises
    ------
    ServiceAway
        The registry does not answer; a package that is absent or damaged is told in its version's row instead.
    """
    champion = registry.champion(use_case.name)
    entrants = [_enter(use_case, registry, version) for version in registry.versions(use_case.name)]
    oldest = as_of - use_case.retraining.evidence
    if champion is not None:
        oldest = max(oldest, champion.watermark)
    window = Window(start=min(oldest, as_of - _TICK), end=as_of)
    labelled = lake.labelled(window, as_of=as_of)
    return hold_league(
        use_case, labelled, entrants, champion=None if champion is None else champion.version, as_of=as_of
    )


def _enter(use_case: UseCase, registry: Registry, version: ModelVersion) -> Entrant:
    def answer(rows: pd.DataFrame) -> Floats:
        with tempfile.TemporaryDirectory() as scratch:
            folder = registry.download(version, Path(scratch) / "package")
            return predict(folder, rows, use_case)

    return Entrant(version.version, version.digest, version.watermark, answer)
