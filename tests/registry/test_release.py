"""Releases: sound versions are served, others are not, and a release killed anywhere ends right when it is repeated."""

import itertools
import json
import shutil
import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from ml.errors import ConflictError, DataError, InputError
from ml.records.release import ReleaseManifest
from ml.registry.manifest import MODEL, PACKAGE, digest_file, manifest_path, read_manifest
from ml.registry.memory import MemoryRegistry
from ml.registry.mlflow_registry import MlflowRegistry
from ml.registry.release import conclude, confirm, release_champion, roll_back, stage, switch, verify
from ml.registry.release_folder import ReleaseFolder

NOW = datetime(2026, 1, 1, tzinfo=UTC)


@pytest.fixture
def registry():
    """A registry in memory: the contract suite says that MLflow's does the same."""
    return MemoryRegistry()


@pytest.fixture
def releases(tmp_path) -> Path:
    """Folder of all releases."""
    return tmp_path / "releases"


@pytest.fixture
def replica(use_case, releases):
    """A replica over real HTTP: serves what the manifest names at once, or refuses the versions in ``refused``.

    ``sequences`` are the manifests that it has seen; like the scoring service it ignores one that is not newer.
    """

    class Handler(BaseHTTPRequestHandler):
        refused: set[int]
        sequences: list[int]
        served: ReleaseManifest | None = None

        def do_GET(self) -> None:
            kind, wanted = type(self), read_manifest(releases, use_case.name)
            if wanted is not None and wanted.sequence > max(self.sequences, default=0):
                self.sequences.append(wanted.sequence)
                if wanted.model_version not in self.refused:
                    kind.served = wanted
            state = self.status(wanted, kind.served)
            content = json.dumps({"replica": "one", "pid": 1, "use_cases": [state]}).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def status(self, wanted: ReleaseManifest | None, served: ReleaseManifest | None) -> dict:
            behind = wanted is not None and (served is None or served.sequence != wanted.sequence)
            return {
                "use_case": use_case.name,
                "state": "degraded" if behind else "waiting" if served is None else "serving",
                "model_version": served.model_version if served else None,
                "digest": served.digest if served else None,
                "sequence": served.sequence if served else None,
                "wanted_sequence": wanted.sequence if wanted else None,
                "code": 601 if behind else None,
                "problem": "golden row 3 differs" if behind else "",
            }

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    handler = type("Replica", (Handler,), {"refused": set(), "sequences": []})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    handler.url = f"http://127.0.0.1:{server.server_port}"
    yield handler
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def promote(register, use_case):
    """Register and promote the next version of a registry, a week newer than the one before."""
    weeks = itertools.count()

    def take(registry):
        week = next(weeks)
        as_of = f"{datetime(2013, 4, 19, tzinfo=UTC) + timedelta(weeks=week):%Y-%m-%d}"
        version = register(registry, as_of=as_of, weight=1.0 + week)
        registry.move_champion(use_case.name, version.version)
        return version

    return take


@pytest.fixture
def release(use_case, releases, replica, control):
    """Release the champion of a registry, from the first step to the last."""

    def run(registry, *, url: str | None = None, timeout: float = 5.0):
        return release_champion(
            use_case,
            registry=registry,
            control=control,
            releases=releases,
            scoring_url=url or replica.url,
            timeout=timeout,
            clock=lambda: NOW,
        )

    return run


def served(releases: Path, use_case) -> tuple[int, int] | None:
    """Version and sequence that the manifest names."""
    manifest = read_manifest(releases, use_case.name)
    return (manifest.model_version, manifest.sequence) if manifest else None


def champion_of(registry, use_case) -> int | None:
    """Version that the alias points to."""
    champion = registry.champion(use_case.name)
    return champion.version if champion else None


def test_first_release_is_served(registry, promote, release, releases, replica, use_case):
    """The manifest names the champion's bytes, the replica serves them, the registry knows."""
    version = promote(registry)

    outcome = release(registry)

    manifest = read_manifest(releases, use_case.name)
    assert (outcome.outcome, outcome.wanted_version, outcome.served_version) == ("confirmed", 1, 1)
    assert (manifest.model_version, manifest.sequence, manifest.previous) == (1, 1, None)
    assert manifest.digest == version.digest == digest_file(releases / use_case.name / manifest.artifact / MODEL)
    assert "20 golden rows" in manifest.reason
    assert replica.served == manifest
    assert registry.version(use_case.name, 1).tags["release"] == "confirmed"


def test_next_release_names_the_one_before(registry, promote, release, releases, use_case):
    """The second release has the next sequence and remembers the first."""
    promote(registry), release(registry), promote(registry)

    outcome = release(registry)

    assert (outcome.outcome, outcome.served_version) == ("confirmed", 2)
    assert served(releases, use_case) == (2, 2)
    assert read_manifest(releases, use_case.name).previous == 1


def test_served_version_released_again_changes_nothing(registry, promote, release, releases, use_case):
    """Releasing what is served is unchanged: no new sequence, not a byte of the manifest."""
    promote(registry), release(registry)
    before = manifest_path(releases, use_case.name).read_bytes()

    outcome = release(registry)

    assert (outcome.outcome, outcome.served_version) == ("unchanged", 1)
    assert manifest_path(releases, use_case.name).read_bytes() == before


def test_without_champion_there_is_nothing_to_release(registry, release, use_case):
    """The error names the use case and what to do."""
    with pytest.raises(InputError, match=rf"nothing to release.*{use_case.name}.*promote"):
        release(registry)


def damage_graph(files: dict[str, bytes]) -> None:
    """Cut the graph in half."""
    files[MODEL] = files[MODEL][: len(files[MODEL]) // 2]


def damage_package(files: dict[str, bytes]) -> None:
    """Change one digit of a golden row."""
    files[PACKAGE] = files[PACKAGE].replace(b'"label": "Rain"', b'"label": "Rein"', 1)


def lose_graph(files: dict[str, bytes]) -> None:
    """Lose the graph."""
    del files[MODEL]


def lose_all(files: dict[str, bytes]) -> None:
    """Lose everything."""
    files.clear()


@pytest.mark.parametrize(
    ("fault", "code"), [(damage_graph, 102), (damage_package, 102), (lose_graph, 101), (lose_all, 101)]
)
def test_damaged_artifact_never_reaches_the_manifest(
    registry, promote, release, releases, replica, use_case, fault, code
):
    """Absent, cut and changed files are refused by code; the version before serves on without a new manifest."""
    promote(registry), release(registry), promote(registry)
    before = manifest_path(releases, use_case.name).read_bytes()
    fault(registry._files[use_case.name, 2])

    outcome = release(registry)

    assert (outcome.outcome, outcome.wanted_version, outcome.served_version) == ("rolled_back", 2, 1)
    assert f"code {code}" in outcome.reason
    assert manifest_path(releases, use_case.name).read_bytes() == before
    assert replica.sequences == [1]
    assert champion_of(registry, use_case) == 1
    assert registry.version(use_case.name, 2).tags["release"] == "rolled_back"
    assert len(list((releases / use_case.name / "artifacts").iterdir())) == 1


def test_graph_with_wrong_answers_is_refused(
    registry, promote, release, releases, use_case, make_package, make_set, choice, parity, tmp_path
):
    """The registered bytes, undamaged, that do not answer their golden rows: code 601, and nothing is switched."""
    promote(registry), release(registry)
    folder = tmp_path / "wrong"
    golden = make_package(tmp_path / "right", use_case, weight=1.0).golden_rows
    package = make_package(folder, use_case, weight=9.0).model_copy(update={"golden_rows": golden})
    package.write(folder / PACKAGE)
    training_set = make_set(use_case, as_of="2013-06-07")
    run = registry.start_run(training_set, use_case=use_case)
    registry.register(run, folder, package=package, parity=parity, choice=choice, training_set=training_set)
    registry.move_champion(use_case.name, 2)

    outcome = release(registry)

    assert outcome.outcome == "rolled_back"
    assert "code 601" in outcome.reason
    assert "answers golden rows otherwise" in outcome.reason
    assert served(releases, use_case) == (1, 1)
    assert champion_of(registry, use_case) == 1


def test_columns_of_another_use_case_file_are_refused(registry, promote, releases, use_case):
    """The file's features changed since the version was trained: the service could not ask it."""
    promote(registry)
    features = dict(list(use_case.features.items())[1:])
    staged = stage(use_case.name, registry=registry, releases=releases, now=NOW)

    verification = verify(staged, use_case.model_copy(update={"features": features}), releases=releases)

    assert not verification.accepted
    assert verification.code == 601
    assert "where: numbers" in verification.reason


def test_refused_first_release_leaves_no_champion(registry, promote, release, releases, use_case):
    """Nothing served before: no manifest is left, and the alias is taken away, so that a first training may follow."""
    promote(registry)
    damage_graph(registry._files[use_case.name, 1])

    outcome = release(registry)

    assert (outcome.outcome, outcome.served_version) == ("rolled_back", None)
    assert served(releases, use_case) is None
    assert champion_of(registry, use_case) is None


def test_release_that_replicas_refuse_is_rolled_back(registry, promote, release, releases, replica, use_case):
    """The replica finds a fault that we did not: the manifest before comes back with a new sequence, the alias too."""
    promote(registry), release(registry), promote(registry)
    replica.refused = {2}

    outcome = release(registry)

    manifest = read_manifest(releases, use_case.name)
    assert (outcome.outcome, outcome.served_version) == ("rolled_back", 1)
    assert "code 601, golden row 3 differs" in outcome.reason
    assert (manifest.model_version, manifest.sequence, manifest.previous) == (1, 3, 2)
    assert "version 2 was rolled back" in manifest.reason
    assert champion_of(registry, use_case) == 1
    assert registry.version(use_case.name, 2).tags["release_reason"] == outcome.reason
    assert len(list((releases / use_case.name / "artifacts").iterdir())) == 1


def test_rolled_back_manifest_can_be_served(registry, promote, release, releases, replica, use_case):
    """The manifest that came back names an artifact that is whole, and a replica takes it."""
    promote(registry), release(registry), promote(registry)
    replica.refused = {2}
    release(registry)

    outcome = release(registry)

    assert (outcome.outcome, outcome.served_version) == ("confirmed", 1)
    assert replica.served.sequence == 3
    assert served(releases, use_case) == (1, 3)


def test_first_release_that_nobody_confirms_is_withdrawn(registry, promote, release, releases, replica, use_case):
    """There is nothing to go back to: no manifest, no champion; the next release has a sequence that is newer."""
    promote(registry)
    replica.refused = {1}

    outcome = release(registry)
    withdrawn = served(releases, use_case)
    promote(registry)
    after = release(registry)

    assert (outcome.outcome, outcome.served_version) == ("rolled_back", None)
    assert withdrawn is None
    assert (after.outcome, served(releases, use_case)) == ("confirmed", (2, 2))
    assert replica.sequences == [1, 2]


def test_unconfirmed_release_is_better_than_none(registry, promote, release, releases, replica, use_case):
    """The first release was killed before it was confirmed; when the second is refused, the first comes back."""
    promote(registry)
    staged = stage(use_case.name, registry=registry, releases=releases, now=NOW)
    switch(staged, registry=registry, releases=releases, now=NOW, reason="killed before confirm")
    promote(registry)
    replica.refused = {2}

    outcome = release(registry)

    assert (outcome.outcome, outcome.served_version) == ("rolled_back", 1)
    assert served(releases, use_case) == (1, 3)
    assert champion_of(registry, use_case) == 1


def test_service_that_is_away_rolls_back(registry, promote, release, releases, use_case):
    """Nobody confirms in time: the version before comes back, with the address in the reason."""
    promote(registry), release(registry), promote(registry)

    outcome = release(registry, url="http://127.0.0.1:9", timeout=0.3)

    assert (outcome.outcome, outcome.served_version) == ("rolled_back", 1)
    assert "http://127.0.0.1:9/status" in outcome.reason
    assert served(releases, use_case) == (1, 3)
    assert champion_of(registry, use_case) == 1


def test_served_version_survives_a_service_that_is_away(registry, promote, release, releases, use_case):
    """What replicas confirmed once is not taken back because they are away when it is released again."""
    promote(registry), release(registry)

    outcome = release(registry, url="http://127.0.0.1:9", timeout=0.2)

    assert (outcome.outcome, outcome.served_version) == ("unchanged", 1)
    assert served(releases, use_case) == (1, 1)
    assert champion_of(registry, use_case) == 1


def test_an_artifact_that_served_before_survives_a_release_that_is_taken_back(
    registry, control, promote, release, releases, use_case
):
    """Somebody points the alias to the first version without a right to: its bytes are no less sound than they were."""
    promote(registry), release(registry)
    first = read_manifest(releases, use_case.name).artifact
    promote(registry), release(registry)
    registry.set_champion(use_case.name, 1)

    staged = stage(use_case.name, registry=registry, releases=releases, now=NOW)
    roll_back(staged, registry=registry, control=control, releases=releases, now=NOW, reason="not authorised")

    assert staged.artifact == first
    assert (releases / use_case.name / first / MODEL).is_file()
    assert served(releases, use_case) == (2, 2)


def test_alias_that_moved_on_stops_the_older_release(registry, control, promote, release, releases, use_case):
    """A release that was staged before a newer promotion must not replace the newer one."""
    promote(registry)
    late = stage(use_case.name, registry=registry, releases=releases, now=NOW)
    promote(registry)
    release(registry)

    with pytest.raises(ConflictError, match=r"champion changed.*got: version 2; allowed: version 1"):
        switch(late, registry=registry, releases=releases, now=NOW, reason="late")
    outcome = roll_back(late, registry=registry, control=control, releases=releases, now=NOW, reason="too late")

    assert served(releases, use_case) == (2, 1)
    assert champion_of(registry, use_case) == 2
    assert (outcome.outcome, outcome.served_version) == ("rolled_back", 2)


def test_artifact_changed_between_verify_and_switch_is_refused(registry, promote, releases, use_case):
    """The bytes are checked again in the moment before the manifest names them."""
    promote(registry)
    staged = stage(use_case.name, registry=registry, releases=releases, now=NOW)
    assert verify(staged, use_case, releases=releases).accepted
    (releases / use_case.name / staged.artifact / MODEL).write_bytes(b"other")

    with pytest.raises(DataError, match="digest"):
        switch(staged, registry=registry, releases=releases, now=NOW, reason="sound")
    assert served(releases, use_case) is None


def test_staging_mends_a_damaged_copy(registry, promote, releases, use_case):
    """An artifact that a disk damaged since it was stored is replaced by the registry's bytes."""
    promote(registry)
    staged = stage(use_case.name, registry=registry, releases=releases, now=NOW)
    (releases / use_case.name / staged.artifact / MODEL).write_bytes(b"damaged")

    again = stage(use_case.name, registry=registry, releases=releases, now=NOW)

    assert again == staged.model_copy(update={"held": True})
    assert verify(again, use_case, releases=releases).accepted


def test_steps_repeated_give_the_same(registry, promote, releases, replica, use_case):
    """Every step twice: one artifact, one sequence, one outcome."""
    promote(registry)
    for _ in range(2):
        staged = stage(use_case.name, registry=registry, releases=releases, now=NOW)
        verified = [verify(staged, use_case, releases=releases) for _ in range(2)]
    manifests = [switch(staged, registry=registry, releases=releases, now=NOW, reason="sound") for _ in range(2)]
    confirmed = [confirm(replica.url, manifests[0], releases=releases, timeout=5) for _ in range(2)]
    outcomes = [conclude(staged, registry=registry, now=NOW + timedelta(seconds=3)) for _ in range(2)]

    assert all(verification.accepted for verification in verified)
    assert manifests[0] == manifests[1]
    assert all(confirmation.confirmed for confirmation in confirmed)
    assert outcomes[0] == outcomes[1]
    assert outcomes[0].seconds == 3.0
    assert served(releases, use_case) == (1, 1)


def test_two_releases_at_once_give_one_sequence(registry, promote, release, releases, use_case):
    """Eight releases of the same champion at the same time: all are right, the manifest is written once."""
    promote(registry)

    with ThreadPoolExecutor(8) as pool:
        outcomes = list(pool.map(lambda _: release(registry), range(8)))

    assert {outcome.served_version for outcome in outcomes} == {1}
    assert {outcome.outcome for outcome in outcomes} <= {"confirmed", "unchanged"}
    assert served(releases, use_case) == (1, 1)


class Killed(BaseException):
    """A process ended between two lines; nothing catches it."""


@pytest.fixture
def mortal(monkeypatch):
    """Let the process die after the n-th change or question, in a registry or a release folder."""
    count = {"left": -1}

    def dying(method):
        def call(*arguments, **options):
            answer = method(*arguments, **options)
            count["left"] -= 1
            if count["left"] == 0:
                raise Killed(method.__name__)
            return answer

        return call

    for name in ("champion", "fetch", "set_champion", "record_release"):
        monkeypatch.setattr(MemoryRegistry, name, dying(getattr(MemoryRegistry, name)))
    for name in ("store", "publish", "withdraw", "keep_as_fallback", "discard"):
        monkeypatch.setattr(ReleaseFolder, name, dying(getattr(ReleaseFolder, name)))
    return count


@pytest.mark.parametrize(
    ("before", "refused", "expected"),
    [(0, False, 1), (0, True, None), (1, False, 2), (1, True, 1)],
    ids=["first", "first refused", "next", "next refused"],
)
def test_killed_anywhere_and_repeated_ends_right(
    promote, release, releases, replica, use_case, mortal, before, refused, expected
):
    """The release is killed after its first step, its second, and so on; repeated, manifest and alias agree."""
    kills = 0
    for calls in itertools.count(1):
        shutil.rmtree(releases, ignore_errors=True)
        registry = MemoryRegistry()
        replica.sequences, replica.refused, replica.served = [], set(), None
        for _ in range(before):
            promote(registry), release(registry)
        wanted = promote(registry).version
        replica.refused = {wanted} if refused else set()
        mortal["left"] = calls
        try:
            release(registry)
        except Killed:
            kills += 1
        mortal["left"] = -1
        finished = calls > kills
        if champion_of(registry, use_case) is not None:
            release(registry)

        found = served(releases, use_case)
        assert (found[0] if found else None) == expected, f"killed after call {calls}"
        assert champion_of(registry, use_case) == expected
        assert replica.sequences == sorted(set(replica.sequences))
        leftovers = [path.name for path in (releases / use_case.name).iterdir() if path.name.startswith(".staging")]
        assert leftovers == []
        if finished:
            break
    assert kills >= 6


@pytest.mark.slow
def test_release_from_mlflow(mlflow_server, promote, release, releases, use_case, tmp_path):
    """The same on a real MLflow server: confirmed, then a damaged artifact in MLflow's own store is refused."""
    registry = MlflowRegistry(mlflow_server)
    promote(registry)
    first = release(registry)
    version = promote(registry)
    registry._client.log_artifact(version.run_id, str(damaged(tmp_path)), "package")

    second = release(registry)

    assert (first.outcome, second.outcome) == ("confirmed", "rolled_back")
    assert "code 102" in second.reason
    assert champion_of(registry, use_case) == 1
    assert registry.version(use_case.name, 2).tags["release"] == "rolled_back"
    assert served(releases, use_case) == (1, 1)


def damaged(folder: Path) -> Path:
    """A file with a graph's name that is none."""
    path = folder / MODEL
    path.write_bytes(b"damaged")
    return path
