"""A version that fails at work: refused with its code, or answered by the last good version, which says so."""

import asyncio
import contextlib
import json
import signal
import struct

import httpx
import pytest

from ml.records.codes import Code
from ml.records.release import Candidate
from ml.registry.release_folder import ReleaseFolder
from ml.serving.app import App
from ml.serving.capture import Outbox
from ml.serving.metrics import Metrics
from ml.serving.telemetry import tell_degraded
from ml.serving.watch import Releases
from ml.simulation.breaking_graph import break_answers, break_inputs

FAULTS = [(break_inputs, 301), (break_answers, 401)]


def declare(installation, mode: str = "last_good", **serving: object) -> None:
    """Write the policy into the quay's file."""
    use_case = installation.use_cases["quay"]
    changed = use_case.model_dump() | {"serving": {"degraded": mode} | serving}
    installation.use_cases["quay"] = use_case.model_validate(changed)


class Replica:
    """A replica in this process, whose releases have just been looked at whenever it is asked."""

    def __init__(self, installation) -> None:
        self.installation, self.metrics = installation, Metrics()
        self.outbox = Outbox(installation.outbox)
        self.releases = Releases(installation.settings.releases, installation.use_cases)
        self.app = App("replica-0", self.releases, self.outbox, self.metrics)

    def ask(self, path: str, content: object = None, **options: object) -> httpx.Response:
        """POST a content, or GET."""
        body = content if isinstance(content, bytes | None) else json.dumps(content).encode()

        async def once() -> httpx.Response:
            await self.releases.refresh("quay")
            async with httpx.AsyncClient(transport=httpx.ASGITransport(self.app), base_url="http://replica") as client:
                return await client.request("GET" if body is None else "POST", path, content=body, **options)

        return asyncio.run(once())


@pytest.fixture
def replica(installation):
    """Make the replica of the installation, as its use cases are then."""
    with contextlib.ExitStack() as stack:

        def make() -> Replica:
            made = Replica(installation)
            stack.callback(made.outbox.close)
            return made

        yield make


@pytest.fixture
def broken(installation):
    """Version 1, confirmed; then version 2, confirmed as well, which passes its golden rows and fails at work."""

    def release(spoil) -> None:
        installation.confirm(installation.release("quay", version=1, weight=0.1))
        installation.confirm(installation.release("quay", version=2, weight=0.3, spoil=spoil))

    return release


@pytest.mark.parametrize(("spoil", "code"), FAULTS)
def test_by_default_it_is_refused(installation, replica, broken, quay, row_of, spoil, code):
    """500 with the code, nothing made up, no other version in memory; the record has no class."""
    broken(spoil)

    asked = replica()
    reply = asked.ask("/score/quay", {"rows": [row_of(quay)]})

    assert (reply.status_code, reply.json()["code"]) == (500, code)
    assert "x-perennial-degraded" not in reply.headers
    (record,) = installation.captured()
    assert (record["code"], record["class"], record["model_version"], "degraded_code" in record) == (
        code,
        None,
        2,
        False,
    )
    assert asked.releases.spare("quay") is None
    assert asked.metrics.totals().degraded == {}


@pytest.mark.parametrize(("spoil", "code"), FAULTS)
@pytest.mark.parametrize("rows", [1, 2, 201])
def test_where_declared_the_last_good_version_answers_and_says_so(
    installation, replica, broken, quay, row_of, on_paper, spoil, code, rows
):
    """The answer is version 1's by its own weight; reply, header, record and counter name version and code."""
    declare(installation)
    broken(spoil)

    asked = replica()
    reply = asked.ask("/score/quay", {"rows": [row_of(quay)] * rows})

    content, paper = reply.json(), on_paper(row_of(quay), quay, 0.1)
    assert (reply.status_code, content["model"]["version"]) == (200, 1)
    assert (content["degraded"]["code"], content["degraded"]["instead_of"]) == (code, 2)
    assert reply.headers["x-perennial-degraded"] == str(code)
    assert [answer["probabilities"][1] for answer in content["predictions"]] == pytest.approx([paper] * rows, abs=1e-6)
    for record in installation.captured():
        assert (record["code"], record["model_version"], record["degraded_code"]) == (0, 1, code)
        assert record["probabilities"][1] == pytest.approx(paper, abs=1e-6)
        assert "answered by version 1 in place of 2" in record["detail"]
    assert asked.metrics.totals().degraded == {("quay", code): rows}
    assert asked.metrics.rows("quay") == {0: rows}


def test_a_version_that_works_answers_itself(installation, replica, quay, row_of, on_paper):
    """Nothing tells of another one."""
    declare(installation)
    for version, weight in ((1, 0.1), (2, 0.3)):
        installation.confirm(installation.release("quay", version=version, weight=weight))

    asked = replica()
    reply = asked.ask("/score/quay", {"rows": [row_of(quay)]})

    assert reply.json()["predictions"][0]["probabilities"][1] == pytest.approx(
        on_paper(row_of(quay), quay, 0.3), abs=1e-6
    )
    assert ("degraded" in reply.json(), "x-perennial-degraded" in reply.headers) == (False, False)
    (record,) = installation.captured()
    assert (record["model_version"], "degraded_code" in record) == (2, False)
    assert asked.releases.status()[1].last_good == 1


def test_both_fail_and_the_code_stands(installation, replica, quay, row_of):
    """Refused with the code of the version that was to answer."""
    declare(installation)
    installation.confirm(installation.release("quay", version=1, weight=0.1, spoil=break_inputs))
    installation.confirm(installation.release("quay", version=2, weight=0.3, spoil=break_answers))

    reply = replica().ask("/score/quay", {"rows": [row_of(quay)]})

    assert (reply.status_code, reply.json()["code"]) == (500, 401)
    assert [record["code"] for record in installation.captured()] == [401]


def test_a_row_that_only_one_version_fails_at_has_the_batch_answered_by_the_other(
    installation, replica, quay, row_of, on_paper
):
    """One answer never mixes versions; what the client sent wrongly stays refused."""
    declare(installation, out_of_distribution="ignore")
    installation.confirm(installation.release("quay", version=1, weight=0.1))
    installation.confirm(installation.release("quay", version=2, weight=0.3, root=True))
    negative, wrong = row_of(quay) | {"load": -1000}, row_of(quay) | {"depth": 101}

    reply = replica().ask("/score/quay", {"rows": [row_of(quay), negative, wrong]})

    first, second, refused = reply.json()["predictions"]
    assert (reply.status_code, reply.json()["model"]["version"]) == (207, 1)
    assert first["probabilities"][1] == pytest.approx(on_paper(row_of(quay), quay, 0.1), abs=1e-6)
    assert second["probabilities"][1] == pytest.approx(on_paper(negative, quay, 0.1), abs=1e-6)
    assert refused["error"]["code"] == 202
    assert [(r["code"], r["model_version"], r.get("degraded_code")) for r in installation.captured()] == [
        (0, 1, 401),
        (0, 1, 401),
        (202, 1, None),
    ]


def test_mlflow_and_v2_say_so_as_well(installation, replica, broken, quay, row_of, on_paper):
    """In the reply's own place, and in the same header; a version in the path is answered by no other."""
    declare(installation)
    broken(break_answers)
    asked, row, paper = replica(), row_of(quay), on_paper(row_of(quay), quay, 0.1)
    inputs = [
        {"name": name, "shape": [1], "datatype": kind, "data": [value]}
        for (name, value), kind in zip(row.items(), ("FP64", "FP64", "BOOL", "BYTES", "BYTES"), strict=True)
    ]

    invoked = asked.ask(
        "/invocations/quay", {"dataframe_records": [row], "params": {"predict_method": "predict_proba"}}
    )
    inferred = asked.ask("/v2/models/quay/infer", {"inputs": inputs})
    packed = asked.ask("/v2/models/quay/infer", {"inputs": inputs, "parameters": {"binary_data_output": True}})
    pinned = asked.ask("/v2/models/quay/versions/2/infer", {"inputs": inputs})

    assert invoked.json()["predictions"][0][1] == pytest.approx(paper, abs=1e-6)
    assert (invoked.json()["model"]["version"], invoked.json()["degraded"]["code"]) == (1, 401)
    assert inferred.json()["model_version"] == "1"
    parameters = inferred.json()["parameters"]
    assert (parameters["degraded_code"], parameters["degraded_instead_of"]) == (401, 2)
    length = int(packed.headers["inference-header-content-length"])
    assert json.loads(packed.content[:length])["parameters"]["degraded_code"] == 401
    size = next(o for o in json.loads(packed.content[:length])["outputs"] if o["name"] == "class")["parameters"]
    tail = packed.content[length + size["binary_data_size"] :]
    assert struct.unpack("<2d", tail[:16])[1] == pytest.approx(paper, abs=1e-6)
    assert {reply.headers["x-perennial-degraded"] for reply in (invoked, inferred, packed)} == {"401"}
    assert (pinned.status_code, pinned.json()["code"]) == (500, 401)


@pytest.mark.parametrize(("damage", "code"), [("bytes", 102), ("gone", 101), ("manifest", 601)])
def test_a_version_that_can_no_longer_be_loaded_is_stood_in_for(installation, replica, quay, row_of, damage, code):
    """A replica that starts on damaged files: ready and answering where declared, not ready and refusing elsewhere."""
    installation.confirm(installation.release("quay", version=1, weight=0.1))
    manifest = installation.confirm(installation.release("quay", version=2, weight=0.3))
    graph = installation.artifact(manifest) / "model.onnx"
    if damage == "bytes":
        graph.write_bytes(graph.read_bytes()[:-1])
    elif damage == "gone":
        graph.unlink()
    else:
        (graph.parents[2] / "manifest.json").write_text("{")

    refusing = replica()
    refused, ready = refusing.ask("/score/quay", {"rows": [row_of(quay)]}), refusing.ask("/health/ready")
    declare(installation)
    standing = replica()
    reply, still = standing.ask("/score/quay", {"rows": [row_of(quay)]}), standing.ask("/health/ready")

    assert (refused.status_code, refused.json()["code"], ready.status_code) == (503, code, 503)
    assert (reply.status_code, reply.json()["degraded"]["code"], still.status_code) == (200, code, 200)
    assert reply.json()["model"]["version"] == (2 if damage == "manifest" else 1)
    assert standing.ask("/status").json()["use_cases"][1]["state"] == "degraded"


def test_nobody_to_turn_to(installation, replica, quay, row_of):
    """The first release fails: refused with its code; before it there is 101, as ever."""
    declare(installation)
    asked = replica()
    assert asked.ask("/score/quay", {"rows": [row_of(quay)]}).json()["code"] == 101

    installation.confirm(installation.release("quay", version=1, weight=0.3, spoil=break_answers))
    assert asked.ask("/score/quay", {"rows": [row_of(quay)]}).json()["code"] == 401


def test_a_version_that_was_left_behind_is_nobodys_last_good(installation, replica, quay, row_of):
    """Going back from 2 to 1, which fails now: version 2 was given up and does not come back by this door."""
    declare(installation)
    first = installation.confirm(installation.release("quay", version=1, weight=0.1, spoil=break_answers))
    installation.confirm(installation.release("quay", version=2, weight=0.3))
    back = installation.publish(first.model_copy(update={"sequence": 3}))

    asked = replica()
    unconfirmed = asked.ask("/score/quay", {"rows": [row_of(quay)]}).json()
    installation.confirm(back)
    confirmed = asked.ask("/score/quay", {"rows": [row_of(quay)]}).json()

    assert (unconfirmed["code"], confirmed["code"]) == (401, 401)
    assert ReleaseFolder(installation.settings.releases, "quay").earlier is None


def test_the_last_good_artifact_is_kept(installation):
    """What a release discards is never what a replica may have to load."""
    first = installation.confirm(installation.release("quay", version=1, weight=0.1))
    installation.confirm(installation.release("quay", version=2, weight=0.2))
    folder = ReleaseFolder(installation.settings.releases, "quay")

    folder.discard(first.artifact)
    assert first.artifact in folder.artifacts

    installation.confirm(installation.release("quay", version=3, weight=0.3))
    folder.discard(first.artifact)
    assert first.artifact not in folder.artifacts


def test_a_damaged_spare_is_told_of_and_is_not_used(installation, replica, broken, quay, row_of, caplog):
    """A warning, once; the request is refused with the code of the present version."""
    declare(installation)
    broken(break_answers)
    earlier = ReleaseFolder(installation.settings.releases, "quay").earlier
    (installation.artifact(earlier) / "model.onnx").write_bytes(b"")

    asked = replica()
    for _ in range(2):
        assert asked.ask("/score/quay", {"rows": [row_of(quay)]}).json()["code"] == 401

    assert sum("last good release cannot be loaded" in record.message for record in caplog.records) == 1


@pytest.mark.parametrize("rows", [1, 201])
def test_a_canary_that_fails_is_stood_in_for_by_the_champion_and_counted_as_failed(
    installation, replica, quay, row_of, rows
):
    """No client meets its failure, and the trial does not overlook it either."""
    declare(installation)
    champion = installation.confirm(installation.release("quay", version=1, weight=0.1))
    bad = installation.release("quay", version=2, weight=0.3, spoil=break_answers)
    named = bad.model_dump(include={"model_version", "digest", "package_digest", "artifact"})
    trial = Candidate(**named, share=0.5)
    installation.publish(champion.model_copy(update={"sequence": 3, "candidate": trial}))

    asked = replica()
    replies = [asked.ask("/score/quay", {"rows": [row_of(quay)] * rows}) for _ in range(20)]

    degraded = [reply for reply in replies if "degraded" in reply.json()]
    assert {reply.status_code for reply in replies} == {200}
    assert {reply.json()["model"]["version"] for reply in replies} == {1}
    assert {reply.json()["degraded"]["instead_of"] for reply in degraded} == {2}
    arms = asked.releases.status()[1].arms
    assert (arms.candidate.requests, arms.candidate.failed) == (len(degraded), len(degraded))
    assert arms.champion.failed == 0
    assert 0 < len(degraded) < 20


def test_events_name_code_and_rows():
    """One event per use case and code, an error, so that rules about the code and about the mode both see it."""
    (event,) = tell_degraded({("quay", 401): 12}, source="replica-0", now=1_000_000.0)

    assert (event.name, event.code, event.severity, event.count) == ("answered_by_last_good", 401, "error", 12)
    assert (event.use_case, "12 rows" in event.message) == ("quay", True)


def test_the_process_serves_degraded_across_a_restart(installation, service, quay, row_of, on_paper):
    """Behind a real socket, by the short way: kill -9, start, the same version answers from the first request on."""
    path = installation.settings.use_cases / "quay.yaml"
    path.write_text(path.read_text() + "serving: {degraded: last_good}\n")
    installation.confirm(installation.release("quay", version=1, weight=0.1))
    installation.confirm(installation.release("quay", version=2, weight=0.3, spoil=break_inputs))

    for _ in range(2):
        service.start()
        service.await_status(model_version=2, last_good=1)
        with service.client() as client:
            reply = client.post("/score/quay", json={"rows": [row_of(quay)]})
            metrics = client.get("/metrics").text
        assert (reply.status_code, reply.headers["x-perennial-degraded"]) == (200, "301")
        assert reply.json()["predictions"][0]["probabilities"][1] == pytest.approx(
            on_paper(row_of(quay), quay, 0.1), abs=1e-6
        )
        assert 'perennial_degraded_rows_total{use_case="quay",code="301"} 1' in metrics
        service.end(signal.SIGKILL)
    assert [record["degraded_code"] for record in installation.captured()] == [int(Code.PREPROCESSING_FAILED)] * 2
