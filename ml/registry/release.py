"""The steps of a release: stage, verify, canary where one is asked for, switch, confirm, then conclude or roll back.

The registry's alias is the wish, the manifest the truth (docs/adr/0001). Every step may be run again, and a release
that was killed between two steps ends right when it is started again from the first.

A roll back goes to the newest release that a replica confirmed (:mod:`ml.registry.release_folder`): its manifest comes
back with a new sequence, and the alias with it. Before the first confirmed release there is nothing to go back to:
manifest and alias are taken away, so that the next training starts as a first one instead of against a champion that
never served.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from datetime import datetime
from pathlib import Path

from ml.errors import ConflictError, DataError, InputError
from ml.records.codes import CODES, Code
from ml.records.governance import AliasMove
from ml.records.release import CanaryVerdict, Confirmation, ReleaseManifest, ReleaseOutcome, StagedRelease, Verification
from ml.records.shadow import ShadowVerdict
from ml.registry.alias import move_alias
from ml.registry.fleet import Fleet
from ml.registry.manifest import MODEL, PACKAGE, verify_artifact
from ml.registry.port import Registry
from ml.registry.release_folder import ReleaseFolder
from ml.registry.replicas import await_release
from ml.registry.try_out import try_out
from ml.store.control import ControlStore
from ml.use_case import UseCase


def stage(use_case: str, *, registry: Registry, releases: Path, now: datetime) -> StagedRelease:
    """Copy the champion's package from the registry into the release folder, as it is stored.

    Raises
    ------
    InputError
        The use case has no champion.
    ServiceAway
        The registry does not answer.
    """
    version = registry.champion(use_case)
    if version is None:
        raise InputError("there is nothing to release", where=use_case, got="no champion", allowed="promote a version")
    artifact, problem = "", ""
    folder = ReleaseFolder(releases, use_case)
    folder.path.mkdir(parents=True, exist_ok=True)
    before = folder.artifacts
    with tempfile.TemporaryDirectory(dir=folder.path, prefix=".staging-", ignore_cleanup_errors=True) as scratch:
        try:
            artifact = folder.store(registry.fetch(version, Path(scratch) / "package"))
        except DataError as error:
            problem = str(error)
    manifest = folder.manifest
    return StagedRelease(
        use_case=use_case,
        version=version.version,
        digest=version.digest,
        package_digest=version.package_digest,
        artifact=artifact,
        problem=problem,
        staged_at=now,
        unchanged=manifest is not None and manifest == folder.fallback and manifest.digest == version.digest,
        held=artifact in before,
    )


def verify(staged: StagedRelease, use_case: UseCase, *, releases: Path) -> Verification:
    """Whether the staged files are the registered bytes, and hold a model that does what it should."""
    folder = releases / staged.use_case / staged.artifact
    if not staged.artifact or not all((folder / name).is_file() for name in (MODEL, PACKAGE)):
        return refuse(Code.ARTIFACT_NOT_FOUND, staged.problem or f"artifact is absent; where: {folder}")
    try:
        verify_artifact(folder, digest=staged.digest, package_digest=staged.package_digest)
    except DataError as error:
        return refuse(Code.ARTIFACT_CORRUPT, str(error))
    try:
        found = try_out(folder, use_case)
    except DataError as error:
        return refuse(Code.RELEASE_REFUSED, str(error))
    reason = (
        f"{found.golden_rows} golden rows, largest difference {found.difference:.2g}; {found.probes} probes; "
        f"{found.latency_ms:.2g} ms for one row (median of {found.n}), {found.memory_mb:.0f} MiB"
    )
    return Verification(accepted=True, code=Code.OK, reason=reason)


def switch(staged: StagedRelease, *, registry: Registry, releases: Path, now: datetime, reason: str) -> ReleaseManifest:
    """Manifest that names the staged version; replicas see it from now on. The one in place when it does already.

    Raises
    ------
    ConflictError
        The alias has moved on to another version since staging.
    DataError
        The staged files are not the registered bytes.
    """
    folder = ReleaseFolder(releases, staged.use_case)
    with folder.alone():
        _check_champion(staged, registry)
        current = folder.manifest
        if current is not None and _names(current, staged) and current.candidate is None:
            return current
        verify_artifact(folder.path / staged.artifact, digest=staged.digest, package_digest=staged.package_digest)
        if current is not None and folder.fallback is None:
            folder.keep_as_fallback(current)
        return folder.publish(
            ReleaseManifest(
                use_case=staged.use_case,
                sequence=folder.next_sequence,
                model_name=staged.use_case,
                model_version=staged.version,
                digest=staged.digest,
                package_digest=staged.package_digest,
                artifact=staged.artifact,
                released_at=now,
                previous=current.model_version if current else None,
                reason=reason,
            )
        )


def confirm(
    scoring_url: str, manifest: ReleaseManifest, *, releases: Path, timeout: float, fleet: Fleet | None = None
) -> Confirmation:
    """Whether the replica serves the manifest within ``timeout`` seconds; then it is what roll backs go back to.

    A replica that refuses the release is an answer at once; one that is away may come back until time is over.
    """
    confirmation = await_release(scoring_url, manifest, timeout=timeout, fleet=fleet)
    folder = ReleaseFolder(releases, manifest.use_case)
    if confirmation.confirmed:
        with folder.alone():
            if folder.manifest == manifest:
                folder.keep_as_fallback(manifest)
    return confirmation


def conclude(staged: StagedRelease, *, registry: Registry, now: datetime) -> ReleaseOutcome:
    """Outcome of a release that the replicas confirmed, noted in the registry."""
    reason = "the replicas served it already" if staged.unchanged else "the replicas serve it"
    outcome = ReleaseOutcome(
        use_case=staged.use_case,
        outcome="unchanged" if staged.unchanged else "confirmed",
        wanted_version=staged.version,
        served_version=staged.version,
        reason=reason,
        seconds=_seconds(staged, now),
    )
    if not staged.unchanged:
        registry.record_release(outcome)
    return outcome


def roll_back(
    staged: StagedRelease, *, registry: Registry, control: ControlStore, releases: Path, now: datetime, reason: str
) -> ReleaseOutcome:
    """Take a release back: the fallback's manifest with a new sequence, then the alias, then a note in the registry.

    A version that the replicas had confirmed before stays, with its alias: nothing better is known, and a scoring
    service that is away for a moment is no fault of the model.

    Raises
    ------
    ServiceAway
        The registry does not answer; the manifest is back already, the rest is done by the next call.
    """
    folder = ReleaseFolder(releases, staged.use_case)
    with folder.alone():
        manifest = _take_back(staged, folder, now, reason)
        if not staged.held:
            folder.discard(staged.artifact)
    kept = manifest is not None and _names(manifest, staged)
    if not kept:
        _move_back(staged, registry, control, manifest, now=now, reason=reason)
    outcome = ReleaseOutcome(
        use_case=staged.use_case,
        outcome="unchanged" if kept else "rolled_back",
        wanted_version=staged.version,
        served_version=manifest.model_version if manifest else None,
        reason=reason,
        seconds=_seconds(staged, now),
    )
    if not kept:
        registry.record_release(outcome)
    return outcome


def release_champion(  # noqa: PLR0913 - the stores, the replicas, and what allows it
    use_case: UseCase,
    *,
    registry: Registry,
    control: ControlStore,
    releases: Path,
    scoring_url: str,
    timeout: float,
    clock: Callable[[], datetime],
    allow: Callable[[StagedRelease], Verification] | None = None,
    trial: Callable[[StagedRelease], CanaryVerdict | ShadowVerdict | None] | None = None,
    fleet: Fleet | None = None,
) -> ReleaseOutcome:
    """All steps, one after the other: the champion is served, or what served before.

    Parameters
    ----------
    allow
        Whether a staged version may be served at all; asked before its files are looked at.
    trial
        Shadow and canary of a sound version; None, or an answer of None, switches at once.
    fleet
        Of several replicas; None for one.
    timeout
        Seconds that the replicas have to confirm.
    clock
        Now, UTC.
    """
    staged = stage(use_case.name, registry=registry, releases=releases, now=clock())

    def taken_back(reason: str) -> ReleaseOutcome:
        return roll_back(staged, registry=registry, control=control, releases=releases, now=clock(), reason=reason)

    allowed = None if allow is None else allow(staged)
    if allowed is not None and not allowed.accepted:
        return taken_back(allowed.reason)
    verification = verify(staged, use_case, releases=releases)
    if not verification.accepted:
        return taken_back(verification.reason)
    tried = None if trial is None else trial(staged)
    if tried is not None and not tried.accepted:
        return taken_back(tried.reason)
    manifest = switch(staged, registry=registry, releases=releases, now=clock(), reason=verification.reason)
    confirmation = confirm(scoring_url, manifest, releases=releases, timeout=timeout, fleet=fleet)
    if not confirmation.confirmed:
        return taken_back(confirmation.reason)
    return conclude(staged, registry=registry, now=clock())


def _check_champion(staged: StagedRelease, registry: Registry) -> None:
    champion = registry.champion(staged.use_case)
    if champion is None or champion.version != staged.version:
        raise ConflictError(
            "the champion changed during the release",
            where=staged.use_case,
            got="none" if champion is None else f"version {champion.version}",
            allowed=f"version {staged.version}",
        )


def _move_back(
    staged: StagedRelease,
    registry: Registry,
    control: ControlStore,
    manifest: ReleaseManifest | None,
    *,
    now: datetime,
    reason: str,
) -> None:
    """Point the alias to what the manifest names, unless somebody moved it on meanwhile."""
    champion = registry.champion(staged.use_case)
    if champion is None or champion.version != staged.version:
        return
    move = AliasMove(
        use_case=staged.use_case,
        version=manifest.model_version if manifest else None,
        previous=staged.version,
        by="roll_back",
        reason=reason,
    )
    key = f"{staged.use_case}/roll_back/{staged.version}/{staged.staged_at.isoformat()}"
    move_alias(move, key=key, registry=registry, control=control, actor="release", now=now, back=True)


def _take_back(staged: StagedRelease, folder: ReleaseFolder, now: datetime, reason: str) -> ReleaseManifest | None:
    """Manifest in place when the staged version is taken back; None when there is none left."""
    current, fallback = folder.manifest, folder.fallback
    if current is not None and current.candidate is not None:
        current = _end_trial(staged, current, folder, now, reason)
    if current is None or not _names(current, staged):
        return current
    if fallback is None:
        folder.withdraw()
        return None
    if _names(fallback, staged):
        return current
    changes = {
        "sequence": folder.next_sequence,
        "released_at": now,
        "previous": staged.version,
        "reason": f"version {staged.version} was rolled back: {reason}",
    }
    return folder.publish(fallback.model_copy(update=changes))


def _end_trial(
    staged: StagedRelease, current: ReleaseManifest, folder: ReleaseFolder, now: datetime, reason: str
) -> ReleaseManifest:
    """Manifest without the staged version's canary; another version's goes on."""
    candidate = current.candidate
    if candidate is None or (candidate.model_version, candidate.digest) != (staged.version, staged.digest):
        return current
    told = f"the canary of version {staged.version} ended: {reason}"
    changes = {"sequence": folder.next_sequence, "released_at": now, "candidate": None, "reason": told}
    return folder.publish(current.model_copy(update=changes))


def _names(manifest: ReleaseManifest, staged: StagedRelease) -> bool:
    return (manifest.model_version, manifest.digest) == (staged.version, staged.digest)


def refuse(code: Code, reason: str) -> Verification:
    """A version that is not served, with the code of the scoring service's table."""
    return Verification(accepted=False, code=code, reason=f"code {code:d}, {CODES[code][0]}: {reason}")


def _seconds(staged: StagedRelease, now: datetime) -> float:
    return round((now - staged.staged_at).total_seconds(), 3)
