"""A version with the rows that an audit judges it by: live ones that it was not trained on."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ml.errors import DataError
from ml.evaluation.predict import predict
from ml.governance.reports.sources import Sources
from ml.records.report import Block, ReportFinding, Section
from ml.registry.port import ModelVersion
from ml.training.class_names import is_label
from ml.training.evenly import spread_evenly
from ml.training.parts import rows_of
from ml.use_case import UseCase

Floats = NDArray[np.float64]
#: Of a chapter's own tests, all of one family together.
LEVEL = 0.05


@dataclass(frozen=True)
class Chapter:
    """A section of the audit with what a reader should not have to look for."""

    title: str
    blocks: tuple[Block, ...]
    findings: tuple[ReportFinding, ...] = ()

    @property
    def section(self) -> Section:
        """As the report has it."""
        return Section(title=self.title, blocks=self.blocks)


@dataclass(frozen=True)
class Audited:
    """A version and its rows.

    Attributes
    ----------
    folder
        Its package.
    trained
        Rows that it was fitted on; without rows where they are gone.
    live
        Rows of the period that the service answered, newer than those by more than the horizon, whoever answered them.
    judged
        Of these, the ones whose truth is known.
    answers
        The version's own answers to ``judged``, of shape ``(n_judged, n_answers)``.
    fault
        Why the version cannot answer these rows; empty where it can.
    """

    sources: Sources
    version: ModelVersion
    folder: Path
    trained: pd.DataFrame
    live: pd.DataFrame
    judged: pd.DataFrame
    answers: Floats
    fault: str

    @property
    def use_case(self) -> UseCase:
        """That the version is a model of."""
        return self.sources.use_case

    def answer(self, rows: pd.DataFrame) -> Floats:
        """The version's answers to any rows."""
        return predict(self.folder, rows, self.use_case)

    @property
    def smallest(self) -> int:
        """Rows of the smallest slice that is searched or compared."""
        return max(self.use_case.gate.slices.minimum_rows, self.sources.small_cell)

    @property
    def undecidable(self) -> str:
        """Why its answers cannot be judged; empty where they can."""
        if self.fault:
            return f"undecidable: it cannot answer these rows: {self.fault}"
        needed, n = self.use_case.gate.minimum_rows, len(self.judged)
        if n >= needed:
            return ""
        if not len(self.live):
            return (
                f"undecidable: no live row is newer than its data, which ends {self.version.watermark:%Y-%m-%d %H:%M}"
            )
        told = f"of {len(self.live):,} live rows that it was not trained on the truth of {n:,} is known"
        return f"undecidable: {told}; {needed:,} are needed"


@contextmanager
def audited(sources: Sources, version: ModelVersion) -> Iterator[Audited]:
    """A version with its package in a folder of its own, for as long as it is looked at.

    Raises
    ------
    DataError
        Its package is not what was registered.
    """
    use_case = sources.use_case
    with sources.package_of(version) as folder:
        live, labelled = (_newer(rows, version, use_case) for rows in (sources.answered, sources.labelled))
        judged = labelled[is_label(labelled["label"], use_case)].reset_index(drop=True)
        answers, fault = _ask(folder, judged, use_case)
        yield Audited(sources, version, folder, _trained(sources, version), live, judged, answers, fault)


def _newer(rows: pd.DataFrame, version: ModelVersion, use_case: UseCase) -> pd.DataFrame:
    newest = pd.Timestamp(version.watermark) + use_case.target.horizon
    return rows[(rows["event_time"] > newest).to_numpy()].reset_index(drop=True)


def _ask(folder: Path, rows: pd.DataFrame, use_case: UseCase) -> tuple[Floats, str]:
    """Its answers, or why it has none."""
    nothing = np.zeros((0, len(use_case.answers)))
    try:
        answers = predict(folder, rows, use_case)
    except DataError as error:
        return nothing, str(error)
    odd = int((~np.isfinite(answers).all(axis=1)).sum())
    return (nothing, f"{odd:,} of {len(rows):,} answers are no numbers") if odd else (answers, "")


def _trained(sources: Sources, version: ModelVersion) -> pd.DataFrame:
    try:
        return rows_of(sources.lake.read_training(version.data_version), "fit", "validation")
    except DataError:
        return sources.answered.iloc[:0]


def evenly(rows: pd.DataFrame, count: int) -> pd.DataFrame:
    """So many rows at equal distances, so that all of the time is in; all of them where there are fewer."""
    return rows.iloc[spread_evenly(len(rows), count)].reset_index(drop=True)
