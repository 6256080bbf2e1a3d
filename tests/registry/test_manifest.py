"""Release folders: artifacts by digest, never changed, refused when one byte differs."""

from __future__ import annotations

import hashlib
import multiprocessing
from datetime import UTC, datetime
from pathlib import Path

import pytest

from ml.errors import DataError
from ml.records.release import Package, ReleaseManifest
from ml.registry.manifest import (
    MODEL,
    PACKAGE,
    digest_file,
    manifest_path,
    read_manifest,
    store_artifact,
    verify_artifact,
)

GRAPH = b"a graph of some bytes" * 100


def package_folder(folder: Path, graph: bytes = GRAPH) -> Path:
    """A folder with a graph and its package."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / MODEL).write_bytes(graph)
    Package(
        use_case="ferry",
        use_case_hash="h",
        digest=hashlib.sha256(graph).hexdigest(),
        size_bytes=len(graph),
        numbers=("wind",),
        categories=(),
        classes=("late", "on time"),
        golden_rows=(),
        libraries={},
    ).write(folder / PACKAGE)
    return folder


def digests(folder: Path) -> dict[str, str]:
    """What the registry would have recorded, computed apart."""
    return {
        "digest": hashlib.sha256((folder / MODEL).read_bytes()).hexdigest(),
        "package_digest": hashlib.sha256((folder / PACKAGE).read_bytes()).hexdigest(),
    }


def test_an_artifact_with_the_registered_bytes_is_accepted(tmp_path):
    """And gives its package."""
    folder = package_folder(tmp_path / "package")

    assert verify_artifact(folder, **digests(folder)).numbers == ("wind",)
    assert digest_file(folder / MODEL) == hashlib.sha256(GRAPH).hexdigest()


@pytest.mark.parametrize("name", [MODEL, PACKAGE])
@pytest.mark.parametrize("fault", ["one bit", "cut short", "one byte more", "empty"])
def test_any_other_bytes_are_refused_with_both_digests(tmp_path, name, fault):
    """In the graph as in its package."""
    folder = package_folder(tmp_path / "package")
    registered = digests(folder)
    whole = (folder / name).read_bytes()
    damaged = {
        "one bit": bytes([whole[0] ^ 1]) + whole[1:],
        "cut short": whole[:-1],
        "one byte more": whole + b"\n",
        "empty": b"",
    }[fault]
    (folder / name).write_bytes(damaged)

    with pytest.raises(DataError, match="artifact fails its digest") as raised:
        verify_artifact(folder, **registered)
    assert str(folder / name) in str(raised.value)
    assert hashlib.sha256(damaged).hexdigest() == raised.value.got
    assert raised.value.allowed in registered.values()


@pytest.mark.parametrize("name", [MODEL, PACKAGE])
def test_an_absent_file_is_named(tmp_path, name):
    """Half an artifact is none."""
    folder = package_folder(tmp_path / "package")
    registered = digests(folder)
    (folder / name).unlink()

    with pytest.raises(DataError, match=f"artifact is absent; where: .*{name}"):
        verify_artifact(folder, **registered)


def test_a_package_that_is_none_is_refused_although_its_digest_is_right(tmp_path):
    """Registered wrongly from the start."""
    folder = package_folder(tmp_path / "package")
    (folder / PACKAGE).write_text('{"use_case": "ferry"}')

    with pytest.raises(DataError, match="not a Package"):
        verify_artifact(folder, **digests(folder))


def test_a_stored_artifact_is_a_copy_under_its_digest(tmp_path):
    """Whole, verifiable, and independent of where it came from."""
    source = package_folder(tmp_path / "package")
    registered = digests(source)
    relative = store_artifact(tmp_path / "releases", "ferry", source)
    (source / MODEL).write_bytes(b"changed later")

    stored = tmp_path / "releases" / "ferry" / relative
    assert relative == f"artifacts/{registered['digest'][:16]}{registered['package_digest'][:16]}"
    verify_artifact(stored, **registered)
    assert sorted(path.name for path in stored.parent.iterdir()) == [stored.name]


def test_storing_the_same_bytes_again_changes_nothing(tmp_path):
    """Other bytes lie beside."""
    first = package_folder(tmp_path / "first")
    relative = store_artifact(tmp_path / "releases", "ferry", first)
    written = (tmp_path / "releases" / "ferry" / relative / MODEL).stat().st_mtime_ns

    assert store_artifact(tmp_path / "releases", "ferry", first) == relative
    assert (tmp_path / "releases" / "ferry" / relative / MODEL).stat().st_mtime_ns == written
    other = package_folder(tmp_path / "other", b"another graph")
    assert store_artifact(tmp_path / "releases", "ferry", other) != relative


def test_a_fault_while_storing_leaves_no_half_artifact(tmp_path, monkeypatch):
    """The disk is full after the first file; the next try is whole."""
    import shutil

    source = package_folder(tmp_path / "package")
    real, copies = shutil.copyfile, []

    def fail_at_second(origin, target):
        copies.append(target)
        if len(copies) == 2:
            raise OSError(28, "No space left on device")
        return real(origin, target)

    with monkeypatch.context() as patch:
        patch.setattr(shutil, "copyfile", fail_at_second)
        with pytest.raises(OSError, match="No space left"):
            store_artifact(tmp_path / "releases", "ferry", source)
    assert list((tmp_path / "releases" / "ferry" / "artifacts").iterdir()) == []

    stored = tmp_path / "releases" / "ferry" / store_artifact(tmp_path / "releases", "ferry", source)
    verify_artifact(stored, **digests(source))


def test_two_processes_may_store_the_same_bytes_at_once(tmp_path):
    """One copy stays, whole, and neither process fails."""
    source = package_folder(tmp_path / "package", GRAPH * 500)
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["ml.registry.manifest"])
    for attempt in range(5):
        releases = tmp_path / f"releases-{attempt}"
        pair = [context.Process(target=store_artifact, args=(releases, "ferry", source)) for _ in range(2)]
        for process in pair:
            process.start()
        for process in pair:
            process.join(30)

        assert [process.exitcode for process in pair] == [0, 0]
        (stored,) = (releases / "ferry" / "artifacts").iterdir()
        verify_artifact(stored, **digests(source))


def test_an_artifact_that_appears_while_it_is_stored_is_taken_as_it_is(tmp_path, monkeypatch):
    """Another process was quicker by a moment; any other fault is still a fault."""
    source = package_folder(tmp_path / "package")
    real = Path.rename

    def overtaken(scratch, target):
        package_folder(target)
        return real(scratch, target)

    monkeypatch.setattr(Path, "rename", overtaken)
    relative = store_artifact(tmp_path / "releases", "ferry", source)
    verify_artifact(tmp_path / "releases" / "ferry" / relative, **digests(source))

    def broken(*_: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "rename", broken)
    with pytest.raises(PermissionError):
        store_artifact(tmp_path / "other", "ferry", source)


def test_a_use_case_without_release_has_no_manifest(tmp_path):
    """That is a state, not a fault."""
    assert read_manifest(tmp_path, "ferry") is None


def test_a_manifest_is_read_as_written(tmp_path):
    """From the place where replicas look."""
    manifest = ReleaseManifest(
        use_case="ferry",
        sequence=3,
        model_name="ferry",
        model_version=7,
        digest="d",
        package_digest="p",
        artifact="artifacts/dp",
        released_at=datetime(2013, 3, 1, tzinfo=UTC),
        previous=None,
        reason="first model",
    )
    manifest.write(manifest_path(tmp_path, "ferry"))

    assert (tmp_path / "ferry" / "manifest.json").exists()
    assert read_manifest(tmp_path, "ferry") == manifest


def test_a_damaged_manifest_is_an_error_not_an_absent_one(tmp_path):
    """Else a damaged file would look like a use case that was never released."""
    manifest_path(tmp_path, "ferry").parent.mkdir()
    manifest_path(tmp_path, "ferry").write_text('{"sequence": 3}')

    with pytest.raises(DataError, match="not a ReleaseManifest"):
        read_manifest(tmp_path, "ferry")
