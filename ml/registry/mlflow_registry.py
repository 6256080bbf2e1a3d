"""The registry in MLflow: one experiment and one registered model per use case, on a server reached by HTTP."""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Mapping
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ml.errors import DataError, InputError
from ml.records.approval import ReviewAnswer, ReviewRequest
from ml.records.decision import CandidateResult, Choice, DriftCheck, GateDecision, Parity, ServingCost, TrainingSet
from ml.records.governance import CHAMPION
from ml.records.league import League
from ml.records.profile import ReferenceProfile
from ml.records.release import Package, ReleaseOutcome
from ml.records.report import Report
from ml.registry.manifest import MODEL
from ml.registry.mlflow_checks import log_check
from ml.registry.mlflow_faults import asking, is_absent, is_taken, is_unset_alias, with_the_twin_that_stays
from ml.registry.mlflow_league import log_league
from ml.registry.mlflow_model import settle_model
from ml.registry.mlflow_reports import log_plots, log_report
from ml.registry.mlflow_runs import (
    cost_numbers,
    estimate_numbers,
    finish_candidate,
    gate_numbers,
    log_numbers,
    parity_numbers,
    start_retraining,
)
from ml.registry.page import describe_gate, describe_training
from ml.registry.port import (
    ModelVersion,
    Registry,
    check_package,
    check_same_bytes,
    kept_files,
)
from ml.registry.review_page import describe_review
from ml.registry.tags import gate_tags, read_version, release_tags, request_identity, review_tags, version_tags
from ml.settings import prepare_mlflow
from ml.training.cost import COST
from ml.training.graph import PARITY, REFERENCE
from ml.use_case import UseCase

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities.model_registry import ModelVersion as MlflowVersion

#: Folder of a run's artifacts that holds the package's files, byte by byte.
FOLDER = "package"

#: Tag of the registered model that keeps a signed head of the ledger.
HEAD_TAG = "ledger_head"

_PAGE = 200  # versions per answer of the server


class MlflowRegistry(Registry):
    """Runs, versions and aliases on an MLflow server.

    Parameters
    ----------
    url
        Where the server answers. Nothing is asked before the first method is called.
    """

    def __init__(self, url: str) -> None:
        self._url = url

    @cached_property
    def _client(self) -> MlflowClient:
        prepare_mlflow(self._url)
        from mlflow import MlflowClient

        return MlflowClient(tracking_uri=self._url, registry_uri=self._url)

    def start_run(self, training_set: TrainingSet, *, use_case: UseCase) -> str:
        """See :class:`Registry`."""
        with asking(self._url):
            return with_the_twin_that_stays(lambda: start_retraining(self._client, training_set, use_case))

    def log_candidate(self, run_id: str, result: CandidateResult, parameters: Mapping[str, Any]) -> None:
        """See :class:`Registry`."""
        with asking(self._url):
            with_the_twin_that_stays(lambda: finish_candidate(self._client, run_id, result, parameters))

    def end_run(self, run_id: str, outcome: str) -> None:
        """See :class:`Registry`."""
        with asking(self._url):
            self._client.set_tag(run_id, "outcome", outcome)
            self._client.set_terminated(run_id, "FINISHED")

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
        """See :class:`Registry`.

        The version is written last and in one step: as long as it is absent, the rest is made again or found.
        """
        package_digest = check_package(folder, package)
        with asking(self._url):
            found = self._find_by_request(package.use_case, training_set.request.key)
            if found is not None:
                return check_same_bytes(found, package)
            self._log_package(run_id, folder, parity)
            run = self._client.get_run(run_id)
            model_id = settle_model(self._client, run, folder / MODEL, package, training_set)
            chosen = next(result for result in choice.results if result.name == choice.chosen)
            numbers = estimate_numbers(f"validation_{chosen.metric}", chosen.loss) | parity_numbers(parity)
            if (folder / COST).exists():
                numbers |= cost_numbers(ServingCost.read(folder / COST))
            log_numbers(self._client, run, numbers, model_id=model_id)
            self._ensure_model(package.use_case, run.info.experiment_id)
            made = self._client.create_model_version(
                package.use_case,
                source=f"models:/{model_id}",
                run_id=run_id,
                model_id=model_id,
                tags=version_tags(package, package_digest, choice, training_set),
                description=describe_training(package, parity, choice, training_set),
                await_creation_for=0,
            )
            return _read(made)

    def log_check(self, use_case: UseCase, check: DriftCheck, report: str) -> None:
        """See :class:`Registry`."""
        with asking(self._url):
            log_check(self._client, use_case, check, report)

    def log_league(self, use_case: UseCase, league: League) -> None:
        """See :class:`Registry`."""
        with asking(self._url):
            runs = {row.version: self.version(use_case.name, row.version).run_id for row in league.standings}
            log_league(self._client, use_case, league, runs)

    def log_report(self, use_case: UseCase, report: Report, files: Mapping[str, bytes]) -> None:
        """See :class:`Registry`."""
        with asking(self._url):
            version = None if report.version is None else self.version(use_case.name, report.version)
            log_report(self._client, use_case, report, files, None if version is None else version.run_id)

    def log_plots(self, version: ModelVersion, plots: Mapping[str, bytes]) -> None:
        """See :class:`Registry`."""
        with asking(self._url):
            page = log_plots(self._client, self.version(version.name, version.version), plots)
            self._client.update_model_version(version.name, str(version.version), description=page)

    def record_gate(self, version: ModelVersion, decision: GateDecision) -> None:
        """See :class:`Registry`; ends the retraining's run."""
        with asking(self._url):
            run = self._client.get_run(version.run_id)
            log_numbers(self._client, run, gate_numbers(decision))
            self._client.log_text(version.run_id, decision.model_dump_json(indent=1), "gate.json")
            page = describe_gate(self.version(version.name, version.version).description, decision)
            self._client.update_model_version(version.name, str(version.version), description=page)
            self._tag(version.name, version.version, gate_tags(decision))
            self._client.set_terminated(version.run_id, "FINISHED")

    def record_review(self, review: ReviewRequest, use_case: UseCase, answer: ReviewAnswer | None) -> None:
        """See :class:`Registry`."""
        name, number = review.use_case, review.version
        with asking(self._url):
            page = describe_review(self.version(name, number).description, review, use_case, answer)
            self._client.update_model_version(name, str(number), description=page)
            self._tag(name, number, review_tags(review, answer))

    def record_release(self, outcome: ReleaseOutcome) -> None:
        """See :class:`Registry`."""
        with asking(self._url):
            self._tag(outcome.use_case, outcome.wanted_version, release_tags(outcome))

    def champion(self, use_case: str) -> ModelVersion | None:
        """See :class:`Registry`."""
        from mlflow.exceptions import MlflowException

        with asking(self._url):
            try:
                return _read(self._client.get_model_version_by_alias(use_case, CHAMPION))
            except MlflowException as error:
                if is_absent(error) or is_unset_alias(error):
                    return None
                raise

    def version(self, use_case: str, number: int) -> ModelVersion:
        """See :class:`Registry`."""
        from mlflow.exceptions import MlflowException

        with asking(self._url):
            try:
                return _read(self._client.get_model_version(use_case, str(number)))
            except MlflowException as error:
                if not is_absent(error):
                    raise
                raise InputError(
                    "model version is unknown", where=use_case, got=str(number), allowed="a registered one"
                ) from error

    def versions(self, use_case: str) -> tuple[ModelVersion, ...]:
        """See :class:`Registry`."""
        with asking(self._url):
            found = self._search(f"name = '{use_case}'")
        ours = [_read(entry) for entry in found if "request_identity" in entry.tags]
        return tuple(sorted(ours, key=lambda version: version.version, reverse=True))

    def set_champion(self, use_case: str, number: int | None) -> None:
        """See :class:`Registry`."""
        with asking(self._url):
            if number is None:
                self._client.delete_registered_model_alias(use_case, CHAMPION)
            else:
                self._client.set_registered_model_alias(use_case, CHAMPION, str(number))

    def keep_head(self, use_case: str, head: Mapping[str, Any]) -> None:
        """See :class:`Registry`; a tag of the registered model."""
        with asking(self._url):
            self._client.set_registered_model_tag(use_case, HEAD_TAG, json.dumps(head))

    def kept_head(self, use_case: str) -> str | None:
        """See :class:`Registry`."""
        from mlflow.exceptions import MlflowException

        with asking(self._url):
            try:
                head = self._client.get_registered_model(use_case).tags.get(HEAD_TAG)
            except MlflowException as error:
                if not is_absent(error):
                    raise
                return None
        return None if head is None else str(head)

    def fetch(self, version: ModelVersion, to: Path) -> Path:
        """See :class:`Registry`."""
        to.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=to.parent, prefix=".fetching-", ignore_cleanup_errors=True) as scratch:
            whole = Path(scratch) / FOLDER
            whole.mkdir()
            with asking(self._url):
                for entry in self._client.list_artifacts(version.run_id, FOLDER):
                    self._client.download_artifacts(version.run_id, entry.path, str(whole))
            shutil.rmtree(to, ignore_errors=True)
            whole.rename(to)
        return to

    def reference(self, version: ModelVersion) -> ReferenceProfile:
        """See :class:`Registry`."""
        path = f"{FOLDER}/{REFERENCE}"
        with tempfile.TemporaryDirectory() as scratch, asking(self._url):
            if path not in {entry.path for entry in self._client.list_artifacts(version.run_id, FOLDER)}:
                raise DataError("artifact is absent", where=f"{version.name} version {version.version}", got=path)
            return ReferenceProfile.read(Path(self._client.download_artifacts(version.run_id, path, scratch)))

    def _find_by_request(self, name: str, key: str) -> ModelVersion | None:
        found = self._search(f"name = '{name}' and tags.request_identity = '{request_identity(key)}'")
        return min(map(_read, found), key=lambda version: version.version, default=None)

    def _search(self, wanted: str) -> list[MlflowVersion]:
        found: list[MlflowVersion] = []
        token = None
        while True:
            page = self._client.search_model_versions(wanted, max_results=_PAGE, page_token=token)
            found += page
            token = page.token
            if not token:
                return found

    def _log_package(self, run_id: str, folder: Path, parity: Parity) -> None:
        for name in kept_files(folder):
            self._client.log_artifact(run_id, str(folder / name), FOLDER)
        self._client.log_text(run_id, parity.model_dump_json(indent=1), f"{FOLDER}/{PARITY}")

    def _ensure_model(self, name: str, experiment: str) -> None:
        from mlflow.exceptions import MlflowException

        try:
            self._client.get_registered_model(name)
        except MlflowException as error:
            if not is_absent(error):
                raise
            note = self._client.get_experiment(experiment).tags.get("mlflow.note.content", "")
            try:
                self._client.create_registered_model(name, description=note)
            except MlflowException as raced:
                if not is_taken(raced):
                    raise

    def _tag(self, name: str, number: int, tags: Mapping[str, str]) -> None:
        for key, value in tags.items():
            self._client.set_model_version_tag(name, str(number), key, value)


def _read(entry: MlflowVersion) -> ModelVersion:
    return read_version(
        entry.name,
        int(entry.version),
        run_id=entry.run_id or "",
        tags=entry.tags,
        created_at=datetime.fromtimestamp(entry.creation_timestamp / 1000, UTC),
        description=entry.description or "",
    )
