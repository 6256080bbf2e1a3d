"""Runbooks of the model, on a real replica: damaged files, a lost manifest, a model that fails."""

from __future__ import annotations

import json
import urllib.request
from dataclasses import replace
from datetime import UTC, datetime

import pytest

from ml.records.event import Event
from ml.registry.manifest import MODEL, manifest_path, read_manifest
from ml.registry.memory import MemoryRegistry
from ml.registry.release import release_champion
from ml.registry.replicas import read_status
from ml.runbooks.run import Order, run_runbook
from ml.runbooks.runbook import World
from ml.runbooks.shelf import find_runbook
from ml.store.control import ControlStore
from ml.store.telemetry import Telemetry
from tests.registry.conftest import choice, make_package, make_set, parity  # noqa: F401 - fixtures
from tests.registry.test_release_to_replica import WEATHER, current, promote, service  # noqa: F401 - fixtures
from tests.runbooks.conftest import exhaust, failures

pytestmark = pytest.mark.slow
NAME = WEATHER.name


@pytest.fixture
def two_released(current, service, promote) -> World:  # noqa: F811 - fixtures
    """Versions 1 and 2 were released and confirmed; 2 serves."""
    registry = MemoryRegistry()
    control = ControlStore(current.control_url)

    def clock():
        return datetime.now(UTC)

    for weight in (0.001, 0.002):
        promote(registry, weight=weight)
        stores = {"registry": registry, "control": control, "releases": current.releases}
        outcome = release_champion(WEATHER, clock=clock, scoring_url=current.scoring_url, timeout=20, **stores)
        now = clock()
        control.record("release", f"{NAME}/{weight}", outcome, use_case=NAME, as_of=now, now=now, actor="release")
    return World(
        settings=current,
        control=control,
        telemetry=Telemetry(current.control_url),
        open_registry=lambda: registry,
        patience=10.0,
    )


def run(world, name):
    """Run a runbook of the shelf on the use case."""
    return run_runbook(find_runbook(name), Order(target=NAME, actor="anna", reason="test"), world)


def answered_by(world) -> int:
    """Version that a client is answered by."""
    row = {name: None if feature.nullable else 1.0 for name, feature in WEATHER.features.items()}
    body = json.dumps({"data": [list(row.values())]}).encode()
    request = urllib.request.Request(f"{world.settings.scoring_url}/score/{NAME}", body)  # noqa: S310 - http
    with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request, timeout=10) as reply:
        return json.loads(reply.read())["model"]["version"]


def artifact(world):
    """Folder of the released model."""
    return world.settings.releases / NAME / read_manifest(world.settings.releases, NAME).artifact


def test_damaged_and_lost_files_are_put_back_and_served(two_released):
    """What is whole and served is left alone; damaged bytes, a lost file and a lost manifest come back."""
    world, version = two_released, answered_by(two_released)
    assert run(world, "reload_model").end == "not_needed"
    whole = (artifact(world) / MODEL).read_bytes()

    (artifact(world) / MODEL).write_bytes(b"damaged")
    assert run(world, "reload_model").end == "repaired"
    assert (artifact(world) / MODEL).read_bytes() == whole

    manifest_path(world.settings.releases, NAME).unlink()
    assert run(world, "reload_model").end == "repaired"
    status = read_status(world.settings.scoring_url, NAME)
    assert (status.state, status.model_version, status.sequence) == ("serving", 2, 4)
    assert answered_by(world) == version == 2


def test_a_reload_that_cannot_help_is_told_and_the_old_model_answers(two_released):
    """The registry's bytes are gone, too: nothing is published, 2 answers on from memory; then the limit."""
    world = replace(two_released, open_registry=MemoryRegistry, patience=0.5)
    (artifact(world) / MODEL).write_bytes(b"damaged")

    found = run(world, "reload_model")

    assert (found.end, found.steps[-1].detail) == ("reverted", "nothing was released, nothing is taken back")
    assert (answered_by(world), read_manifest(world.settings.releases, NAME).sequence) == (2, 2)
    assert len(failures(world)) == 1

    exhaust(world, "reload_model", 3)
    assert run(world, "reload_model").end == "limited"


def tell_harm(world) -> None:
    """An error of the running model, now."""
    now = datetime.now(UTC)
    harm = {"code": 401, "name": "inference_failed", "severity": "error", "message": "the graph failed"}
    world.telemetry.add_events([Event(time=now, use_case=NAME, source="replica-0", **harm)])


def test_a_model_that_fails_makes_way_for_the_one_before(two_released):
    """Not without an error of it; then 1 serves, alias included, once an hour."""
    world = two_released
    assert run(world, "fall_back").end == "not_needed"
    tell_harm(world)

    assert run(world, "fall_back").end == "repaired"

    assert (answered_by(world), world.open_registry().champion(NAME).version) == (1, 1)
    tell_harm(world)
    assert run(world, "fall_back").end == "limited"
    assert answered_by(world) == 1


def test_a_fall_back_that_no_replica_confirms_is_taken_back(two_released, service):  # noqa: F811 - fixtures
    """The replica is gone: manifest and alias name 2 again, and people are told."""
    world = replace(two_released, patience=1.0)
    tell_harm(world)
    service.kill()
    service.wait(10)

    assert run(world, "fall_back").end == "reverted"

    assert read_manifest(world.settings.releases, NAME).model_version == 2
    assert world.open_registry().champion(NAME).version == 2
    assert len(failures(world)) == 1
