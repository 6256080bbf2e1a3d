"""A shadow: what is copied and kept, that no client ever sees it, when it ends a release, and kill -9 in its middle."""

import json
import multiprocessing
import os
import signal
import time
from datetime import UTC, datetime, timedelta

import pytest

from benchmarks.release_scene import DamagedRegistry, Scene, ask_often, open_scene
from benchmarks.toy_models import TOY, probability, toy_graph
from ml.errors import DataError
from ml.records.measure import Window
from ml.records.release import StagedRelease
from ml.registry import release as release_room
from ml.registry import shadow as shadow_room
from ml.registry.manifest import read_manifest
from ml.registry.release import stage
from ml.registry.rescorer import Rescorer
from ml.registry.shadow import SHADOW, Copied, begin_shadow, is_copied, needs_shadow, run_shadow
from ml.settings import Settings
from ml.store.lake import Lake
from ml.store.shadowed import ShadowedAnswers
from ml.use_case import UseCase
from ml.use_case.serving_options import Shadow
from tests.registry.test_canary import PASSED, STAGED, folder

__all__ = ["folder"]

NOW = datetime(2026, 1, 1, tzinfo=UTC)
ROW, DEEP = (10.0, 5.0, 3.0), (80.0, 5.0, 3.0)
OPTIONS = {"minimum_requests": 40, "longest": "60s"}


@pytest.fixture
def quickly(monkeypatch):
    """Looks that follow each other sooner."""
    monkeypatch.setattr(shadow_room, "LOOK_SECONDS", 0.3)


def answers_of(scene: Scene):
    """What the newest shadow has kept."""
    return ShadowedAnswers(scene.settings.lake, scene.use_case).answers(scene.shadowed.run)


@pytest.mark.slow
def test_a_shadow_scores_copies_that_no_client_sees(tmp_path, quickly):
    """A real replica under traffic: clients get the champion's answers, the table the candidate's, each once."""
    with open_scene(tmp_path, shadow=OPTIONS) as scene:
        scene.register(toy_graph(0.01), judged=0.01)
        scene.release()
        scene.register(toy_graph(0.02), judged=0.02)
        with ask_often(scene, n=2, pause=0.005, row=(None, 5.0, 3.0)) as clients:
            outcome = scene.release()
            seen_until_then = len(clients.answers)
        told, found = scene.shadowed.comparison, answers_of(scene)
        window = Window(start=datetime.now(UTC) - timedelta(hours=1), end=datetime.now(UTC) + timedelta(hours=1))
        lake = Lake(scene.settings.lake, scene.use_case)
        served = lake.answered(window)

    assert (outcome.outcome, outcome.served_version) == ("confirmed", 2)
    assert scene.shadowed.accepted
    assert told.requests == told.rows == len(found) >= 40
    assert not found.duplicated(["outbox", "seq"]).any()
    assert set(found["model_version"]) == {2}
    assert set(found["champion_version"]) == {1}
    assert found["p_0"].to_numpy() == pytest.approx(probability((None, 5.0, 3.0), 0.02), abs=1e-6)
    assert found["champion_p_0"].to_numpy() == pytest.approx(probability((None, 5.0, 3.0), 0.01), abs=1e-6)
    asked = dict(clients.answers)
    assert {asked[request] for request in found["request_id"]} == {1}  # what the client of each copy was answered
    assert clients.failures == []
    assert seen_until_then >= 40
    assert len(served) >= len(found)
    of_copies = served[served["id"].isin(found["id"])]  # served answers are the champion's alone
    assert set(of_copies["model_version"]) == {1}
    assert "version" not in json.dumps(sorted(lake.live_tables()))
    assert (told.failures.candidate_alone, told.disagreement.value) == (0, 0.0)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("fault", "weight", "options", "says"),
    [
        ("nan_if_deep", 0.02, {}, "it alone fails on"),
        ("", -0.02, {"most_disagreement": 0.1}, "it decides otherwise by 1, 0.1 allowed"),
        ("", 0.2, {"most_difference": 0.1}, "it differs by"),
    ],
    ids=["nan", "disagreement", "difference"],
)
def test_a_seeded_fault_ends_the_release_unseen(tmp_path, quickly, monkeypatch, fault, weight, options, says):
    """Verification is left out, since it would stop some of them before."""
    monkeypatch.setattr(release_room, "try_out", lambda *_: PASSED)
    with open_scene(tmp_path, shadow=OPTIONS | options) as scene:
        scene.register(toy_graph(0.01), judged=0.01)
        scene.release()
        scene.register(toy_graph(weight, fault=fault), judged=weight)
        with ask_often(scene, n=2, pause=0.005, row=DEEP) as clients:
            outcome = scene.release()
        manifest = read_manifest(scene.settings.releases, TOY.name)

    assert (outcome.outcome, outcome.served_version, manifest.model_version) == ("rolled_back", 1, 1)
    assert says in outcome.reason
    assert (set(clients.versions), clients.failures) == ({1}, [])


def release_and_die(settings: Settings, use_case: UseCase, registry: DamagedRegistry, step: str) -> None:
    """In a process of its own: a release that is killed with -9 in the middle of its shadow."""
    scene = Scene(settings, use_case, registry)

    def die(*_: object, **__: object) -> None:
        os.kill(os.getpid(), signal.SIGKILL)

    if step == "sleep":
        scene.sleep = die
    elif step == "kept":
        kept = ShadowedAnswers.append
        ShadowedAnswers.append = lambda *given: (kept(*given), die())
    else:
        shadow_room.compare_shadow = die
    scene.release()


@pytest.mark.slow
@pytest.mark.parametrize("step", ["sleep", "kept", "judge"])
def test_a_release_killed_in_its_shadow_goes_on_with_it(tmp_path, quickly, step):
    """The same run, each copy answered once, and the version serves in the end."""
    spawn = multiprocessing.get_context("spawn")  # delta-rs does not work in a fork of a process that has used it
    with open_scene(tmp_path, shadow=OPTIONS) as scene:
        scene.register(toy_graph(0.01), judged=0.01)
        scene.release()
        scene.register(toy_graph(0.02), judged=0.02)
        with ask_often(scene, n=1, pause=0.02):
            given = (scene.settings, scene.use_case, scene.registry, step)
            child = spawn.Process(target=release_and_die, args=given)
            child.start()
            child.join(60)
            assert child.exitcode == -signal.SIGKILL
            begun = json.loads((scene.settings.releases / TOY.name / SHADOW).read_text())
            outcome = scene.release()
        found = answers_of(scene)

    assert (outcome.outcome, outcome.served_version) == ("confirmed", 2)
    assert begun["began"][:19] in scene.shadowed.run
    assert not found.duplicated(["outbox", "seq"]).any()
    assert scene.shadowed.comparison.rows == len(found)


def test_who_needs_no_shadow(folder, control):
    """A use case without one, and a first release; the rest is as of a canary."""
    asked = {"releases": folder.releases, "control": control}
    wanting = TOY.model_copy(update={"serving": TOY.serving.model_copy(update={"shadow": Shadow()})})

    assert needs_shadow(STAGED, wanting, **asked)
    assert not needs_shadow(STAGED, TOY, **asked)
    assert not needs_shadow(STAGED, wanting, releases=folder.releases / "none", control=control)


def test_beginning_twice_is_beginning_once_until_it_is_long_over(folder):
    """Of another version, beside another release, or after twice its time, it is another shadow."""
    options = Shadow(longest="60s")
    first = begin_shadow(STAGED, folder, options, now=NOW)

    assert begin_shadow(STAGED, folder, options, now=NOW + timedelta(seconds=119)) == first
    assert begin_shadow(STAGED, folder, options, now=NOW + timedelta(seconds=120)).began > first.began
    other = STAGED.model_copy(update={"version": 3})
    assert begin_shadow(other, folder, options, now=NOW).key != first.key


@pytest.mark.slow
@pytest.mark.parametrize(("policy", "accepted"), [("release", True), ("roll_back", False)])
def test_too_little_traffic_is_told_and_decided_as_declared(folder, tmp_path, monkeypatch, policy, accepted):
    """Nobody asks: time is over at the second look."""
    moments = iter([NOW, NOW, *[NOW + timedelta(seconds=61)] * 9])
    shadow = Shadow(longest="60s", too_little_traffic=policy)
    use_case = TOY.model_copy(update={"serving": TOY.serving.model_copy(update={"shadow": shadow})})
    copied = Copied(tmp_path / "outbox", tmp_path / "lake", clock=lambda: next(moments), sleep=lambda _: None)

    found = run_shadow(STAGED, use_case, releases=folder.releases, copied=copied)

    assert (found.accepted, found.comparison.requests, found.seconds) == (accepted, 0, 61.0)
    assert "too little traffic, 0 of 300 requests" in found.reason


@pytest.mark.slow
def test_a_version_that_hangs_or_cannot_be_loaded_takes_nobody_down(tmp_path):
    """The process is ended after its time, or says what is wrong; either is one clear error."""
    with open_scene(tmp_path) as scene:
        staged = []
        for weight, fault in ((0.01, ""), (0.02, "hang")):
            scene.register(toy_graph(weight, fault=fault), judged=weight)
            staged.append(_stage(scene))
        champion, hanging = (_manifest(one) for one in staged)
        asked = {"releases": scene.settings.releases}
        with Rescorer(TOY, champion, hanging, timeout=4.0, **asked) as rescorer:
            began = time.monotonic()
            with pytest.raises(DataError, match="does not answer copies"):
                rescorer.answer([{"depth": 1.0, "load": 1.0, "swell": 1.0}])
            assert time.monotonic() - began < 60
        absent = champion.model_copy(update={"artifact": "artifacts/none"})
        with Rescorer(TOY, champion, absent, **asked) as rescorer, pytest.raises(DataError, match="cannot be loaded"):
            rescorer.answer([{"depth": 1.0, "load": 1.0, "swell": 1.0}])
        with Rescorer(TOY, champion, champion, **asked) as rescorer:
            rescorer.answer([{"depth": None, "load": 1.0, "swell": 1.0}])
            os.kill(rescorer._process.pid, signal.SIGSEGV)
            with pytest.raises(DataError, match="takes its process down"):
                rescorer.answer([{"depth": 1.0, "load": 1.0, "swell": 1.0}])


def _stage(scene: Scene) -> StagedRelease:
    return stage(TOY.name, registry=scene.registry, releases=scene.settings.releases, now=NOW)


def _manifest(staged: StagedRelease):
    from tests.registry.test_canary import SERVED

    named = staged.model_dump(include={"digest", "package_digest", "artifact"})
    return SERVED.model_copy(update=named | {"model_version": staged.version})


def test_the_same_requests_are_copied_always():
    """A share of 30 % of a thousand ids, and the same ones of a larger share as well."""
    ids = [f"request-{number}" for number in range(1000)]
    few, more = ({one for one in ids if is_copied(one, share)} for share in (0.3, 0.5))

    assert 250 < len(few) < 350
    assert few < more
    assert all(is_copied(one, 1.0) for one in ids)
