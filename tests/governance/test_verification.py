"""The ledger against the registry: what was moved, swapped or deleted behind our back is found and named."""

from __future__ import annotations

import json
import sqlite3
from datetime import UTC, datetime, timedelta

import pytest

from ml.errors import InputError
from ml.governance.verification import verify_all, verify_ledger
from ml.registry.manifest import MODEL, PACKAGE
from ml.registry.mlflow_registry import MlflowRegistry
from ml.store.control import ControlStore
from ml.store.verify_ledger import canonical, link_of
from tests.governance.conftest import NAME, NOW, WEATHER, make_version

#: Long after anything that may be under way.
SOON = datetime(2100, 1, 1, tzinfo=UTC)


@pytest.fixture
def installed(registry, make):
    """Two versions, the second one champion."""
    make(registry)
    make(registry)
    return registry


def problems(control, registry) -> list[tuple[int | str, str]]:
    """What a verification an hour later finds."""
    return [(f.record, f.problem) for f in verify_all(control, registry, (NAME,), now=SOON).findings]


def test_an_untouched_installation_is_sound(control, installed):
    """Ten entries: request, training set, version, gate and alias of two versions."""
    found = verify_all(control, installed, (NAME, "another"), now=SOON)

    assert (found.ok, found.records) == (True, 10)


def test_an_installation_without_records_is_sound(control, registry):
    """There is nothing to be broken, and no key yet."""
    found = verify_all(control, registry, (NAME,), now=SOON)

    assert (found.ok, found.records) == (True, 0)


def test_an_alias_moved_behind_our_back_is_named(control, installed):
    """Where it points, where it should, and by which entry."""
    installed.set_champion(NAME, 1)

    assert problems(control, installed) == [
        (f"{NAME} alias champion", "points to version 1; by entry 10 of the ledger (gate) it should be version 2")
    ]


def test_an_alias_taken_away_is_named(control, installed):
    """No version is not the second one."""
    installed.set_champion(NAME, None)

    ((where, problem),) = problems(control, installed)
    assert (where, "points to no version" in problem) == (f"{NAME} alias champion", True)


def test_an_alias_that_nobody_recorded_is_named(control, registry, make):
    """A version was made, and made champion by hand."""
    make(registry, promote=False)
    registry.set_champion(NAME, 1)

    assert problems(control, registry) == [
        (f"{NAME} alias champion", "points to version 1; the ledger knows of no move")
    ]


@pytest.mark.parametrize("file", [MODEL, PACKAGE])
def test_a_swapped_artifact_is_named(control, installed, file):
    """Other bytes under the same name; the version's tags still say the old digest."""
    installed._files[NAME, 1][file] += b" "

    ((where, problem),) = problems(control, installed)
    assert (where, f"artifact {file} was changed" in problem) == (f"{NAME} version 1", True)


def test_an_artifact_swapped_together_with_its_tag_is_named(control, installed):
    """The registry agrees with itself; the ledger does not agree with it."""
    installed._files[NAME, 1] = installed._files[NAME, 2]
    first, second = installed.version(NAME, 1), installed.version(NAME, 2)
    vars(first)["digest"], vars(first)["package_digest"] = second.digest, second.package_digest

    found = problems(control, installed)
    assert {where for where, _ in found} == {f"{NAME} version 1"}
    assert any("tag digest" in problem for _, problem in found)
    assert any(f"artifact {MODEL} was changed" in problem for _, problem in found)


def test_an_absent_artifact_is_named(control, installed):
    """The version is there, its graph is not."""
    del installed._files[NAME, 1][MODEL]

    assert problems(control, installed) == [(f"{NAME} version 1", f"its artifact {MODEL} is absent")]


def test_a_deleted_version_is_named(control, installed):
    """The newest one; the alias with it."""
    installed._versions[NAME].pop()
    installed.set_champion(NAME, None)

    assert [where for where, _ in problems(control, installed)] == [f"{NAME} alias champion", f"{NAME} version 2"]


def test_a_version_that_nobody_recorded_is_named(control, installed, make, tmp_path):
    """Registered past the retrain DAG; for the first seconds it may be under way."""
    make_version(installed, ControlStore(f"sqlite:///{tmp_path}/other.db"), WEATHER, tmp_path / "p", week=9, now=NOW)
    made_at = installed.version(NAME, 3).created_at

    assert problems(control, installed) == [(f"{NAME} version 3", "was registered; the ledger does not know of it")]
    assert verify_all(control, installed, (), now=made_at + timedelta(seconds=10)).ok


def test_a_ledger_that_lost_its_end_and_its_head_is_found_by_the_registry(control, installed, tmp_path):
    """Database and folder come from an older backup: a sound ledger, only too short."""
    folder = control.ledger_folder
    with sqlite3.connect(tmp_path / "control.db") as connection:
        connection.execute("DELETE FROM records WHERE (kind, key) IN (SELECT kind, key FROM ledger WHERE number > 5)")
        connection.execute("DELETE FROM ledger WHERE number > 5")
    connection.close()
    last = list(control.ledger_lines())[-1]
    older = folder.signed_head(5, link_of(last.signature, canonical(last.entry)))
    (folder.path / "head.json").write_text(json.dumps(older))

    assert verify_ledger(control).ok
    assert (f"{NAME} ledger_head", "says that the ledger has entry 10; it ends at entry 5") in problems(
        control, installed
    )


@pytest.mark.parametrize(
    "change",
    [
        "UPDATE ledger SET time = 'y026-01-01' WHERE kind = 'alias'",
        "UPDATE records SET payload = '{}' WHERE kind = 'version'",
        "UPDATE records SET payload = '{}' WHERE kind = 'alias'",
        "UPDATE records SET as_of = 'never' WHERE kind = 'gate'",
        "DELETE FROM records",
    ],
)
def test_what_cannot_even_be_read_is_a_finding(control, installed, tmp_path, change):
    """Moments that are none, records that are none: never a crash, always broken."""
    with sqlite3.connect(tmp_path / "control.db") as connection:
        connection.execute(change)
    connection.close()

    assert not verify_all(control, installed, (NAME,), now=SOON).ok
    assert not verify_ledger(control).ok


def test_a_head_that_the_registry_lost_is_named(control, installed):
    """It would be the first thing that somebody takes away."""
    installed._heads.clear()

    assert problems(control, installed) == [(f"{NAME} ledger_head", "the registry keeps no head of the ledger")]


def test_without_the_public_key_there_is_one_clear_error(control, installed):
    """Exit code 2: the caller can give one."""
    (control.ledger_folder.path / "public.pem").unlink()

    with pytest.raises(InputError, match=r"key of the ledger is absent.*public\.pem"):
        verify_ledger(control)


@pytest.mark.slow
def test_mlflow_tampered_with_by_its_own_client_is_found(control, make, mlflow_server, tmp_path):
    """Alias moved, artifact overwritten, version deleted: each through MLflow's client, as anybody could."""
    name = "weather_ledger"
    registry = MlflowRegistry(mlflow_server)
    for _ in range(3):
        make(registry, name=name)
    assert verify_all(control, registry, (), now=SOON).ok

    client = registry._client
    other = tmp_path / MODEL
    other.write_bytes(b"another model")
    client.set_registered_model_alias(name, "champion", "1")
    client.log_artifact(registry.version(name, 1).run_id, str(other), "package")
    client.delete_model_version(name, "2")

    found = {f.record: f.problem for f in verify_all(control, registry, (), now=SOON).findings}
    assert set(found) == {f"{name} alias champion", f"{name} version 1", f"{name} version 2"}
    assert "points to version 1" in found[f"{name} alias champion"]
    assert f"artifact {MODEL} was changed" in found[f"{name} version 1"]
    assert "is not in the registry" in found[f"{name} version 2"]
    client.set_registered_model_tag(name, "ledger_head", "{}")
    assert any(f.record == f"{name} ledger_head" for f in verify_all(control, registry, (), now=SOON).findings)
