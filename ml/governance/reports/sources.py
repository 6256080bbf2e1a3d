"""What reports are made of: the stores and the registry of one use case, and the moments that they speak of."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cached_property
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ml.errors import InputError
from ml.evaluation.behaviour import Answer
from ml.evaluation.predict import predict
from ml.governance.reports.small_cells import SMALL_CELL
from ml.governance.verification import verify_ledger
from ml.records.decision import MonitorDecision, TrainingSet
from ml.records.governance import AliasMove
from ml.records.measure import Window
from ml.registry.alias import ALIAS
from ml.registry.mlflow_registry import MlflowRegistry
from ml.registry.port import ModelVersion, Registry
from ml.settings import Settings
from ml.store.alerts import AlertStore
from ml.store.control import ControlStore
from ml.store.lake import Lake
from ml.store.telemetry import Telemetry
from ml.use_case import UseCase, load

PERIOD = timedelta(days=365)
_ALL = 100_000


@dataclass(frozen=True)
class Sources:
    """Stores of one use case, looked at as of a moment.

    Attributes
    ----------
    settings
        Folders and addresses of the installation.
    as_of
        In event time: nothing that became known later is used.
    now
        Wall clock, for what happens in the world, such as alerts that are open.
    period
        How far back the live data goes that is reported.
    small_cell
        Cells of fewer rows are not shown.
    """

    use_case: UseCase
    settings: Settings
    lake: Lake
    control: ControlStore
    registry: Registry
    alerts: AlertStore
    telemetry: Telemetry
    as_of: datetime
    now: datetime
    period: timedelta = PERIOD
    small_cell: int = SMALL_CELL

    @property
    def window(self) -> Window:
        """The period that is reported."""
        return Window(start=self.as_of - self.period, end=self.as_of)

    @cached_property
    def answered(self) -> pd.DataFrame:
        """Answers of the period."""
        return self.lake.answered(self.window)

    @cached_property
    def labelled(self) -> pd.DataFrame:
        """Answers of the period whose truth was known."""
        return self.lake.labelled(self.window, as_of=self.as_of)

    @cached_property
    def decisions(self) -> tuple[MonitorDecision, ...]:
        """What monitoring decided in the period, oldest first."""
        stored = self.control.history(self.use_case.name, "monitor", limit=_ALL)
        inside = [one for one in stored if self.window.start < one.as_of <= self.as_of]
        return tuple(MonitorDecision.model_validate_json(one.payload) for one in reversed(inside))

    @cached_property
    def champion(self) -> ModelVersion | None:
        """The champion as of the report's moment; None before the first."""
        name, newest = self.use_case.name, newest_moment(self.control, self.use_case.name)
        if newest is None or self.as_of >= newest:
            return self.registry.champion(name)
        moved = self.control.history(name, ALIAS, limit=1, before=self.as_of + timedelta(microseconds=1))
        number = AliasMove.model_validate_json(moved[0].payload).version if moved else None
        return None if number is None else self.registry.version(name, number)

    @cached_property
    def ledger_problem(self) -> str:
        """Why the ledger is not as it was written, the first finding; empty where it is."""
        try:
            found = verify_ledger(self.control)
        except InputError as error:
            return str(error)
        if found.ok:
            return ""
        first = found.findings[0]
        return f"{len(found.findings)} findings, the first: {first.record}: {first.problem}"

    def version(self, number: int | None = None) -> ModelVersion:
        """A version, or the champion.

        Raises
        ------
        InputError
            There is no such version; there is no champion yet.
        """
        if number is not None:
            return self.registry.version(self.use_case.name, number)
        if self.champion is None:
            name = self.use_case.name
            raise InputError("there is no champion yet", where=name, allowed=f"after: perennial retrain {name}")
        return self.champion

    def training_set(self, version: ModelVersion) -> TrainingSet | None:
        """The training set of a version, as it is on record."""
        found = self.control.find("training_set", version.tags["request_key"])
        return None if found is None else TrainingSet.model_validate_json(found.payload)

    @contextmanager
    def package_of(self, version: ModelVersion) -> Iterator[Path]:
        """Folder with a version's package, for as long as it is looked at."""
        with TemporaryDirectory() as scratch:
            yield self.registry.download(version, Path(scratch) / "package")

    @contextmanager
    def answers_of(self, version: ModelVersion) -> Iterator[Answer]:
        """A version as a function from rows to answers."""
        with self.package_of(version) as folder:

            def answer(rows: pd.DataFrame) -> NDArray[np.float64]:
                return predict(folder, rows, self.use_case)

            yield answer


def open_sources(
    settings: Settings, name: str, *, now: datetime, as_of: datetime | None = None, small_cell: int = SMALL_CELL
) -> Sources:
    """Stores of a use case as the settings say where they are.

    Parameters
    ----------
    as_of
        The newest moment that a check or a retraining speaks of, or else ``now``, when it is None: as long as nothing
        happens, reports stay the same.

    Raises
    ------
    InputError
        There is no such use case.
    ServiceAway
        The control database does not answer.
    """
    use_case = load(settings.use_cases / f"{name}.yaml")
    control = ControlStore(settings.control_url, settings.ledger)
    return Sources(
        use_case=use_case,
        settings=settings,
        lake=Lake(settings.lake, use_case),
        control=control,
        registry=MlflowRegistry(settings.mlflow_url),
        alerts=AlertStore(settings.control_url),
        telemetry=Telemetry(settings.control_url),
        as_of=as_of or newest_moment(control, name) or now,
        now=now,
        small_cell=small_cell,
    )


def newest_moment(control: ControlStore, use_case: str) -> datetime | None:
    """Newest moment that a check or a retraining of a use case speaks of; None before the first."""
    found = [control.latest(kind, use_case) for kind in ("monitor", "training_set")]
    return max((one.as_of for one in found if one is not None), default=None)
