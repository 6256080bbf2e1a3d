"""What the replicas serve of a use case, asked by runbooks."""

from __future__ import annotations

from datetime import UTC, datetime

from ml.records.release import ReleaseManifest
from ml.registry.fleet import fleet_of, judge_fleet, read_heartbeats
from ml.registry.release_folder import ReleaseFolder
from ml.registry.replicas import read_status
from ml.runbooks.runbook import Seen, World


def see_served(use_case: str, world: World) -> Seen:
    """Whether every replica serves what the manifest names."""
    manifest = ReleaseFolder(world.settings.releases, use_case).manifest
    if manifest is None:
        return Seen(False, "there is no manifest")
    return see_manifest_served(manifest, world)


def see_manifest_served(manifest: ReleaseManifest, world: World) -> Seen:
    """Whether every replica serves a manifest."""
    name = manifest.use_case
    status = read_status(world.settings.scoring_url, name)
    if status is None:
        return Seen(False, f"the scoring service does not know {name}")
    if (fleet := fleet_of(world.settings)) is not None:
        beats = read_heartbeats(fleet.folder)
        served, told = judge_fleet(fleet, beats, manifest, now=datetime.now(UTC), last=False)
        return Seen(served is True, told)
    ok = status.state == "serving" and (status.sequence, status.digest) == (manifest.sequence, manifest.digest)
    told = f"the replica is {status.state}, release {status.sequence} of version {status.model_version}"
    return Seen(ok, f"{told}; {status.problem}" if status.problem else told)
