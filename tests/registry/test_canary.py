"""A canary: what is counted, when it is decided, and where it goes on after a kill -9 at any step."""

import json
import multiprocessing
import os
import signal
import time
from datetime import UTC, datetime, timedelta

import pytest

from benchmarks.release_scene import Clients, Scene, ask_often, ask_once, open_scene
from benchmarks.toy_models import TOY, toy_graph
from ml.records.release import (
    Arm,
    Arms,
    CanaryState,
    Heartbeat,
    ReleaseManifest,
    ReplicaStatus,
    StagedRelease,
    TryOut,
)
from ml.registry import canary as canary_room
from ml.registry import release as release_room
from ml.registry.canary import CANARY, Watched, begin_canary, judge, needs_canary, run_canary, take_counts
from ml.registry.fleet import read_heartbeats
from ml.registry.manifest import read_manifest
from ml.registry.memory import MemoryRegistry
from ml.registry.release import roll_back, switch
from ml.registry.release_folder import ReleaseFolder
from ml.store.control import ControlStore
from ml.use_case.serving_options import Canary, Serving

NOW = datetime(2026, 1, 1, tzinfo=UTC)
SERVED = ReleaseManifest(
    use_case=TOY.name,
    sequence=3,
    model_name=TOY.name,
    model_version=1,
    digest="d1",
    package_digest="p1",
    artifact="artifacts/a1",
    released_at=NOW,
    previous=None,
    reason="better",
)
STAGED = StagedRelease(
    use_case=TOY.name,
    version=2,
    digest="d2",
    package_digest="p2",
    artifact="artifacts/a2",
    staged_at=NOW,
    unchanged=False,
)


def with_canary(**options: object):
    """The toy's use case with a canary."""
    return TOY.model_copy(update={"serving": Serving(canary=Canary(**options))})


def beat(replica: str = "a", pid: int = 1, *, sequence: int = 4, champion=(0, 0, 0), candidate=(0, 0, 0), **status):
    """Heartbeat of a replica in a canary: requests, failed, late of both versions."""
    told = [Arm(requests=n, failed=failed, late=late) for n, failed, late in (champion, candidate)]
    content = {
        "use_case": TOY.name,
        "state": "serving",
        "model_version": 1,
        "digest": "d1",
        "sequence": sequence,
        "wanted_sequence": sequence,
        "arms": Arms(sequence=sequence, champion=told[0], candidate=told[1]),
    }
    return Heartbeat(replica=replica, pid=pid, at=NOW, use_cases=(ReplicaStatus.model_validate(content | status),))


STATE = CanaryState(sequence=4, began=NOW)


def test_counts_of_all_replicas_become_evidence_once():
    """Two replicas, the same heartbeats twice, then news of one; a beat of another release says nothing."""
    beats = (beat("a", champion=(90, 1, 0), candidate=(10, 2, 1)), beat("b", champion=(80, 0, 0), candidate=(20, 1, 0)))
    first = take_counts(STATE, beats, TOY.name)
    again = take_counts(first, beats, TOY.name)
    news = take_counts(again, (beat("a", champion=(95, 1, 0), candidate=(11, 3, 1)), beats[1]), TOY.name)
    foreign = take_counts(STATE, (beat("a", sequence=3, candidate=(5, 5, 5)),), TOY.name)

    seen = [(one.n_first, one.failed_first, one.n_second, one.failed_second) for one in (first.errors, first.latency)]
    assert seen == [(170, 1, 30, 3), (170, 0, 30, 1)]
    assert again == first
    assert (news.errors.n_second, news.errors.failed_second) == (31, 4)
    assert foreign == STATE


def test_a_replica_that_starts_again_begins_at_nothing_and_may_do_so_once():
    """Its counts are added to those of its first life; the second restart ends the canary."""
    use_case, state = with_canary(), STATE
    lives = [beat("a", pid, champion=(50, 0, 0), candidate=(5, 0, 0)) for pid in (1, 2, 3)]
    answers = []
    for one in lives:
        state = take_counts(state, (one,), TOY.name)
        answers.append(judge(state, use_case, now=NOW))

    assert state.errors.n_second == 15
    assert answers[:2] == [None, None]
    assert answers[2][0] is False
    assert "started again 2 times" in answers[2][1]


@pytest.mark.parametrize(
    ("counts", "options", "seconds", "accepted", "says"),
    [
        (((900, 0, 0), (100, 0, 0)), {"minimum_requests": 100}, 1, True, "failures 0 of 100"),
        (((900, 0, 0), (99, 0, 0)), {"minimum_requests": 100}, 1, None, ""),
        (((900, 0, 0), (99, 20, 0)), {"minimum_requests": 100}, 1, False, "fails more often, 20 of 99"),
        (((900, 0, 0), (99, 0, 20)), {"minimum_requests": 100}, 1, False, "is late more often, 20 of 99"),
        (((900, 200, 0), (100, 20, 0)), {"minimum_requests": 100}, 1, True, "failures 20 of 100"),
        (((9, 0, 0), (1, 0, 0)), {"longest": "60s"}, 61, True, "too little traffic, 1 of 300"),
        (((9, 0, 0), (1, 0, 0)), {"longest": "60s", "too_little_traffic": "roll_back"}, 61, False, "not released"),
    ],
)
def test_what_decides_a_canary(counts, options, seconds, accepted, says):
    """Enough requests without evidence, evidence of errors or of late answers, or time that is over."""
    state = take_counts(STATE, (beat("a", champion=counts[0], candidate=counts[1]),), TOY.name)

    found = judge(state, with_canary(**options), now=NOW + timedelta(seconds=seconds))

    assert (None if found is None else found[0]) is accepted
    assert says in ("" if found is None else found[1])


@pytest.fixture
def folder(tmp_path) -> ReleaseFolder:
    """Release folder in which version 1 serves and was confirmed."""
    folder = ReleaseFolder(tmp_path / "releases", TOY.name)
    folder.path.mkdir(parents=True)
    folder.publish(SERVED)
    folder.keep_as_fallback(SERVED)
    return folder


def test_beginning_twice_is_beginning_once_and_the_end_takes_the_candidate_away(folder, tmp_path):
    """One sequence each; after the roll back the manifest is the old one under a new sequence, and nothing else."""
    registry, control = MemoryRegistry(), ControlStore(f"sqlite:///{tmp_path}/control.db")
    began = [begin_canary(STAGED, Canary(share=0.2), releases=folder.releases, now=NOW) for _ in range(2)]
    registry.record_release = lambda _: None
    stores = {"registry": registry, "control": control, "releases": folder.releases}
    ended = [roll_back(STAGED, now=NOW, reason="worse", **stores) for _ in range(2)]

    assert began[0] == began[1] == folder_manifest(began[0])
    assert (began[0].sequence, began[0].model_version, began[0].candidate.model_version) == (4, 1, 2)
    assert {one.served_version for one in ended} == {1}
    assert (folder.manifest.sequence, folder.manifest.candidate, folder.manifest.model_version) == (5, None, 1)
    assert folder.fallback == SERVED


def folder_manifest(manifest: ReleaseManifest) -> ReleaseManifest:
    """The manifest as it comes back from JSON."""
    return ReleaseManifest.model_validate_json(manifest.model_dump_json())


def test_a_manifest_of_an_earlier_time_still_loads():
    """One without the field ``candidate``, and a status without ``arms``."""
    content = json.loads(SERVED.model_dump_json())
    del content["candidate"]
    status = json.loads(beat().use_cases[0].model_dump_json())
    del status["arms"]

    assert ReleaseManifest.model_validate(content) == SERVED
    assert ReplicaStatus.model_validate(status).arms is None


def test_a_canary_ends_when_another_release_or_a_replica_ends_it(folder, tmp_path):
    """A newer manifest, or a live replica that cannot load the candidate."""
    use_case = with_canary()

    def run(sleep, beats=()):
        heartbeats = tmp_path / "outbox"
        for one in beats:
            one.write(heartbeats / f"{one.replica}.heartbeat.json")
        watched = Watched(heartbeats, clock=lambda: NOW, sleep=sleep)
        return run_canary(STAGED, use_case, releases=folder.releases, watched=watched)

    overtaken = run(lambda _: folder.publish(SERVED.model_copy(update={"sequence": 9})))
    refusing = beat("b", sequence=10, state="degraded", code=601, problem="golden rows", arms=None)
    refused = run(lambda _: None, [refusing])

    assert (overtaken.accepted, "another release" in overtaken.reason) == (False, True)
    assert (refused.accepted, "b refuses release 10: code 601, golden rows" in refused.reason) == (False, True)


def test_who_needs_no_canary(folder, control):
    """A use case without one, a first release, the version that serves, and one that was confirmed before."""
    asked = {"releases": folder.releases, "control": control}
    own = STAGED.model_copy(update={"version": 1, "digest": "d1"})

    assert needs_canary(STAGED, with_canary(), **asked)
    assert not needs_canary(STAGED, TOY, **asked)
    assert not needs_canary(own, with_canary(), **asked)
    assert not needs_canary(STAGED, with_canary(), releases=folder.releases / "none", control=control)
    outcome = {"use_case": TOY.name, "outcome": "confirmed", "wanted_version": 2, "served_version": 2}
    record = release_room.ReleaseOutcome.model_validate(outcome | {"reason": "", "seconds": 1.0})
    control.record("release", "quay/2", record, use_case=TOY.name, as_of=NOW, now=NOW, actor="release")
    assert not needs_canary(STAGED, with_canary(), **asked)


#: Where a release is killed: before which step, or in the middle of the canary.
STEPS = ("stage", "verify", "begin_canary", "sleep", "switch", "confirm", "conclude", "roll_back")


def release_and_die(scene: Scene, step: str) -> None:
    """In a process of its own: a release that is killed with -9 where ``step`` begins."""

    def die(*_: object, **__: object) -> None:
        os.kill(os.getpid(), signal.SIGKILL)

    if step == "sleep":
        scene.sleep = die
    else:
        setattr(canary_room if step == "begin_canary" else release_room, step, die)
    scene.release()


@pytest.mark.slow
@pytest.mark.parametrize("bad", [False, True], ids=["good", "bad"])
def test_a_release_killed_at_any_step_ends_right_when_it_is_run_again(tmp_path, bad):
    """A real replica under traffic, a real kill -9 before each step; the replica is killed in the canary as well.

    A good version serves in the end, a bad one (it fails on the clients' rows) never more than its share.
    """
    options = {"share": 0.3, "minimum_requests": 40, "longest": "60s"}
    fork = multiprocessing.get_context("fork")
    with open_scene(tmp_path, canary=options) as scene:
        scene.register(toy_graph(0.001), judged=0.001)
        assert scene.release().outcome == "confirmed"
        serving = 1
        steps = [step for step in STEPS if step not in (("switch", "confirm", "conclude") if bad else ("roll_back",))]
        for number, step in enumerate(steps):
            weight = 0.002 + number / 1000
            wanted = scene.register(toy_graph(weight, fault="nan_if_deep" if bad else ""), judged=weight)
            if bad:
                release_room.try_out, kept = (lambda *_: PASSED), release_room.try_out
            with ask_often(scene, n=2, pause=0.005, row=(80.0, 5.0, 3.0)) as clients:
                child = fork.Process(target=release_and_die, args=(scene, step))
                child.start()
                child.join(60)
                assert child.exitcode == -signal.SIGKILL, step
                if step == "sleep":
                    os.kill(scene.processes[-1].pid, signal.SIGKILL)
                    scene.processes[-1].wait(20)
                    scene.start()
                outcome = scene.release()
            if bad:
                release_room.try_out = kept
            expected = serving if bad else wanted
            assert (outcome.served_version, scene.registry.champion(TOY.name).version) == (expected, expected), step
            manifest = read_manifest(scene.settings.releases, TOY.name)
            assert (manifest.model_version, manifest.candidate) == (expected, None), step
            answered = {version for version in clients.versions if version not in (serving, wanted)}
            assert answered == set(), step
            if bad:
                assert wanted not in clients.versions, step
            serving = expected
        assert (scene.settings.releases / TOY.name / CANARY).exists()


PASSED = TryOut(golden_rows=1, difference=0.0, probes=1, latency_ms=0.1, n=1, memory_mb=1.0)


@pytest.mark.slow
def test_the_same_id_is_answered_by_the_same_version_on_every_replica_and_after_a_restart(tmp_path):
    """Ids of a canary on two replicas, asked three times, of which once after both were killed; a share of 30 %."""
    with open_scene(tmp_path, replicas=2, canary={"share": 0.3}) as scene:
        first = scene.register(toy_graph(0.001), judged=0.001)
        scene.release()
        second = scene.register(toy_graph(0.002), judged=0.002)
        staged = release_room.stage(TOY.name, registry=scene.registry, releases=scene.settings.releases, now=NOW)
        begin_canary(staged, scene.use_case.serving.canary, releases=scene.settings.releases, now=NOW)
        rounds = []
        for number in range(3):
            if number == 2:
                for process in list(scene.processes):
                    process.kill()
                    process.wait(20)
                for replica in range(2):
                    scene.start(replica)
            await_trial(scene)
            clients = Clients()
            for asked in range(150):
                ask_once(scene, f"id-{asked}", clients)
            assert clients.failures == []
            rounds.append(dict(clients.answers))

        assert rounds[0] == rounds[1] == rounds[2]
        counted = list(rounds[0].values())
        assert set(counted) == {first, second}
        assert 20 <= counted.count(second) <= 70
        manifest = switch(staged, registry=scene.registry, releases=scene.settings.releases, now=NOW, reason="no worse")
        assert (manifest.model_version, manifest.candidate) == (second, None)


def await_trial(scene: Scene) -> None:
    """Return when both replicas have the candidate."""
    until = time.monotonic() + 30
    while time.monotonic() < until:
        beats = read_heartbeats(scene.settings.outbox)
        alive = {process.pid for process in scene.processes if process.poll() is None}
        if {one.pid for one in beats if one.use_cases[0].arms is not None} == alive:
            return
        time.sleep(0.05)
    pytest.fail("no canary on both replicas")
