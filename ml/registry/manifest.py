"""Release manifests on disk: written atomically, read by replicas that need nothing else.

``{releases}/{use_case}/manifest.json`` names what to serve; ``{releases}/{use_case}/artifacts/{digest}/`` holds
``model.onnx`` and ``package.json``. Artifacts are addressed by digest and never changed.
"""

from __future__ import annotations

import hashlib
import shutil
import tempfile
from pathlib import Path

from ml.errors import DataError
from ml.records.release import Package, ReleaseManifest

MODEL = "model.onnx"
PACKAGE = "package.json"
#: Beside the manifest: one that was taken back, so that its absence is meant.
WITHDRAWN = "withdrawn.json"
#: Beside the manifest: releases that were confirmed, the newest and the one of an older version before it.
FALLBACK, EARLIER = "fallback.json", "earlier.json"


def manifest_path(releases: Path, use_case: str) -> Path:
    """Path of a use case's manifest."""
    return releases / use_case / "manifest.json"


def read_manifest(releases: Path, use_case: str) -> ReleaseManifest | None:
    """Manifest of a use case, None before its first release.

    Raises
    ------
    DataError
        The file is there but is no manifest.
    """
    path = manifest_path(releases, use_case)
    return ReleaseManifest.read(path) if path.exists() else None


def digest_file(path: Path) -> str:
    """SHA-256 of a file's bytes, 64 hex digits.

    Raises
    ------
    DataError
        The file cannot be read.
    """
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise DataError("artifact is absent", where=str(path), got=error.strerror or "") from error


def verify_artifact(folder: Path, *, digest: str, package_digest: str) -> Package:
    """Package of an artifact folder whose bytes are the ones that were registered.

    Raises
    ------
    DataError
        A file is absent or its digest differs.
    """
    for name, wanted in ((MODEL, digest), (PACKAGE, package_digest)):
        found = digest_file(folder / name)
        if found != wanted:
            raise DataError("artifact fails its digest", where=str(folder / name), got=found, allowed=wanted)
    return Package.read(folder / PACKAGE)


def store_artifact(releases: Path, use_case: str, source: Path) -> str:
    """Copy ``model.onnx`` and ``package.json`` under their digest; returns the path relative to the use case's folder.

    The folder appears whole or not at all; storing the same bytes again changes nothing.
    """
    digest = digest_file(source / MODEL)[:16] + digest_file(source / PACKAGE)[:16]
    relative = f"artifacts/{digest}"
    target = releases / use_case / relative
    if target.exists():
        return relative
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target.parent, prefix=".storing-", ignore_cleanup_errors=True) as scratch:
        whole = Path(scratch) / "whole"
        whole.mkdir()
        for name in (MODEL, PACKAGE):
            shutil.copyfile(source / name, whole / name)
        try:
            whole.rename(target)
        except OSError:
            if not target.exists():  # else another process has stored the same bytes meanwhile
                raise
    return relative
