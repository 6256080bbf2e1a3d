"""A model that replicas cannot load is fetched from the registry again, and released once more."""

from __future__ import annotations

import tempfile
from pathlib import Path

from ml.errors import DataError, PerennialError, ServiceAway
from ml.records.release import ReleaseManifest
from ml.registry.fleet import fleet_of
from ml.registry.manifest import verify_artifact
from ml.registry.release import confirm
from ml.registry.release_folder import ReleaseFolder
from ml.registry.replicas import read_status
from ml.runbooks.runbook import Before, Runbook, Seen, World
from ml.runbooks.serving_state import see_served


class ReloadModel(Runbook):
    """Target is the use case. The version stays: bytes that are damaged or absent are put back as registered."""

    name, target, per_hour = "reload_model", "a use case", 4

    def pre_check(self, target: str, world: World) -> Seen:
        """A release is known, and it is not served or its files are damaged."""
        wanted = _wanted(target, world)
        if wanted is None:
            return Seen(False, f"nothing was ever released of {target}")
        damage, served = _damage(wanted, world), see_served(target, world)
        if served.ok and not damage:
            return Seen(False, f"{served.detail}; its files are whole")
        return Seen(True, damage or served.detail)

    def remember(self, target: str, world: World) -> Before:
        """The manifest in place."""
        wanted = _wanted(target, world)
        return {} if wanted is None else {"manifest": wanted.model_dump_json()}

    def act(self, target: str, world: World, before: Before) -> str:
        """Fetch what is damaged; publish under a new sequence, which every replica loads."""
        wanted = ReleaseManifest.model_validate_json(before["manifest"])
        folder = ReleaseFolder(world.settings.releases, target)
        fetched = ""
        if _damage(wanted, world):
            _fetch(wanted, folder, world)
            fetched = "its files were fetched again; "
        with folder.alone():
            sequence = max(folder.next_sequence, _newest_seen(target, world) + 1)
            changes = {"sequence": sequence, "released_at": world.clock(), "reason": "reloaded by runbook"}
            manifest = folder.publish(wanted.model_copy(update=changes))
        found = confirm(
            world.settings.scoring_url,
            manifest,
            releases=world.settings.releases,
            timeout=min(10.0, world.patience),
            fleet=fleet_of(world.settings),
        )
        return f"{fetched}version {manifest.model_version} is release {manifest.sequence} now; {found.reason}"

    def post_check(self, target: str, world: World, before: Before) -> Seen:
        """The replicas serve the version from whole files."""
        wanted = ReleaseManifest.model_validate_json(before["manifest"])
        if damage := _damage(wanted, world):
            return Seen(False, damage)
        now = ReleaseFolder(world.settings.releases, target).manifest
        if now is None or now.sequence <= wanted.sequence:
            return Seen(False, "it was not released again")
        return see_served(target, world)

    def revert(self, target: str, world: World, before: Before) -> str:
        """The manifest before, under a newer sequence: replicas that serve an older model go on serving it."""
        wanted = ReleaseManifest.model_validate_json(before["manifest"])
        folder = ReleaseFolder(world.settings.releases, target)
        with folder.alone():
            if folder.manifest is None or folder.manifest.sequence <= wanted.sequence:
                return "nothing was released, nothing is taken back"
            changes = {"sequence": folder.next_sequence, "released_at": world.clock()}
            manifest = folder.publish(wanted.model_copy(update=changes))
        return f"the manifest before is back, as release {manifest.sequence}"


def _wanted(use_case: str, world: World) -> ReleaseManifest | None:
    """What should be served; of a manifest that was lost, the newest confirmed one."""
    folder = ReleaseFolder(world.settings.releases, use_case)
    try:
        return folder.manifest or folder.fallback
    except DataError:
        return folder.fallback


def _newest_seen(use_case: str, world: World) -> int:
    """Newest sequence that a replica has seen: of a manifest that was lost, nobody else knows it."""
    try:
        status = read_status(world.settings.scoring_url, use_case)
    except ServiceAway:
        return 0
    return 0 if status is None else max(status.sequence or 0, status.wanted_sequence or 0)


def _damage(manifest: ReleaseManifest, world: World) -> str:
    folder = world.settings.releases / manifest.use_case / manifest.artifact
    try:
        verify_artifact(folder, digest=manifest.digest, package_digest=manifest.package_digest)
    except DataError as error:
        return str(error)
    return ""


def _fetch(manifest: ReleaseManifest, folder: ReleaseFolder, world: World) -> None:
    registry = world.open_registry()
    version = registry.version(manifest.use_case, manifest.model_version)
    with tempfile.TemporaryDirectory(dir=folder.path, prefix=".staging-", ignore_cleanup_errors=True) as scratch:
        stored = folder.store(registry.fetch(version, Path(scratch) / "package"))
    if stored != manifest.artifact:
        raise PerennialError("the registry holds other bytes", where=stored, got=stored, allowed=manifest.artifact)
