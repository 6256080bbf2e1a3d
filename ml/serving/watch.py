"""What a replica serves: manifests are watched, models loaded aside and swapped in one step.

Whatever is wrong with a release, the model that serves goes on serving; the replica says so at ``/status``.
"""

from __future__ import annotations

import asyncio
import logging
import time
from dataclasses import dataclass, replace
from pathlib import Path

from ml.errors import DataError
from ml.records.codes import CODES, Code
from ml.records.release import ReleaseManifest, ReplicaStatus
from ml.registry.manifest import EARLIER, FALLBACK, WITHDRAWN, manifest_path, read_manifest
from ml.serving.degraded import Spare
from ml.serving.model import Model, ReleaseRefused, load_model
from ml.serving.problem import RequestRefused
from ml.serving.trial import Trial
from ml.use_case import UseCase

POLL_SECONDS = 0.2
#: A refused release is tried again this often: somebody may have repaired the artifact.
RETRY_SECONDS = 5.0

log = logging.getLogger(__name__)

#: Time, size and inode of a file; None of one that is absent.
_Mark = tuple[int, int, int] | None


@dataclass
class _Served:
    """State of one use case; replaced fields are read by requests between two ticks of one loop."""

    use_case: UseCase
    model: Model | None = None
    trial: Trial | None = None
    last_good: Model | None = None
    spare_problem: str = ""
    seen: tuple[_Mark, ...] = ()
    tried_at: float = 0.0
    wanted: int | None = None
    wanted_version: int | None = None
    code: Code | None = None
    problem: str = ""


class Releases:
    """The models of a replica, kept as their manifests say.

    Parameters
    ----------
    folder
        Of all releases, ``{var}/releases``.
    """

    def __init__(self, folder: Path, use_cases: dict[str, UseCase]) -> None:
        self._folder = folder
        self._served = {name: _Served(use_case) for name, use_case in use_cases.items()}

    def use_cases(self) -> dict[str, UseCase]:
        """Every use case by name."""
        return {name: served.use_case for name, served in self._served.items()}

    def model(self, name: str) -> Model | None:
        """Model that serves now, None before the first release."""
        return self._served[name].model

    def require(self, name: str) -> Model:
        """Model that serves now.

        Raises
        ------
        RequestRefused
            None does.
        """
        model = self.model(name)
        if model is None:
            raise self.no_model(name)
        return model

    def no_model(self, name: str) -> RequestRefused:
        """Refusal of a request while no version serves, with the code of what is wrong with the one that should."""
        code = self._served[name].code
        if code is None:
            return RequestRefused(Code.ARTIFACT_NOT_FOUND, f"no model of {name} is released yet")
        return RequestRefused(code, f"the released model of {name} cannot serve: {CODES[code][0]}; /status says more")

    def trial(self, name: str) -> Trial | None:
        """The canary that is running, None when there is none."""
        return self._served[name].trial

    def spare(self, name: str) -> Spare | None:
        """Who answers what the model that serves cannot; None where nobody is to."""
        served = self._served[name]
        if served.last_good is None:
            return None
        if served.model is None:
            code = served.code or Code.ARTIFACT_NOT_FOUND
            return Spare(served.last_good, code, served.problem, served.wanted_version)
        return Spare(served.last_good)

    def behind_candidate(self, name: str) -> Spare | None:
        """The same for the candidate of a canary: the champion, where anybody is to."""
        served = self._served[name]
        return None if served.model is None or not _is_declared(served) else Spare(served.model)

    def status(self) -> list[ReplicaStatus]:
        """What is served and wanted, per use case."""
        return [_status(served) for served in self._served.values()]

    async def watch(self) -> None:
        """Look for new manifests until cancelled."""
        while True:
            for name in self._served:
                await self.refresh(name)
            await asyncio.sleep(POLL_SECONDS)

    async def refresh(self, name: str) -> None:
        """Serve what the manifest names, if that is new; the old model stays when anything is wrong."""
        served = self._served[name]
        mark = self._marks(served)
        due = served.code is not None and time.monotonic() - served.tried_at > RETRY_SECONDS
        if mark == served.seen and not due:
            return
        served.seen, served.tried_at = mark, time.monotonic()
        outgoing, before = served.model, (served.code, served.problem)
        try:
            model = await asyncio.to_thread(self._choose, served)
            trial = _kept(served.trial, model)
            # First: a candidate that cannot be loaded keeps nobody from being answered.
            served.model, served.trial = model, trial
            if model is not None and model.manifest.candidate is not None and trial is None:
                served.trial = await asyncio.to_thread(self._try, served.use_case, model)
            served.code, served.problem = None, ""
        except ReleaseRefused as error:
            served.code, served.problem = error.code, str(error)
        except Exception as error:  # the watch goes on, whatever a file of a release holds
            log.exception("release not understood: use_case=%s", name)
            served.code, served.problem = Code.RELEASE_REFUSED, f"{type(error).__name__}: {str(error)[:300]}"
        if _is_declared(served):
            served.last_good = await asyncio.to_thread(self._find_last_good, served, outgoing)
        if served.code is None:
            log.info("serving: use_case=%s version=%s", name, served.model and served.model.manifest.model_version)
        elif (served.code, served.problem) != before:
            log.warning("release refused: use_case=%s code=%d %s", name, served.code, served.problem)

    def _choose(self, served: _Served) -> Model | None:
        """Model to serve from now on, None for none; runs in a thread.

        Raises
        ------
        ReleaseRefused
            The one that serves stays.
        """
        name, current = served.use_case.name, served.model
        try:
            manifest = read_manifest(self._folder, name)
        except DataError as error:
            raise ReleaseRefused(Code.RELEASE_REFUSED, str(error)) from error
        if manifest is None:
            return self._settle_absence(name, current)
        if manifest.sequence != served.wanted:
            served.code, served.problem = None, ""  # first: nobody may see the old fault beside the new sequence
            served.wanted, served.wanted_version = manifest.sequence, manifest.model_version
        if current is not None and current.manifest == manifest:
            return current
        if manifest.use_case != name:
            raise ReleaseRefused(Code.RELEASE_REFUSED, f"the manifest is of use case {manifest.use_case!r}")
        if current is not None and manifest.sequence < current.manifest.sequence:
            raise ReleaseRefused(Code.RELEASE_REFUSED, f"release {manifest.sequence} is older than the served one")
        loaded = _loaded(served, manifest)
        return load_model(self._folder, manifest, served.use_case) if loaded is None else loaded

    def _marks(self, served: _Served) -> tuple[_Mark, ...]:
        path = manifest_path(self._folder, served.use_case.name)
        others = (FALLBACK, EARLIER) if _is_declared(served) else ()
        return tuple(_mark(file) for file in (path, *map(path.with_name, others)))

    def _find_last_good(self, served: _Served, outgoing: Model | None) -> Model | None:
        """The newest confirmed release that is another one than the present, and not newer; runs in a thread.

        It is loaded beside the present one, so that the first request that fails has somebody to turn to.
        """
        name, present = served.use_case.name, served.model.manifest if served.model else self._wanted(served)
        if present is None and served.code is None:
            return None  # nothing was released, or it was withdrawn
        for file in (FALLBACK, EARLIER):
            try:
                manifest = ReleaseManifest.read(manifest_path(self._folder, name).with_name(file))
                if present is not None and not _is_before(manifest, present):
                    continue
                held = (model for model in (served.last_good, outgoing) if model is not None)
                found = next((model for model in held if _bytes(model.manifest) == _bytes(manifest)), None)
                return found or load_model(self._folder, manifest, served.use_case)
            except (DataError, ReleaseRefused) as error:
                if manifest_path(self._folder, name).with_name(file).exists():
                    _tell_once(served, f"use_case={name} {error}")
        return None

    def _wanted(self, served: _Served) -> ReleaseManifest | None:
        try:
            return read_manifest(self._folder, served.use_case.name)
        except DataError:
            return None

    def _try(self, use_case: UseCase, model: Model) -> Trial:
        """The candidate beside a champion; runs in a thread.

        Raises
        ------
        ReleaseRefused
            It cannot serve; the champion answers everything.
        """
        wanted, budget = model.manifest.candidate, use_case.serving.latency_ms
        assert wanted is not None  # noqa: S101 - of its caller
        named = wanted.model_dump(include={"model_version", "digest", "package_digest", "artifact"})
        alone = model.manifest.model_copy(update={**named, "candidate": None})
        candidate = load_model(self._folder, alone, use_case)
        return Trial(model.manifest.sequence, candidate, wanted.share, None if budget is None else budget / 1000)

    def _settle_absence(self, name: str, current: Model | None) -> Model | None:
        """No model where none was released, or the released one was withdrawn; a manifest that was lost is a fault."""
        path = manifest_path(self._folder, name)
        if current is None:
            return None
        try:
            withdrawn = ReleaseManifest.read(path.with_name(WITHDRAWN))
        except DataError:
            withdrawn = None
        if withdrawn is not None and withdrawn.sequence >= current.manifest.sequence:
            return None
        raise ReleaseRefused(Code.ARTIFACT_NOT_FOUND, f"the manifest is gone; where: {path}")


def _loaded(served: _Served, manifest: ReleaseManifest) -> Model | None:
    """The model in memory that is what a manifest names, as champion or as candidate until now."""
    trial = served.trial
    for model in (served.model, None if trial is None else trial.candidate):
        if model is not None and _bytes(model.manifest) == _bytes(manifest):
            return replace(model, manifest=manifest)
    return None


def _bytes(manifest: ReleaseManifest) -> tuple[str, str, str, int]:
    return manifest.artifact, manifest.digest, manifest.package_digest, manifest.model_version


def _is_before(manifest: ReleaseManifest, present: ReleaseManifest) -> bool:
    """Whether a confirmed release is another one than the present, and of no newer version."""
    return _bytes(manifest) != _bytes(present) and manifest.model_version <= present.model_version


def _tell_once(served: _Served, problem: str) -> None:
    if problem != served.spare_problem:
        log.warning("last good release cannot be loaded: %s", problem)
    served.spare_problem = problem


def _is_declared(served: _Served) -> bool:
    return served.use_case.serving.degraded == "last_good"


def _kept(trial: Trial | None, model: Model | None) -> Trial | None:
    """The trial that is running already, when it is the one that the model's manifest asks for."""
    running = trial is not None and model is not None and model.manifest.candidate is not None
    return trial if running and trial.sequence == model.manifest.sequence else None  # type: ignore[union-attr]


def _mark(path: Path) -> _Mark:
    try:
        stat = path.stat()
    except OSError:
        return None
    return stat.st_mtime_ns, stat.st_size, stat.st_ino


def _status(served: _Served) -> ReplicaStatus:
    manifest = served.model.manifest if served.model else None
    return ReplicaStatus(
        use_case=served.use_case.name,
        state="degraded" if served.code is not None else "serving" if manifest else "waiting",
        model_version=manifest.model_version if manifest else None,
        digest=manifest.digest if manifest else None,
        sequence=manifest.sequence if manifest else None,
        wanted_sequence=served.wanted,
        code=served.code,
        problem=served.problem,
        arms=None if served.trial is None else served.trial.arms(),
        last_good=None if served.last_good is None else served.last_good.manifest.model_version,
    )
