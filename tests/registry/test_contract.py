"""One suite for every registry: what a stage may rely on, and what a repeated call must not double."""

from concurrent.futures import ThreadPoolExecutor

import pytest

from ml.errors import ConflictError, DataError, InputError
from ml.records.decision import GateDecision, RuleResult, ServingCost
from ml.records.measure import Verdict
from ml.records.profile import ReferenceProfile
from ml.records.release import ReleaseOutcome
from ml.registry.manifest import MODEL, PACKAGE, digest_file
from ml.training.cost import COST
from ml.training.graph import REFERENCE


def decide(version, training_set, decision: str) -> GateDecision:
    """A gate decision with one rule that has an interval and one that has none."""
    verdict = Verdict.FAIL if decision == "reject" else Verdict.PASS
    rules = (
        RuleResult(
            name="beats_champion", value=-0.0123, low=-0.02, high=0.01, bound=0.0, n=504, verdict=verdict, detail="d"
        ),
        RuleResult(name="parity", value=None, n=504, verdict=Verdict.PASS, detail="no flips"),
    )
    return GateDecision(
        use_case=version.name,
        decision=decision,
        state="compared",
        challenger_version=version.version,
        champion_version=7,
        holdout=training_set.holdout,
        rules=rules,
        reasons=("The interval of the difference reaches below zero.",),
    )


def test_run_is_found_by_its_request(registry, use_case, make_set):
    """The same request has one run however often it is started; another request has another."""
    first, second = make_set(use_case), make_set(use_case, as_of="2013-04-26")

    run = registry.start_run(first, use_case=use_case)

    assert registry.start_run(first, use_case=use_case) == run
    assert registry.start_run(second, use_case=use_case) != run


def test_mapped_tasks_share_the_run(registry, use_case, make_set, choice):
    """Eight tasks at the same time find the run that was started before them, and log under it."""
    training_set = make_set(use_case)
    run = registry.start_run(training_set, use_case=use_case)

    def train(number: int) -> str:
        found = registry.start_run(training_set, use_case=use_case)
        registry.log_candidate(found, choice.results[number % 2], {"depth": 3})
        return found

    with ThreadPoolExecutor(8) as pool:
        assert set(pool.map(train, range(8))) == {run}


def test_version_says_what_it_was_made_of(registry, register, use_case, tmp_path):
    """Digests, data version, watermark and request are read back as they were registered."""
    made = register(registry)

    found = registry.version(use_case.name, made.version)

    assert made == found
    assert (found.name, found.version) == (use_case.name, 1)
    assert found.digest == digest_file(tmp_path / "package_1" / MODEL)
    assert found.package_digest == digest_file(tmp_path / "package_1" / PACKAGE)
    assert (found.data_version, found.fingerprint, found.use_case_hash) == (3, "ab" * 32, use_case.hash)
    assert found.watermark.isoformat() == "2013-04-11T23:00:00+00:00"
    assert found.tags["decision"] == "pending"
    assert found.tags["candidate"] == "random_forest"
    assert found.tags["request_key"] == f"{use_case.name}/2013-04-19"


def test_registering_twice_makes_one_version(registry, register, use_case):
    """A retried task gets the version that its first try made."""
    first = register(registry)

    assert register(registry) == first
    assert registry.versions(use_case.name) == (first,)


def test_versions_come_newest_first(registry, register, use_case):
    """Each request has a version of its own; the newest is listed first."""
    first, second = register(registry), register(registry, as_of="2013-04-26", weight=2.0)

    assert [version.version for version in registry.versions(use_case.name)] == [2, 1]
    assert (first.version, second.version) == (1, 2)
    assert first.digest != second.digest


def test_use_case_without_versions_has_none(registry, use_case):
    """Before the first training there is neither a version nor a champion."""
    assert registry.versions(use_case.name) == ()
    assert registry.champion(use_case.name) is None


def test_same_request_with_other_bytes_is_a_conflict(registry, register, use_case):
    """What the gate judges must be what is registered: other bytes under the same request are refused."""
    register(registry)

    with pytest.raises(ConflictError, match="other bytes"):
        register(registry, weight=2.0)
    assert len(registry.versions(use_case.name)) == 1


@pytest.mark.parametrize("name", [MODEL, PACKAGE, REFERENCE])
@pytest.mark.parametrize("fault", ["absent", "cut"])
def test_incomplete_package_is_not_registered(
    registry, use_case, make_set, make_package, choice, parity, tmp_path, name, fault
):
    """A package folder that lacks a file, or holds half of one, leaves no version behind."""
    training_set, package = make_set(use_case), make_package(tmp_path / "p", use_case)
    path = tmp_path / "p" / name
    content = path.read_bytes()
    path.unlink() if fault == "absent" else path.write_bytes(content[: len(content) // 2])
    run = registry.start_run(training_set, use_case=use_case)

    with pytest.raises(DataError, match=name.replace(".", r"\.")):
        registry.register(run, tmp_path / "p", package=package, parity=parity, choice=choice, training_set=training_set)
    assert registry.versions(use_case.name) == ()


def test_page_of_a_version_tells_its_story(registry, register):
    """The description names reason, person, data, candidates and parity before the gate has spoken."""
    page = register(registry, sources={"history": 1500, "live": 2028}).description

    for part in ("drift 0.985 &gt; 0.97", "monitor", "Version 3", "2,028 live", "**random_forest**", "svc", "0 of 504"):
        assert part in page
    assert "## Gate" not in page


def test_what_the_package_costs_is_kept_with_the_version(
    registry, use_case, make_set, choice, parity, make_package, tmp_path
):
    """The file that was measured comes back with the package; a package without one is whole all the same."""
    cost = ServingCost(size_bytes=9, single_ms=0.1, single_p99_ms=0.2, batch_ms=3.0, batch_rows=1000, n=200)
    package = make_package(tmp_path / "package", use_case)
    cost.write(tmp_path / "package" / COST)
    training_set = make_set(use_case)
    run = registry.start_run(training_set, use_case=use_case)

    version = registry.register(
        run, tmp_path / "package", package=package, parity=parity, choice=choice, training_set=training_set
    )

    assert ServingCost.read(registry.download(version, tmp_path / "back") / COST) == cost


def test_a_run_that_leads_to_no_version_ends_with_its_outcome(registry, use_case, make_set):
    """Ended twice it reads once."""
    run = registry.start_run(make_set(use_case), use_case=use_case)

    registry.end_run(run, "no_candidate")
    registry.end_run(run, "no_candidate")

    assert registry.versions(use_case.name) == ()
    assert registry.start_run(make_set(use_case), use_case=use_case) == run


def test_rejected_version_stays_with_its_reasons(registry, register, use_case, make_set):
    """A rejection is written to tag and page; the alias does not move."""
    version = register(registry)
    decision = decide(version, make_set(use_case), "reject")

    registry.record_gate(version, decision)

    found = registry.version(use_case.name, version.version)
    assert found.tags["decision"] == "rejected"
    assert found.tags["gate_champion"] == "7"
    assert "| beats\\_champion | -0.0123 | -0.02 … 0.01 | 0 | 504 | fail |" in found.description
    assert "| parity | — | — | — | 504 | pass |" in found.description
    assert "reaches below zero" in found.description
    assert registry.champion(use_case.name) is None


@pytest.mark.parametrize(
    ("decision", "tag"), [("promote", "promoted"), ("review", "sent_to_review"), ("reject", "rejected")]
)
def test_gate_recorded_twice_reads_once(registry, register, use_case, make_set, decision, tag):
    """A repeated record replaces itself: one heading, the same page."""
    version = register(registry)
    gate = decide(version, make_set(use_case), decision)

    registry.record_gate(version, gate)
    once = registry.version(use_case.name, version.version)
    registry.record_gate(once, gate)

    twice = registry.version(use_case.name, version.version)
    assert twice == once
    assert twice.tags["decision"] == tag
    assert twice.description.count("## Gate") == 1


def test_champion_moves_only_by_moving_it(registry, register, use_case, make_set):
    """Registering and a won gate leave the alias alone; moving it twice is moving it once."""
    version = register(registry)
    registry.record_gate(version, decide(version, make_set(use_case), "promote"))
    before = registry.champion(use_case.name)

    registry.move_champion(use_case.name, 1)
    registry.move_champion(use_case.name, 1)

    assert before is None
    assert registry.champion(use_case.name).version == 1


def test_champion_with_newer_data_stays(registry, register, use_case):
    """A version of older data cannot become champion, but for a roll back."""
    register(registry), register(registry, as_of="2013-04-26", weight=2.0)
    registry.move_champion(use_case.name, 2)

    with pytest.raises(ConflictError, match="newer data"):
        registry.move_champion(use_case.name, 1)
    assert registry.champion(use_case.name).version == 2
    registry.move_champion(use_case.name, 1, back=True)
    assert registry.champion(use_case.name).version == 1


def test_champion_can_be_taken_away(registry, register, use_case):
    """Without an alias there is no champion; taking away what is absent changes nothing."""
    register(registry)
    registry.move_champion(use_case.name, 1)

    registry.set_champion(use_case.name, None)
    registry.set_champion(use_case.name, None)

    assert registry.champion(use_case.name) is None


@pytest.mark.parametrize("number", [0, 2, 99, -1])
def test_unknown_version_is_named(registry, register, use_case, number):
    """Asking for a version that is not there says which and where; nothing moves."""
    register(registry)

    with pytest.raises(InputError, match=rf"unknown.*{use_case.name}.*{number}"):
        registry.version(use_case.name, number)
    with pytest.raises(InputError):
        registry.move_champion(use_case.name, number)
    assert registry.champion(use_case.name) is None


def test_download_gives_the_registered_bytes(registry, register, tmp_path):
    """The folder holds graph, package file and reference profile as they were given."""
    version = register(registry)

    folder = registry.download(version, tmp_path / "there")

    for name in (MODEL, PACKAGE, REFERENCE):
        assert (folder / name).read_bytes() == (tmp_path / "package_1" / name).read_bytes()


def test_download_mends_a_damaged_folder(registry, register, tmp_path):
    """A folder that holds other bytes is replaced, a whole one is not touched."""
    version = register(registry)
    folder = registry.download(version, tmp_path / "there")
    written = (folder / PACKAGE).stat().st_mtime_ns
    registry.download(version, folder)
    untouched = (folder / PACKAGE).stat().st_mtime_ns == written
    (folder / MODEL).write_bytes(b"half")
    (folder / "stray").touch()

    registry.download(version, folder)

    assert untouched
    assert digest_file(folder / MODEL) == version.digest
    assert not (folder / "stray").exists()


def test_reference_comes_back(registry, register, tmp_path):
    """The profile of the training data is read from the version itself."""
    version = register(registry)

    assert registry.reference(version) == ReferenceProfile.read(tmp_path / "package_1" / REFERENCE)


def test_release_is_noted_on_its_version(registry, register, use_case):
    """How a release ended can be read from the version that it was about."""
    register(registry)

    registry.record_release(
        ReleaseOutcome(
            use_case=use_case.name,
            outcome="rolled_back",
            wanted_version=1,
            served_version=None,
            reason="code 102: cut off",
            seconds=1.5,
        )
    )

    tags = registry.version(use_case.name, 1).tags
    assert (tags["release"], tags["release_reason"]) == ("rolled_back", "code 102: cut off")
