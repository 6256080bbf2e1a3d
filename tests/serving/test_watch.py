"""A replica serves what the manifest names once it is proven to be that, and what it served before until then."""

import asyncio
import json

import pytest

from ml.registry.manifest import MODEL, PACKAGE, WITHDRAWN, digest_file, manifest_path
from ml.serving import watch
from ml.serving.watch import Releases


@pytest.fixture
def releases(installation) -> Releases:
    """The models of a replica, nothing looked at yet."""
    return Releases(installation.settings.releases, installation.use_cases)


def look(releases: Releases, name: str = "quay"):
    """Status of a use case after one look at its manifest."""
    asyncio.run(releases.refresh(name))
    return next(status for status in releases.status() if status.use_case == name)


def served(status) -> tuple:
    """State, version in service, sequence in service and wanted, code."""
    return status.state, status.model_version, status.sequence, status.wanted_sequence, status.code


def test_nothing_released_is_waiting(releases):
    """No model, no fault."""
    assert served(look(releases)) == ("waiting", None, None, None, None)
    assert releases.model("quay") is None


def test_releases_are_taken_in_order(installation, releases):
    """The first, the next, and one that brings an old version back under a new sequence."""
    first = installation.release("quay", version=1, weight=0.1)
    assert served(look(releases)) == ("serving", 1, 1, 1, None)
    installation.release("quay", version=2, weight=0.2)
    assert served(look(releases)) == ("serving", 2, 2, 2, None)
    installation.publish(first.model_copy(update={"sequence": 3, "previous": 2}))
    assert served(look(releases)) == ("serving", 1, 3, 3, None)
    assert releases.model("quay").manifest.digest == first.digest


def test_model_in_service_is_not_loaded_again(installation, releases):
    """The same manifest, written anew, changes nothing."""
    manifest = installation.release("quay", version=1, weight=0.1)
    look(releases)
    model = releases.model("quay")
    installation.publish(manifest)
    look(releases)

    assert releases.model("quay") is model


def spoil_graph(installation, manifest):
    """One bit of the stored graph flips."""
    path = installation.artifact(manifest) / MODEL
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def spoil_package(installation, manifest):
    """The stored package is cut in half."""
    path = installation.artifact(manifest) / PACKAGE
    path.write_bytes(path.read_bytes()[:100])


def remove_graph(installation, manifest):
    """The stored graph is gone."""
    (installation.artifact(manifest) / MODEL).unlink()


def name_another_digest(installation, manifest):
    """The manifest names bytes that nobody has."""
    installation.publish(manifest.model_copy(update={"digest": "0" * 64}))


def name_another_use_case(installation, manifest):
    """The manifest was put into the wrong folder."""
    content = manifest.model_copy(update={"use_case": "harbour_weather"}).model_dump_json()
    manifest_path(installation.settings.releases, "quay").write_text(content)


def write_half_a_manifest(installation, manifest):
    """Somebody edits the manifest by hand."""
    manifest_path(installation.settings.releases, "quay").write_text(manifest.model_dump_json()[:50])


def store_no_graph(installation, manifest):
    """The registered bytes are no graph at all, under their right digest."""
    path = installation.artifact(manifest) / MODEL
    path.write_bytes(b"no graph")
    installation.publish(manifest.model_copy(update={"digest": digest_file(path)}))


def store_odd_package(installation, manifest):
    """The package is of columns that the use case does not have, under its right digest."""
    path = installation.artifact(manifest) / PACKAGE
    path.write_text(json.dumps(json.loads(path.read_text()) | {"numbers": ["depth", "load"]}))
    installation.publish(manifest.model_copy(update={"package_digest": digest_file(path)}))


def go_back_in_sequence(installation, manifest):
    """A release process that was cut off long ago wakes up."""
    installation.publish(manifest.model_copy(update={"sequence": 0}))


FAULTS = [
    (spoil_graph, 102, 2, "artifact fails its digest"),
    (spoil_package, 102, 2, "artifact fails its digest"),
    (remove_graph, 101, 2, "artifact is absent"),
    (name_another_digest, 102, 2, "0000"),
    (name_another_use_case, 601, 2, "the manifest is of use case 'harbour_weather'"),
    (write_half_a_manifest, 601, 1, "not a ReleaseManifest"),
    (store_no_graph, 601, 2, "graph cannot be loaded"),
    (store_odd_package, 601, 2, "package is of another use case file"),
    (go_back_in_sequence, 601, 0, "older than the served one"),
]


@pytest.mark.parametrize(("fault", "code", "wanted", "says"), FAULTS, ids=[fault[0].__name__ for fault in FAULTS])
def test_faulty_release_leaves_the_old_model_in_service(installation, releases, fault, code, wanted, says):
    """Degraded, with the code and the reason; the next good release is taken."""
    installation.release("quay", version=1, weight=0.1)
    look(releases)
    model = releases.model("quay")
    fault(installation, installation.release("quay", version=2, weight=0.2))

    status = look(releases)

    assert served(status) == ("degraded", 1, 1, wanted, code)
    assert says in status.problem
    assert releases.model("quay") is model
    installation.release("quay", version=3, weight=0.3)
    assert served(look(releases)) == ("serving", 3, 3, 3, None)


def test_golden_rows_of_another_model_are_refused(installation, releases):
    """Right bytes, right digests, other answers: code 601."""
    installation.release("quay", version=1, weight=0.1)
    look(releases)
    installation.release("quay", version=2, weight=0.2, judged=0.5)

    status = look(releases)

    assert served(status) == ("degraded", 1, 1, 2, 601)
    assert "golden rows" in status.problem


def test_first_release_that_is_faulty_serves_nothing(installation, releases):
    """There is no old model to stay on; the replica says so."""
    spoil_graph(installation, installation.release("quay", version=1, weight=0.1))

    assert served(look(releases)) == ("degraded", None, None, 1, 102)


def test_one_use_case_does_not_disturb_another(installation, releases):
    """The weather is served while the quay's release is faulty."""
    installation.release("harbour_weather", version=5, weight=0.001)
    spoil_graph(installation, installation.release("quay", version=1, weight=0.1))

    assert look(releases).state == "degraded"
    assert served(look(releases, "harbour_weather")) == ("serving", 5, 5, 5, None)


def test_repaired_artifact_is_taken_without_a_new_manifest(installation, releases, monkeypatch):
    """A refused release is tried again after a while."""
    manifest = installation.release("quay", version=1, weight=0.1)
    path = installation.artifact(manifest) / MODEL
    content = path.read_bytes()
    path.unlink()
    assert look(releases).code == 101
    path.write_bytes(content)

    assert look(releases).code == 101
    monkeypatch.setattr(watch, "RETRY_SECONDS", 0.0)
    assert served(look(releases)) == ("serving", 1, 1, 1, None)


def test_manifest_that_is_lost_leaves_the_model_in_service(installation, releases):
    """Absence that nobody meant is a fault; a manifest that comes back mends it."""
    manifest = installation.release("quay", version=1, weight=0.1)
    look(releases)
    manifest_path(installation.settings.releases, "quay").unlink()

    assert served(look(releases)) == ("degraded", 1, 1, 1, 101)
    installation.publish(manifest)
    assert served(look(releases)) == ("serving", 1, 1, 1, None)


def test_withdrawn_release_is_served_no_longer(installation, releases):
    """The first release, taken back: nothing is released, and nothing is wrong."""
    installation.release("quay", version=1, weight=0.1)
    look(releases)
    path = manifest_path(installation.settings.releases, "quay")
    path.rename(path.with_name(WITHDRAWN))

    status = look(releases)

    assert (status.state, status.model_version, status.code) == ("waiting", None, None)
    assert releases.model("quay") is None


def test_watch_outlives_what_it_does_not_understand(installation, releases, monkeypatch):
    """A fault that nobody thought of is a degraded state, and the next manifest is looked at all the same."""
    installation.release("quay", version=1, weight=0.1)
    look(releases)
    load = watch.load_model
    monkeypatch.setattr(watch, "load_model", lambda *_: 1 / 0)
    installation.release("quay", version=2, weight=0.2)
    degraded = look(releases)
    monkeypatch.setattr(watch, "load_model", load)
    installation.release("quay", version=3, weight=0.3)

    assert served(degraded) == ("degraded", 1, 1, 2, 601)
    assert "ZeroDivisionError" in degraded.problem
    assert served(look(releases)) == ("serving", 3, 3, 3, None)


def test_a_new_release_is_not_blamed_for_the_fault_of_the_one_before(installation, releases, monkeypatch):
    """While it is being loaded, nobody who asks sees its sequence together with the old code."""
    installation.release("quay", version=1, weight=0.1)
    look(releases)
    spoil_graph(installation, installation.release("quay", version=2, weight=0.2))
    assert served(look(releases)) == ("degraded", 1, 1, 2, 102)
    installation.release("quay", version=3, weight=0.3)
    seen = []

    def load(*arguments):
        seen.append(served(releases.status()[[s.use_case for s in releases.status()].index("quay")]))
        return real(*arguments)

    real = watch.load_model
    monkeypatch.setattr(watch, "load_model", load)

    assert served(look(releases)) == ("serving", 3, 3, 3, None)
    assert seen == [("serving", 1, 1, 3, None)]
