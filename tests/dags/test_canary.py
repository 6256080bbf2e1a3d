"""Shadow and canary inside the release DAG, under traffic: one version goes through to the end, one is rolled back."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime

import httpx
import pytest

from ml.governance.reconcile import VERSION
from ml.governance.version import describe_version
from ml.records.decision import Choice, Parity, TrainingSet
from ml.records.measure import Verdict
from ml.records.release import Package, ReleaseOutcome
from ml.records.shadow import ShadowVerdict
from ml.registry.manifest import PACKAGE, read_manifest
from ml.settings import settings

pytestmark = [pytest.mark.timeout(600), pytest.mark.usefixtures("services")]

NAME = "harbour_canary"
FIRST = datetime(2013, 3, 1, tzinfo=UTC)
PARITY = Parity(n=504, flips=0, allowed_flips=0, largest_difference=2.5e-7, verdict=Verdict.PASS)
OTHER = {"Rain": "No Rain", "No Rain": "Rain"}


@pytest.fixture(scope="module")
def bench():
    """Stores and registry of the use case, as the tasks open them."""
    from plugins.perennial.workbench import open_workbench

    return open_workbench(NAME)


def run(dagbag, file: str, conf: dict) -> dict[str, str]:
    """States of the tasks of one run in process."""
    finished = dagbag.dags[f"{NAME}.{file}"].test(run_conf=conf)
    assert finished.state == "success"
    return {task.task_id: str(task.state) for task in finished.get_task_instances()}


@contextmanager
def traffic(bench, *, wrong: int | None = None) -> Iterator[set[int]]:
    """A client that asks and tells the truth: what was answered, or of one version always something else.

    Yields the versions that have answered.
    """
    ended, versions = threading.Event(), set()
    # The middle of each range; a boolean is no.
    row = {
        name: sum(feature.range) / 2 if feature.range else False for name, feature in bench.use_case.features.items()
    }

    def ask() -> None:
        with httpx.Client(base_url=settings().scoring_url) as client:
            while not ended.is_set():
                row_id = f"canary-{time.time_ns()}"
                told = client.post(f"/score/{NAME}", json={"rows": [row], "ids": [row_id]}).json()
                version, found = told["model"]["version"], told["predictions"][0]["class"]
                versions.add(version)
                label = {"id": row_id, "class": OTHER[found] if version == wrong else found}
                client.post(f"/labels/{NAME}", json={"labels": [label]}).raise_for_status()
                time.sleep(0.02)

    client = threading.Thread(target=ask)
    client.start()
    try:
        yield versions
    finally:
        ended.set()
        client.join(30)


@pytest.fixture(scope="module")
def three_versions(dagbag, bench, tmp_path_factory) -> None:
    """The first serves; two others are registered with the same bytes, under requests of their own."""
    run(dagbag, "retrain", {"as_of": FIRST.isoformat(), "reason": "first model"})
    run(dagbag, "release", {"version": None})
    training_set = TrainingSet.model_validate_json(bench.control.latest("training_set", NAME).payload)
    choice = Choice.model_validate_json(bench.control.latest("choice", NAME).payload)
    first = bench.registry.version(NAME, 1)
    folder = bench.registry.fetch(first, tmp_path_factory.mktemp("first") / "package")
    for number in (2, 3):
        request = training_set.request.model_copy(update={"key": f"{NAME}/again-{number}"})
        made = training_set.model_copy(update={"request": request})
        package = Package.read(folder / PACKAGE)
        version = bench.registry.register(
            bench.registry.start_run(made, use_case=bench.use_case),
            folder,
            package=package,
            parity=PARITY,
            choice=choice,
            training_set=made,
        )
        known = describe_version(version, package, choice, made)
        bench.record(VERSION, f"{NAME}/{version.version}", known, as_of=request.as_of, actor=request.actor)
    assert [version.version for version in bench.registry.versions(NAME)] == [3, 2, 1]
    assert read_manifest(settings().releases, NAME).model_version == 1


def test_a_good_version_goes_through_shadow_and_canary_to_the_end(dagbag, bench, three_versions):
    """Each branch in turn; it answers a part of the requests before it answers all of them."""
    with traffic(bench) as versions:
        states = run(dagbag, "release", {"version": 2, "reason": "to see"})

    walked = ("stage", "verify", "shadow", "canary", "switch", "confirm", "served")
    assert {task: states[task] for task in walked} == dict.fromkeys(walked, "success")
    assert states["roll_back"] == "skipped"
    assert versions == {1, 2}
    manifest = read_manifest(settings().releases, NAME)
    assert (manifest.model_version, manifest.candidate, bench.registry.champion(NAME).version) == (2, None, 2)
    shadow = ShadowVerdict.model_validate_json(bench.control.latest("shadow", NAME).payload)
    assert (shadow.version, shadow.beside, shadow.accepted) == (2, 1, True)
    assert shadow.comparison.requests >= 20


def test_a_version_that_answers_worse_is_rolled_back_by_itself(dagbag, bench, three_versions, letters):
    """Alias included, with the reason on record, in the registry and in the mailbox."""
    with traffic(bench, wrong=3):
        states = run(dagbag, "release", {"version": 3, "reason": "to see"})

    assert {task: states[task] for task in ("verify", "shadow", "canary", "roll_back")} == dict.fromkeys(
        ("verify", "shadow", "canary", "roll_back"), "success"
    )
    assert {task: states[task] for task in ("switch", "confirm", "served")} == dict.fromkeys(
        ("switch", "confirm", "served"), "skipped"
    )
    manifest = read_manifest(settings().releases, NAME)
    assert (manifest.model_version, manifest.candidate, bench.registry.champion(NAME).version) == (2, None, 2)
    outcome = ReleaseOutcome.model_validate_json(bench.control.latest("release", NAME).payload)
    assert (outcome.outcome, outcome.wanted_version, outcome.served_version) == ("rolled_back", 3, 2)
    assert "the candidate answers worse" in outcome.reason
    assert "answers worse" in bench.registry.version(NAME, 3).tags["release_reason"]
    assert any("answers worse" in letter for letter in letters("release-taken-back-harbour-canary-"))
