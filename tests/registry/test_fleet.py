"""Several replicas behind one port: a release is confirmed by all that there should be, or by the quorum in the end."""

import shutil
import signal
import socket
import subprocess
import sys
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from ml.records.release import Heartbeat, ReleaseManifest, ReplicaStatus
from ml.registry.fleet import HEARTBEAT_SUFFIX, Fleet, fleet_of, judge_fleet, read_heartbeats
from ml.registry.memory import MemoryRegistry
from ml.registry.release import release_champion
from ml.settings import Settings
from ml.use_case import load

HOME = Path(__file__).parents[2]
WEATHER = load(HOME / "use_cases" / "harbour_weather.yaml")
NOW = datetime(2026, 1, 1, tzinfo=UTC)
MANIFEST = ReleaseManifest(
    use_case=WEATHER.name,
    sequence=7,
    model_name=WEATHER.name,
    model_version=3,
    digest="d",
    package_digest="p",
    artifact="artifacts/a",
    released_at=NOW,
    previous=2,
    reason="better",
)


def beat(replica: str, *, sequence: int = 7, state: str = "serving", age: float = 0.5, digest: str = "d") -> Heartbeat:
    """Last word of a replica."""
    status = ReplicaStatus(
        use_case=WEATHER.name,
        state=state,
        model_version=3,
        digest=digest,
        sequence=sequence,
        wanted_sequence=7,
        code=601 if state == "degraded" else None,
        problem="golden row 3 differs" if state == "degraded" else "",
    )
    return Heartbeat(replica=replica, pid=1, at=NOW - timedelta(seconds=age), use_cases=(status,))


@pytest.mark.parametrize(
    ("beats", "early", "late", "says"),
    [
        ([beat("a"), beat("b"), beat("c")], True, True, "3 of 3"),
        ([beat("a"), beat("b")], None, True, "2 of 3"),
        ([beat("a"), beat("b"), beat("c", age=12)], None, True, "c was last heard 12 s ago"),
        ([beat("a"), beat("b"), beat("c", sequence=6)], None, True, "c is at release 6"),
        ([beat("a"), beat("b", age=6), beat("c", sequence=6)], None, None, "1 of 3"),
        ([beat("a"), beat("b", digest="other")], None, None, "1 of 3"),
        (
            [beat("a"), beat("b"), beat("c", state="degraded", sequence=6)],
            False,
            False,
            "c refuses release 7: code 601",
        ),
        ([beat("a"), beat("b"), beat("c", state="degraded", sequence=6, age=60)], None, True, "c was last heard"),
        ([], None, None, "0 of 3"),
    ],
)
def test_all_are_waited_for_and_the_quorum_is_enough_in_the_end(beats, early, late, says):
    """Two of three; who refuses ends it at once, and who is silent says nothing."""
    fleet = Fleet(Path(), replicas=3, quorum=2)

    told = [judge_fleet(fleet, beats, MANIFEST, now=NOW, last=last) for last in (False, True)]

    assert [answer for answer, _ in told] == [early, late]
    assert says in told[1][1]


def test_what_is_no_heartbeat_is_nobody(tmp_path):
    """Cut, half-written and foreign files."""
    beat("a").write(tmp_path / f"a{HEARTBEAT_SUFFIX}")
    (tmp_path / f"b{HEARTBEAT_SUFFIX}").write_text('{"replica": "b"')
    (tmp_path / f".c{HEARTBEAT_SUFFIX}").write_text(beat("c").model_dump_json())
    (tmp_path / "replica-0.sqlite").write_bytes(b"")

    assert [found.replica for found in read_heartbeats(tmp_path)] == ["a"]


@pytest.fixture
def current(tmp_path) -> Settings:
    """An installation of our own for two replicas behind a free port, of which one is enough."""
    shutil.copytree(HOME / "use_cases", tmp_path / "use_cases")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    return Settings(home=tmp_path, scoring_port=port, scoring_replicas=2, scoring_quorum=1)


@pytest.fixture
def replicas(current):
    """Two processes that share the port."""
    command = [sys.executable, "-m", "ml.serving", "--outbox-id"]
    started = [
        subprocess.Popen([*command, f"replica-{i}"], env=current.child_environment(), cwd=HOME) for i in range(2)
    ]
    until = time.monotonic() + 30
    while len(read_heartbeats(current.outbox)) < 2 and time.monotonic() < until:
        time.sleep(0.1)
    yield started
    for process in started:
        process.send_signal(signal.SIGTERM)
        process.wait(20)


@pytest.mark.slow
def test_both_switch_and_one_that_is_killed_is_missed(
    current, replicas, tmp_path, control, make_package, make_set, choice, parity
):
    """Two versions; before the second, a replica dies: with a quorum of two it is taken back, with one it is served."""
    registry = MemoryRegistry()
    stores = {"registry": registry, "control": control, "releases": current.releases}
    stores |= {"scoring_url": current.scoring_url, "timeout": 6, "clock": lambda: datetime.now(UTC)}
    for number in (1, 2):
        folder = tmp_path / str(number)
        package, made = make_package(folder, weight=number / 1000), make_set(WEATHER, as_of=f"2013-05-0{number}")
        run = registry.start_run(made, use_case=WEATHER)
        registry.register(run, folder, package=package, parity=parity, choice=choice, training_set=made)
    fleet = fleet_of(current)
    assert (fleet.replicas, fleet.quorum) == (2, 1)
    both = Fleet(fleet.folder, replicas=2, quorum=2)

    registry.move_champion(WEATHER.name, 1)
    first = release_champion(WEATHER, fleet=both, **stores)
    assert (first.outcome, first.served_version) == ("confirmed", 1)
    assert {one.use_cases[0].model_version for one in read_heartbeats(current.outbox)} == {1}

    replicas[0].kill()
    replicas[0].wait(20)
    registry.move_champion(WEATHER.name, 2)
    second = release_champion(WEATHER, fleet=both, **stores)
    assert (second.outcome, second.served_version, registry.champion(WEATHER.name).version) == ("rolled_back", 1, 1)
    assert "1 of 2 replicas serve release 2, 2 needed" in second.reason
    assert "replica-0" in second.reason

    registry.move_champion(WEATHER.name, 2)
    third = release_champion(WEATHER, fleet=fleet, **stores)
    assert (third.outcome, third.served_version) == ("confirmed", 2)

    replicas[1].send_signal(signal.SIGTERM)
    replicas[1].wait(20)
    assert [one.replica for one in read_heartbeats(current.outbox)] == ["replica-0"]  # it could say no last word
