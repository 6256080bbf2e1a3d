"""Faults of what is served: files of the released model, and graphs that fail at work."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ml.records.base import write_atomically
from ml.records.codes import Code
from ml.records.release import Package, ReleaseManifest
from ml.registry.manifest import MODEL, PACKAGE, digest_file
from ml.registry.release_folder import ReleaseFolder
from ml.simulation.breaking_graph import break_answers, break_inputs
from ml.stack.drill.fault import Facts, Fault, Steps
from ml.stack.drill.scene import Scene, wait_until
from ml.stack.services import scoring_names

_ASIDE = ".drilled"


@contextmanager
def _without_model(scene: Scene) -> Steps:
    """The served graph is moved away, and the replicas are restarted: they find nothing to load."""
    path = scene.model_file
    aside = path.with_suffix(_ASIDE)
    path.rename(aside)
    try:
        _restart_replicas(scene)
        yield {}
    finally:
        _put_back(aside, path)


@contextmanager
def _damaged_model(scene: Scene) -> Steps:
    """Bytes in the middle of the served graph are others, and the replicas are restarted."""
    path = scene.model_file
    aside = path.with_suffix(_ASIDE)
    content = bytearray(path.read_bytes())
    os.link(path, aside)
    try:
        middle = len(content) // 2
        content[middle : middle + 64] = bytes(byte ^ 0xFF for byte in content[middle : middle + 64])
        write_atomically(path, bytes(content))
        _restart_replicas(scene)
        yield {}
    finally:
        _put_back(aside, path)


@contextmanager
def _unreadable_manifest(scene: Scene) -> Steps:
    """The manifest is cut in half, as by a disk that was full."""
    path = scene.manifest_file
    content = path.read_bytes()
    write_atomically(path, content[: len(content) // 2])
    try:
        yield {}
    finally:
        if not _is_manifest(path):
            write_atomically(path, content)


@contextmanager
def _broken_preparation(scene: Scene) -> Steps:
    """A release whose graph answers its golden rows and cannot prepare any other batch."""
    with _released(scene, break_inputs) as facts:
        yield facts


@contextmanager
def _broken_inference(scene: Scene) -> Steps:
    """A release whose graph answers its golden rows and raises for any other batch."""
    with _released(scene, break_answers) as facts:
        yield facts


@contextmanager
def _released(scene: Scene, spoil: object) -> Iterator[Facts]:
    """A spoilt copy of the served graph, released behind the back of registry and gate; then what served before."""
    good, releases = scene.manifest, ReleaseFolder(scene.settings.releases, scene.use_case.name)
    folder = scene.folder / good.artifact
    with tempfile.TemporaryDirectory(dir=scene.folder) as scratch:
        bad = _package(folder, Path(scratch), spoil)
        with releases.alone():
            artifact = releases.store(bad)
            manifest = good.model_copy(
                update={
                    "sequence": releases.next_sequence,
                    "digest": digest_file(bad / MODEL),
                    "package_digest": digest_file(bad / PACKAGE),
                    "artifact": artifact,
                    "reason": "drill",
                }
            )
            releases.publish(manifest)
    try:
        yield {"digest": manifest.digest, "same_as": good.digest}
    finally:
        _go_back(releases, manifest, good)


def _go_back(releases: ReleaseFolder, bad: ReleaseManifest, good: ReleaseManifest) -> None:
    """Release what served before, unless something else was released in place of the spoilt graph meanwhile."""
    with releases.alone():
        now = releases.manifest
        if now is None or now.digest == bad.digest:
            releases.publish(good.model_copy(update={"sequence": releases.next_sequence}))
        releases.discard(bad.artifact)


def _package(folder: Path, scratch: Path, spoil: object) -> Path:
    package = Package.read(folder / PACKAGE)
    assert callable(spoil)  # noqa: S101 - for the type checker
    content: bytes = spoil((folder / MODEL).read_bytes(), len(package.golden_rows))
    (scratch / MODEL).write_bytes(content)
    changes = {"digest": digest_file(scratch / MODEL), "size_bytes": len(content)}
    package.model_copy(update=changes).write(scratch / PACKAGE)
    return scratch


def _is_manifest(path: Path) -> bool:
    from ml.errors import DataError

    try:
        ReleaseManifest.read(path)
    except DataError:
        return False
    return True


def _put_back(aside: Path, path: Path) -> None:
    """The good file in its place; where a repair has brought one meanwhile, it is the same."""
    if aside.exists():
        aside.replace(path)


def _restart_replicas(scene: Scene) -> None:
    for name in scoring_names(scene.settings):
        scene.supervisor.restart(name)
    wait_until(lambda: scene.status() is not None, "the replicas", seconds=30)


def _serves(scene: Scene, _: Facts) -> bool:
    return scene.serves()


def _serves_another(scene: Scene, facts: Facts) -> bool:
    status = scene.status()
    return status is not None and status["digest"] != facts["digest"] and scene.serves()


ARTIFACTS = (
    Fault(
        "model_missing",
        Code.ARTIFACT_NOT_FOUND,
        "the served model.onnx is gone when the replicas restart",
        "the file is put back",
        ("no_model", "release_refused"),
        _without_model,
        repair="runbook reload_model",
        repaired=_serves,
    ),
    Fault(
        "model_corrupted",
        Code.ARTIFACT_CORRUPT,
        "64 bytes of the served model.onnx are others when the replicas restart",
        "the file is put back",
        ("no_model", "release_refused"),
        _damaged_model,
        repair="runbook reload_model",
        repaired=_serves,
    ),
    Fault(
        "manifest_cut",
        Code.RELEASE_REFUSED,
        "the release manifest is cut in half",
        "the manifest is put back",
        ("release_refused",),
        _unreadable_manifest,
        repaired=_serves,
    ),
    Fault(
        "preprocessing_broken",
        Code.PREPROCESSING_FAILED,
        "a graph is released that passes its golden rows and cannot prepare any other batch",
        "the model before is released again",
        ("inference_errors",),
        _broken_preparation,
        repaired=_serves_another,
    ),
    Fault(
        "inference_raising",
        Code.INFERENCE_FAILED,
        "a graph is released that passes its golden rows and raises on any other batch",
        "the model before is released again",
        ("inference_errors",),
        _broken_inference,
        repaired=_serves_another,
    ),
)
