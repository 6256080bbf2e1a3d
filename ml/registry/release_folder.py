"""The files of a use case's releases beside the manifest, and who may change them at a time.

``manifest.json``
    What the replicas should serve (:mod:`ml.registry.manifest`).
``fallback.json``
    The manifest that a roll back brings back: the newest one that a replica confirmed, or, until one was, the one
    before the running release.
``earlier.json``
    The confirmed release of an older version before ``fallback.json``: what it cannot answer, this one may.
``withdrawn.json``
    A first release that no replica confirmed. Its sequence is not given a second time: replicas that have seen it
    ignore what is not newer.
"""

from __future__ import annotations

import fcntl
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from ml.records.release import ReleaseManifest
from ml.registry.manifest import (
    EARLIER,
    FALLBACK,
    MODEL,
    PACKAGE,
    WITHDRAWN,
    digest_file,
    manifest_path,
    read_manifest,
    store_artifact,
)


@dataclass(frozen=True)
class ReleaseFolder:
    """Release folder of one use case under the folder of all releases."""

    releases: Path
    use_case: str

    @property
    def path(self) -> Path:
        """The use case's own folder."""
        return self.releases / self.use_case

    @property
    def manifest(self) -> ReleaseManifest | None:
        """What the replicas should serve."""
        return read_manifest(self.releases, self.use_case)

    @property
    def fallback(self) -> ReleaseManifest | None:
        """What a roll back brings back."""
        return _read(self._fallback)

    @property
    def earlier(self) -> ReleaseManifest | None:
        """What was confirmed before the fallback, of an older version."""
        return _read(self._earlier)

    @property
    def next_sequence(self) -> int:
        """Sequence of the next manifest: one more than any that a replica may have seen."""
        known = (self.manifest, self.fallback, _read(self._withdrawn))
        return max((manifest.sequence for manifest in known if manifest is not None), default=0) + 1

    @property
    def artifacts(self) -> frozenset[str]:
        """Artifacts that are stored, as manifests name them."""
        return frozenset(f"artifacts/{path.name}" for path in (self.path / "artifacts").glob("*"))

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Keep every other release of the use case out of the block, also those of other processes."""
        self.path.mkdir(parents=True, exist_ok=True)
        with (self.path / ".lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield

    def publish(self, manifest: ReleaseManifest) -> ReleaseManifest:
        """Replace the manifest in one step: replicas see it from now on."""
        manifest.write(manifest_path(self.releases, self.use_case))
        return manifest

    def withdraw(self) -> None:
        """Take the manifest away: replicas wait for the next one, and answer that no model is released."""
        manifest_path(self.releases, self.use_case).replace(self._withdrawn)

    def keep_as_fallback(self, manifest: ReleaseManifest) -> None:
        """Make a manifest the one that roll backs bring back, and the one until now, if it is older, the earlier one.

        Who goes back to an older version leaves the newer one behind: it is nobody's last good version any more.
        """
        before, earlier = self.fallback, self.earlier
        if before is not None and before.model_version < manifest.model_version:
            before.write(self._earlier)
        elif earlier is not None and earlier.model_version >= manifest.model_version:
            self._earlier.unlink()
        manifest.write(self._fallback)

    def store(self, source: Path) -> str:
        """Store a package under the digest of its bytes; a stored copy that a disk damaged since is replaced.

        Raises
        ------
        DataError
            A file is absent in ``source``.
        """
        artifact = store_artifact(self.releases, self.use_case, source)
        stored = self.path / artifact
        if any(_digest(stored / name) != digest_file(source / name) for name in (MODEL, PACKAGE)):
            shutil.rmtree(stored)
            store_artifact(self.releases, self.use_case, source)
        return artifact

    def discard(self, artifact: str) -> None:
        """Remove an artifact unless a manifest names it."""
        known = (self.manifest, self.fallback, self.earlier)
        manifests = [manifest for manifest in known if manifest is not None]
        named = {manifest.artifact for manifest in manifests}
        named |= {manifest.candidate.artifact for manifest in manifests if manifest.candidate is not None}
        if artifact and artifact not in named:
            shutil.rmtree(self.path / artifact, ignore_errors=True)

    @property
    def _fallback(self) -> Path:
        return self.path / FALLBACK

    @property
    def _earlier(self) -> Path:
        return self.path / EARLIER

    @property
    def _withdrawn(self) -> Path:
        return self.path / WITHDRAWN


def _read(path: Path) -> ReleaseManifest | None:
    return ReleaseManifest.read(path) if path.exists() else None


def _digest(path: Path) -> str:
    return digest_file(path) if path.is_file() else ""
