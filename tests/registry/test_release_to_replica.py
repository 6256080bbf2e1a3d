"""A release to the real scoring service: confirmed when it serves, rolled back when it refuses or is gone."""

import itertools
import json
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from datetime import UTC, datetime
from pathlib import Path

import pytest

from ml.errors import InputError, ServiceAway
from ml.governance.go_back import go_back
from ml.records.governance import AliasMove
from ml.registry.alias import newest_move
from ml.registry.manifest import PACKAGE, read_manifest
from ml.registry.memory import MemoryRegistry
from ml.registry.release import conclude, confirm, release_champion, roll_back, stage, switch, verify
from ml.registry.replicas import read_status
from ml.settings import Settings
from ml.use_case import load

HOME = Path(__file__).parents[2]
WEATHER = load(HOME / "use_cases" / "harbour_weather.yaml")


@pytest.fixture
def current(tmp_path) -> Settings:
    """Settings of an installation of our own, with one use case and a free port."""
    shutil.copytree(HOME / "use_cases", tmp_path / "use_cases")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    return Settings(home=tmp_path, scoring_port=port)


@pytest.fixture
def service(current):
    """The scoring service as a process of its own."""
    process = subprocess.Popen([sys.executable, "-m", "ml.serving"], env=current.child_environment(), cwd=HOME)
    until = time.monotonic() + 30
    while time.monotonic() < until and process.poll() is None:
        try:
            read_status(current.scoring_url, WEATHER.name)
            break
        except ServiceAway:
            time.sleep(0.1)
    yield process
    process.send_signal(signal.SIGTERM)
    process.wait(20)


@pytest.fixture
def promote(tmp_path, make_package, make_set, choice, parity):
    """Register and promote the next version; ``judged`` is the weight of the graph that answered the golden rows."""
    days = itertools.count(1)

    def take(registry, *, weight: float, judged: float | None = None) -> None:
        as_of = f"2013-05-{next(days):02}"
        folder, training_set = tmp_path / as_of, make_set(WEATHER, as_of=as_of)
        package = make_package(folder, weight=weight)
        if judged is not None:
            golden = make_package(tmp_path / "judged", weight=judged).golden_rows
            package = package.model_copy(update={"golden_rows": golden})
            package.write(folder / PACKAGE)
        run = registry.start_run(training_set, use_case=WEATHER)
        version = registry.register(
            run, folder, package=package, parity=parity, choice=choice, training_set=training_set
        )
        registry.move_champion(WEATHER.name, version.version)

    return take


def ask(url: str) -> tuple[int, float]:
    """Version that answers, and its P(Rain) for a row of 0.7 in every column that allows it."""
    row = {"Temperature_C": 1.4, "Humidity": 0.7, "Wind_speed_kmph": 0.7, "Wind_bearing_degrees": 0.7}
    row |= {"Visibility_km": 0.7, "Pressure_millibars": 1000.0, "Current_weather_condition": 0}
    request = urllib.request.Request(  # noqa: S310 - loopback
        f"{url}/score/{WEATHER.name}", json.dumps({"rows": [row]}).encode(), {"Content-Type": "application/json"}
    )
    with urllib.request.urlopen(request, timeout=10) as reply:  # noqa: S310 - loopback
        content = json.load(reply)
    return content["model"]["version"], content["predictions"][0]["probability"]


def wait_until_serving(url: str) -> None:
    """Return when the replica has got over its refusal."""
    until = time.monotonic() + 20
    while read_status(url, WEATHER.name).state != "serving" and time.monotonic() < until:
        time.sleep(0.05)


def clock() -> datetime:
    """Now."""
    return datetime.now(UTC)


@pytest.mark.slow
def test_real_replica_confirms_refuses_and_leaves(current, service, promote, control):
    """Version 1 is served; 2, whose golden rows are another model's, is refused by the replica; 3 meets no replica."""
    registry, releases, url = MemoryRegistry(), current.releases, current.scoring_url
    options = {"registry": registry, "releases": releases}

    promote(registry, weight=0.001)
    first = release_champion(WEATHER, scoring_url=url, timeout=20, clock=clock, control=control, **options)
    answered = ask(url)

    promote(registry, weight=0.002, judged=0.5)
    staged = stage(WEATHER.name, now=clock(), **options)
    refused_before = verify(staged, WEATHER, releases=releases)
    manifest = switch(staged, now=clock(), reason="verification was skipped", **options)
    confirmation = confirm(url, manifest, releases=releases, timeout=20)
    second = roll_back(staged, now=clock(), reason=confirmation.reason, control=control, **options)
    wait_until_serving(url)
    restored = confirm(url, read_manifest(releases, WEATHER.name), releases=releases, timeout=20)

    promote(registry, weight=0.003)
    service.kill()
    service.wait(20)
    third = release_champion(WEATHER, scoring_url=url, timeout=0.5, clock=clock, control=control, **options)

    assert (first.outcome, first.served_version) == ("confirmed", 1)
    assert answered[0] == 1
    assert 0.5 < answered[1] < 1
    assert not refused_before.accepted
    assert "code 601" in confirmation.reason
    assert confirmation.seconds < 10
    assert (second.outcome, second.served_version) == ("rolled_back", 1)
    assert restored.confirmed
    assert (third.outcome, third.served_version) == ("rolled_back", 1)
    assert url in third.reason
    assert read_manifest(releases, WEATHER.name).sequence == 5
    assert registry.champion(WEATHER.name).version == 1


@pytest.mark.slow
def test_going_back_by_hand(current, service, promote, control):
    """From 2 to 1 and, since 1 serves now, to 2 again; in seconds, in the ledger as the person's, and answering."""
    registry, releases, url = MemoryRegistry(), current.releases, current.scoring_url
    stores = {"registry": registry, "control": control, "releases": releases, "scoring_url": url, "timeout": 20}
    with pytest.raises(InputError, match="nothing to go back to; where: harbour_weather; got: no release at all"):
        go_back(WEATHER, None, reason="?", actor="ana", clock=clock, **stores)
    for weight in (0.001, 0.002):
        promote(registry, weight=weight)
        released = release_champion(WEATHER, clock=clock, **stores)
        own = {"use_case": WEATHER.name, "as_of": clock(), "now": clock()}
        control.record("release", f"{WEATHER.name}/{weight}", released, actor="release", **own)

    back = go_back(WEATHER, None, reason="complaints", actor="ana", clock=clock, **stores)

    assert (back.outcome, back.wanted_version, back.served_version) == ("confirmed", 1, 1)
    assert back.seconds < 10
    assert (ask(url)[0], registry.champion(WEATHER.name).version) == (1, 1)
    entry = newest_move(control, WEATHER.name)
    assert (entry.actor, AliasMove.model_validate_json(entry.payload).reason) == ("ana", "complaints")
    assert go_back(WEATHER, None, reason="mended", actor="ana", clock=clock, **stores).served_version == 2
    assert ask(url)[0] == 2
    assert go_back(WEATHER, 2, reason="again", actor="ana", clock=clock, **stores).outcome == "unchanged"


@pytest.mark.slow
def test_who_may_not_decide_moves_nothing_and_who_is_refused_neither(current, service, promote, control):
    """A stranger, a version that does not exist, and one whose golden rows are another model's: 1 serves on."""
    registry, url = MemoryRegistry(), current.scoring_url
    stores = {
        "registry": registry,
        "control": control,
        "releases": current.releases,
        "scoring_url": url,
        "timeout": 20,
        "clock": clock,
    }
    promote(registry, weight=0.002, judged=0.5)
    promote(registry, weight=0.001)
    release_champion(WEATHER, **stores)
    retraining = WEATHER.retraining.model_copy(update={"reviewers": ("ana",)})
    named = WEATHER.model_copy(update={"retraining": retraining})

    with pytest.raises(InputError, match="not a reviewer"):
        go_back(named, 1, reason="?", actor="bob", **stores)
    with pytest.raises(InputError, match="9"):
        go_back(named, 9, reason="?", actor="ana", **stores)
    refused = go_back(named, 1, reason="?", actor="ana", **stores)

    assert (refused.outcome, refused.served_version, "golden" in refused.reason) == ("rolled_back", 2, True)
    assert (ask(url)[0], registry.champion(WEATHER.name).version) == (2, 2)


@pytest.mark.slow
def test_outcome_tells_how_long_it_took(current, service, promote):
    """A release of a small model to a running replica takes less than five seconds, and says so."""
    registry, releases = MemoryRegistry(), current.releases
    promote(registry, weight=0.001)
    staged = stage(WEATHER.name, registry=registry, releases=releases, now=clock())
    manifest = switch(staged, registry=registry, releases=releases, now=clock(), reason="first")

    assert confirm(current.scoring_url, manifest, releases=releases, timeout=20).confirmed
    assert 0 < conclude(staged, registry=registry, now=clock()).seconds < 5
