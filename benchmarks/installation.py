"""An installation whose versions are made, judged and promoted as the DAGs record it, with a registry in memory."""

from __future__ import annotations

import copy
import hashlib
import shutil
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np

from ml.governance.reconcile import VERSION
from ml.governance.version import describe_version
from ml.records.base import Record
from ml.records.decision import CandidateResult, Choice, GateDecision, Parity, RetrainRequest, TrainingSet
from ml.records.governance import AliasMove
from ml.records.measure import Estimate, Verdict, Window
from ml.records.profile import BlockCounts, NumberProfile, Profile, ReferenceProfile
from ml.records.release import Package
from ml.registry.alias import move_alias
from ml.registry.manifest import MODEL, PACKAGE
from ml.registry.memory import MemoryRegistry
from ml.registry.port import REFERENCE
from ml.settings import PROJECT
from ml.store.control import ControlStore
from ml.use_case import load

NAME = "harbour_weather"

#: Long after everything: nothing is under way any more.
LATER = datetime(2100, 1, 1, tzinfo=UTC)

_BEGIN = datetime(2013, 3, 1, tzinfo=UTC)
_CHOICE = Choice(
    chosen="random_forest",
    results=(CandidateResult(name="random_forest", loss=Estimate(value=0.13, n=1008), metric="log_loss", seconds=1.5),),
)
_PARITY = Parity(n=504, flips=0, allowed_flips=0, largest_difference=0.0, verdict=Verdict.PASS)


class OpenRegistry(MemoryRegistry):
    """A registry whose store can be reached past its interface, as a disk or a database can."""

    @property
    def files(self) -> dict[tuple[str, int], dict[str, bytes]]:
        """Stored files by version."""
        return self._files

    def forget(self, use_case: str, left: int) -> None:
        """Delete every version above a number; the alias falls back to it."""
        del self._versions[use_case][left:]
        self._champions[use_case] = left


class Installation:
    """A control database in a folder, and its registry."""

    def __init__(self, folder: Path, registry: OpenRegistry | None = None) -> None:
        self.folder = folder
        self.control = ControlStore(f"sqlite:///{folder}/control.db")
        self.registry = registry or OpenRegistry()

    def copy(self, folder: Path) -> Installation:
        """The same installation elsewhere, to be tampered with."""
        shutil.copytree(self.folder, folder)
        return Installation(folder, copy.deepcopy(self.registry))

    def live(self, versions: int) -> Iterator[datetime]:
        """Make, judge and promote versions, a week apart; yields after each step a moment to verify at.

        That is long after the step, but for a version that is registered and not recorded yet: it is under way.
        """
        use_case = load(PROJECT / "use_cases" / f"{NAME}.yaml")
        for number in range(versions):
            as_of, now = _BEGIN + timedelta(weeks=number), datetime(2026, 1, 1, tzinfo=UTC) + timedelta(hours=number)
            training_set = _training_set(number, as_of)
            package, request = _write_package(self.folder / "package", training_set), training_set.request

            def record(kind: str, key: str, content: Record, as_of: datetime = as_of, now: datetime = now) -> datetime:
                self.control.record(kind, key, content, use_case=NAME, as_of=as_of, now=now, actor="monitor")
                return LATER

            yield record("request", request.key, request)
            yield record("training_set", request.key, training_set)
            yield record("choice", request.key, _CHOICE)
            version = self.registry.register(
                self.registry.start_run(training_set, use_case=use_case),
                self.folder / "package",
                package=package,
                parity=_PARITY,
                choice=_CHOICE,
                training_set=training_set,
            )
            yield version.created_at + timedelta(seconds=10)
            made = describe_version(version, package, _CHOICE, training_set)
            yield record(VERSION, f"{NAME}/{version.version}", made)
            yield record("gate", f"{NAME}/{version.version}", _gate(training_set, version.version))
            move = AliasMove(
                use_case=NAME,
                version=version.version,
                previous=version.version - 1 or None,
                by="gate",
                reason="lower loss on every day",
                evidence=(f"gate/{NAME}/{version.version}",),
            )
            move_alias(move, key=request.key, registry=self.registry, control=self.control, actor="gate", now=now)
            yield LATER


def _gate(training_set: TrainingSet, version: int) -> GateDecision:
    return GateDecision(
        use_case=NAME,
        decision="promote",
        state="compared",
        challenger_version=version,
        champion_version=version - 1 or None,
        holdout=training_set.holdout,
        rules=(),
        reasons=("lower loss on every day",),
    )


def _training_set(number: int, as_of: datetime) -> TrainingSet:
    week = timedelta(weeks=1)
    request = RetrainRequest(key=f"{NAME}/{as_of:%Y-%m-%d}", use_case=NAME, as_of=as_of, reason="due", actor="monitor")
    return TrainingSet(
        use_case=NAME,
        request=request,
        data_version=number,
        fingerprint=hashlib.sha256(f"{number}".encode()).hexdigest(),
        fit=Window(start=as_of - 7 * week, end=as_of - 3 * week),
        validation=Window(start=as_of - 3 * week, end=as_of - week),
        holdout=Window(start=as_of - week, end=as_of),
        n_fit=2016,
        n_validation=1008,
        n_holdout=504,
        watermark=as_of - week,
        sources={"history": 1500, "live": 2028},
        quarantined=0,
        champion_version=None,
    )


def _write_package(folder: Path, training_set: TrainingSet) -> Package:
    """Files with digests of their own; nothing is ever asked of this model."""
    folder.mkdir(parents=True, exist_ok=True)
    content = training_set.fingerprint.encode() * 20
    (folder / MODEL).write_bytes(content)
    package = Package(
        use_case=NAME,
        use_case_hash="0" * 64,
        digest=hashlib.sha256(content).hexdigest(),
        size_bytes=len(content),
        numbers=("Humidity",),
        categories=(),
        classes=("No Rain", "Rain"),
        golden_rows=(),
        libraries={"scikit-learn": "1.9"},
    )
    package.write(folder / PACKAGE)
    column = NumberProfile(edges=(0.0,), counts=(1, 2), missing=0, mean=0.5, m2=1.0, minimum=-1.0, maximum=2.0)
    ReferenceProfile(
        use_case=NAME,
        whole=Profile(window=None, n=3, columns={"Humidity": column}),
        positions=(0,),
        rows=(3,),
        counts={"Humidity": BlockCounts.pack(np.array([[1, 2, 0]]))},
        fingerprint=training_set.fingerprint,
    ).write(folder / REFERENCE)
    return package
