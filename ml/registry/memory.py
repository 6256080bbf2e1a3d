"""The registry in memory: for tests and simulations, under the same contract as MLflow."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from ml.errors import DataError, InputError
from ml.records.approval import ReviewAnswer, ReviewRequest
from ml.records.decision import CandidateResult, Choice, DriftCheck, GateDecision, Parity, TrainingSet
from ml.records.league import League
from ml.records.profile import ReferenceProfile
from ml.records.release import Package, ReleaseOutcome
from ml.records.report import Report
from ml.registry.mlflow_checks import check_name
from ml.registry.mlflow_reports import report_folder
from ml.registry.page import describe_gate, describe_training
from ml.registry.plots_page import FOLDER as PLOTS
from ml.registry.plots_page import describe_plots
from ml.registry.port import ModelVersion, Registry, check_package, check_same_bytes, kept_files
from ml.registry.review_page import describe_review
from ml.registry.tags import gate_tags, read_version, release_tags, review_tags, version_tags
from ml.training.graph import PARITY, REFERENCE
from ml.use_case import UseCase


@dataclass
class Run:
    """What one retraining noted: its training set, its candidates by name, its gate decision or its end without one."""

    training_set: TrainingSet
    candidates: dict[str, tuple[CandidateResult, dict[str, Any]]] = field(default_factory=dict)
    gate: GateDecision | None = None
    outcome: str | None = None


class MemoryRegistry(Registry):
    """Runs, versions and aliases that live as long as the object."""

    def __init__(self) -> None:
        self.runs: dict[str, Run] = {}
        self._versions: dict[str, list[ModelVersion]] = {}
        self._files: dict[tuple[str, int], dict[str, bytes]] = {}
        self._champions: dict[str, int] = {}
        self._heads: dict[str, str] = {}
        self.checks: dict[tuple[str, str], tuple[DriftCheck, str]] = {}
        self.leagues: dict[str, League] = {}
        self.reports: dict[str, bytes] = {}

    def start_run(self, training_set: TrainingSet, *, use_case: UseCase) -> str:
        """See :class:`Registry`."""
        run_id = f"{use_case.name}: {training_set.request.key}"
        self.runs.setdefault(run_id, Run(training_set))
        return run_id

    def log_candidate(self, run_id: str, result: CandidateResult, parameters: Mapping[str, Any]) -> None:
        """See :class:`Registry`."""
        self.runs[run_id].candidates.setdefault(result.name, (result, dict(parameters)))

    def end_run(self, run_id: str, outcome: str) -> None:
        """See :class:`Registry`."""
        self.runs[run_id].outcome = outcome

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
        """See :class:`Registry`."""
        package_digest = check_package(folder, package)
        versions = self._versions.setdefault(package.use_case, [])
        for version in versions:
            if version.tags["request_key"] == training_set.request.key:
                return check_same_bytes(version, package)
        version = read_version(
            package.use_case,
            len(versions) + 1,
            run_id=run_id,
            tags=version_tags(package, package_digest, choice, training_set),
            created_at=datetime.now(UTC),
            description=describe_training(package, parity, choice, training_set),
        )
        kept = {name: (folder / name).read_bytes() for name in kept_files(folder)}
        self._files[version.name, version.version] = kept | {PARITY: parity.model_dump_json().encode()}
        versions.append(version)
        return version

    def log_check(self, use_case: UseCase, check: DriftCheck, report: str) -> None:
        """See :class:`Registry`."""
        self.checks[use_case.name, check_name(check)] = (check, report)

    def log_league(self, use_case: UseCase, league: League) -> None:
        """See :class:`Registry`."""
        for row in league.standings:
            self.version(use_case.name, row.version)
        self.leagues[league.key] = league

    def log_report(self, use_case: UseCase, report: Report, files: Mapping[str, bytes]) -> None:
        """See :class:`Registry`."""
        run = use_case.name if report.version is None else self.version(use_case.name, report.version).run_id
        self.reports |= {f"{run}/{report_folder(report)}/{name}": content for name, content in files.items()}

    def log_plots(self, version: ModelVersion, plots: Mapping[str, bytes]) -> None:
        """See :class:`Registry`."""
        found = self.version(version.name, version.version)
        page = describe_plots(found.description, found.run_id, {f"{name}.svg": name for name in plots}, {})
        self.reports |= {f"{found.run_id}/{PLOTS}/{name}.svg": content for name, content in plots.items()}
        self._replace(found, tags={}, description=page)

    def record_gate(self, version: ModelVersion, decision: GateDecision) -> None:
        """See :class:`Registry`."""
        found = self.version(version.name, version.version)
        self.runs[version.run_id].gate = decision
        self._replace(found, tags=gate_tags(decision), description=describe_gate(found.description, decision))

    def record_review(self, review: ReviewRequest, use_case: UseCase, answer: ReviewAnswer | None) -> None:
        """See :class:`Registry`."""
        found = self.version(review.use_case, review.version)
        page = describe_review(found.description, review, use_case, answer)
        self._replace(found, tags=review_tags(review, answer), description=page)

    def record_release(self, outcome: ReleaseOutcome) -> None:
        """See :class:`Registry`."""
        found = self.version(outcome.use_case, outcome.wanted_version)
        self._replace(found, tags=release_tags(outcome), description=found.description)

    def champion(self, use_case: str) -> ModelVersion | None:
        """See :class:`Registry`."""
        number = self._champions.get(use_case)
        return None if number is None else self.version(use_case, number)

    def version(self, use_case: str, number: int) -> ModelVersion:
        """See :class:`Registry`."""
        versions = self._versions.get(use_case, [])
        if not 1 <= number <= len(versions):
            raise InputError("model version is unknown", where=use_case, got=str(number), allowed="a registered one")
        return versions[number - 1]

    def versions(self, use_case: str) -> tuple[ModelVersion, ...]:
        """See :class:`Registry`."""
        return tuple(reversed(self._versions.get(use_case, [])))

    def set_champion(self, use_case: str, number: int | None) -> None:
        """See :class:`Registry`."""
        if number is None:
            self._champions.pop(use_case, None)
        else:
            self._champions[use_case] = self.version(use_case, number).version

    def keep_head(self, use_case: str, head: Mapping[str, Any]) -> None:
        """See :class:`Registry`."""
        self._heads[use_case] = json.dumps(head)

    def kept_head(self, use_case: str) -> str | None:
        """See :class:`Registry`."""
        return self._heads.get(use_case)

    def fetch(self, version: ModelVersion, to: Path) -> Path:
        """See :class:`Registry`."""
        shutil.rmtree(to, ignore_errors=True)
        to.mkdir(parents=True)
        for name, content in self._files[version.name, version.version].items():
            (to / name).write_bytes(content)
        return to

    def reference(self, version: ModelVersion) -> ReferenceProfile:
        """See :class:`Registry`."""
        content = self._files[version.name, version.version].get(REFERENCE)
        if content is None:
            raise DataError("artifact is absent", where=f"{version.name} version {version.version}", got=REFERENCE)
        return ReferenceProfile.model_validate_json(content)

    def _replace(self, version: ModelVersion, *, tags: dict[str, str], description: str) -> None:
        changed = replace(version, tags=version.tags | tags, description=description)
        self._versions[version.name][version.version - 1] = changed
