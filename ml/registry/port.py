"""The port to the model registry: what the stages need of it, whoever keeps it.

Every call may be made again after a crash between any two lines: a run is found by the request's key, a candidate by
its run, a version by the request's key. Nothing is doubled.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

from ml.errors import ConflictError, DataError
from ml.records.approval import ReviewAnswer, ReviewRequest
from ml.records.decision import CandidateResult, Choice, DriftCheck, GateDecision, Parity, TrainingSet
from ml.records.league import League
from ml.records.profile import ReferenceProfile
from ml.records.release import Package, ReleaseOutcome
from ml.records.report import Report
from ml.registry.manifest import MODEL, PACKAGE, digest_file, verify_artifact
from ml.training.cost import COST
from ml.training.graph import REFERENCE
from ml.use_case import UseCase


@dataclass(frozen=True)
class ModelVersion:
    """One registered version of a use case's model.

    Attributes
    ----------
    name
        The use case.
    version
        Number in the registry, from 1.
    run_id
        The run of the retraining that made it.
    digest, package_digest
        SHA-256 of ``model.onnx`` and of ``package.json``.
    watermark
        Newest event time that it was trained on, UTC.
    data_version, fingerprint
        Version of the lake's training table and SHA-256 of its content.
    tags
        All tags; ``decision`` is ``pending`` until the gate has spoken (:data:`ml.registry.tags.DECISIONS`).
    description
        Markdown for people.
    """

    name: str
    version: int
    run_id: str
    digest: str
    package_digest: str
    watermark: datetime
    data_version: int
    fingerprint: str
    use_case_hash: str
    created_at: datetime
    tags: dict[str, str] = field(default_factory=dict)
    description: str = ""


class Registry(ABC):
    """Runs, versions and the alias ``champion`` of every use case.

    Raises
    ------
    ServiceAway
        From every method: the registry does not answer.
    """

    @abstractmethod
    def start_run(self, training_set: TrainingSet, *, use_case: UseCase) -> str:
        """Identity of the run of a retraining; the run is made by the first call with a request's key."""

    @abstractmethod
    def log_candidate(self, run_id: str, result: CandidateResult, parameters: Mapping[str, Any]) -> None:
        """Note one candidate's parameters, loss and seconds under its retraining, once."""

    @abstractmethod
    def end_run(self, run_id: str, outcome: str) -> None:
        """End a retraining's run that leads to no version, with the tag ``outcome``."""

    @abstractmethod
    def register(
        self,
        run_id: str,
        folder: Path,
        *,
        package: Package,
        parity: Parity,
        choice: Choice,
        training_set: TrainingSet,
    ) -> ModelVersion:
        """Make a version of a package folder; the version already there when the request has one.

        Parameters
        ----------
        folder
            Holds ``model.onnx``, ``package.json`` and ``reference_profile.json``.

        Raises
        ------
        DataError
            A file is absent, or is not what ``package`` says.
        ConflictError
            The request has a version with other bytes.
        """

    @abstractmethod
    def log_check(self, use_case: UseCase, check: DriftCheck, report: str) -> None:
        """Note a drift check on the use case's monitor run: numbers at the window's end, the report as artifact.

        The same window again writes the same points and replaces the report.
        """

    @abstractmethod
    def log_league(self, use_case: UseCase, league: League) -> None:
        """Note a review of all versions: numbers on each version's run at its moment, table and plot on its own.

        The same review again writes the same points and replaces the files.
        """

    @abstractmethod
    def log_report(self, use_case: UseCase, report: Report, files: Mapping[str, bytes]) -> None:
        """Keep a report's files: on the version's own run what is about one, else on the use case's run of reports.

        The same report again replaces its files.

        Parameters
        ----------
        files
            Content by name.
        """

    @abstractmethod
    def log_plots(self, version: ModelVersion, plots: Mapping[str, bytes]) -> None:
        """Show pictures on a version's page, and where its card is; again the same are replaced.

        Parameters
        ----------
        plots
            SVG by what it shows, such as ``calibration``.
        """

    @abstractmethod
    def record_gate(self, version: ModelVersion, decision: GateDecision) -> None:
        """Write the gate's decision to the version: tags, numbers and the page that people read."""

    @abstractmethod
    def record_review(self, review: ReviewRequest, use_case: UseCase, answer: ReviewAnswer | None) -> None:
        """Write a question to a person, or its answer, to the version: tags, and the top of its page."""

    @abstractmethod
    def record_release(self, outcome: ReleaseOutcome) -> None:
        """Write to the wanted version how its release ended: tags ``release`` and ``release_reason``."""

    @abstractmethod
    def champion(self, use_case: str) -> ModelVersion | None:
        """The version with the alias ``champion``; None before the first."""

    @abstractmethod
    def version(self, use_case: str, number: int) -> ModelVersion:
        """One version.

        Raises
        ------
        InputError
            There is no such version, or it was not registered by Perennial.
        """

    @abstractmethod
    def versions(self, use_case: str) -> tuple[ModelVersion, ...]:
        """Every version that Perennial registered, newest first."""

    @abstractmethod
    def set_champion(self, use_case: str, number: int | None) -> None:
        """Point the alias to a version, or take it away; :meth:`move_champion` is the careful way."""

    @abstractmethod
    def keep_head(self, use_case: str, head: Mapping[str, Any]) -> None:
        """Keep a signed head of the ledger beside the use case's model, in place of an earlier one."""

    @abstractmethod
    def kept_head(self, use_case: str) -> str | None:
        """JSON of the head that is kept; None when there is none."""

    @abstractmethod
    def fetch(self, version: ModelVersion, to: Path) -> Path:
        """Copy the package's files as they are stored into ``to``, whatever they hold; returns ``to``.

        Files that are absent in the store are absent in ``to``; what was in ``to`` is replaced.
        """

    @abstractmethod
    def reference(self, version: ModelVersion) -> ReferenceProfile:
        """Profile of the data that the version was trained on.

        Raises
        ------
        DataError
            It is absent or is not such a profile.
        """

    def download(self, version: ModelVersion, to: Path) -> Path:
        """Package folder of a version with the bytes that were registered; a folder that has them is left as it is.

        Raises
        ------
        DataError
            A file is absent or its digest differs.
        """
        if not _is_whole(version, to):
            _verify(version, self.fetch(version, to))
        return to

    def move_champion(self, use_case: str, number: int, *, back: bool = False) -> None:
        """Point the alias ``champion`` to a version, once :meth:`check_move` allows it.

        The ledger hears nothing of it: :func:`ml.registry.alias.move_alias` is what the stages call.
        """
        self.check_move(use_case, number, back=back)
        current = self.champion(use_case)
        if current is None or current.version != number:
            self.set_champion(use_case, number)

    def check_move(self, use_case: str, number: int, *, back: bool = False) -> None:
        """Refuse a version that may not become champion.

        Parameters
        ----------
        back
            Allow a version whose data is older than the champion's: a roll back.

        Raises
        ------
        InputError
            There is no such version.
        ConflictError
            The champion was trained on newer data: somebody promoted another version meanwhile.
        """
        wanted, current = self.version(use_case, number), self.champion(use_case)
        if current is not None and current.version == number:
            return
        if current is not None and current.watermark > wanted.watermark and not back:
            raise ConflictError(
                "the champion was trained on newer data",
                where=f"{use_case} version {number}",
                got=f"watermark {wanted.watermark:%Y-%m-%d %H:%M}, champion {current.version} has "
                f"{current.watermark:%Y-%m-%d %H:%M}",
                allowed="a version with newer data, or a roll back",
            )


def check_package(folder: Path, package: Package) -> str:
    """Digest of ``package.json`` in a folder that holds everything a version needs, whole.

    Raises
    ------
    DataError
        A file is absent, or is not what the package says.
    """
    package_digest = digest_file(folder / PACKAGE)
    found = verify_artifact(folder, digest=package.digest, package_digest=package_digest)
    if found != package:
        raise DataError("package file holds another package", where=str(folder / PACKAGE), got=found.digest)
    ReferenceProfile.read(folder / REFERENCE)
    return package_digest


def kept_files(folder: Path) -> tuple[str, ...]:
    """Names of the files in a package's folder that are kept with its version; its cost where it was measured."""
    return (MODEL, PACKAGE, REFERENCE, *((COST,) if (folder / COST).exists() else ()))


def check_same_bytes(version: ModelVersion, package: Package) -> ModelVersion:
    """The version that a request already has, if it holds the same graph.

    Raises
    ------
    ConflictError
        The request's version holds another graph: training was not repeated bit by bit.
    """
    if version.digest != package.digest:
        raise ConflictError(
            "the request already has a version with other bytes",
            where=f"{version.name} version {version.version}",
            got=package.digest,
            allowed=version.digest,
        )
    return version


def _is_whole(version: ModelVersion, folder: Path) -> bool:
    try:
        _verify(version, folder)
    except DataError:
        return False
    return True


def _verify(version: ModelVersion, folder: Path) -> None:
    verify_artifact(folder, digest=version.digest, package_digest=version.package_digest)
    if not (folder / REFERENCE).is_file():
        raise DataError("artifact is absent", where=str(folder / REFERENCE))
