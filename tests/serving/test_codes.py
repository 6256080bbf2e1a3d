"""Every code of the table is produced for real: a replica as a process, a client over HTTP, its event afterwards."""

import json
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import httpx
import pytest

from ml.records.api_key import ApiKey, KeyRing, digest_token
from ml.records.codes import CODES, Code, code_name
from ml.registry.manifest import MODEL
from ml.simulation.breaking_graph import break_answers, break_inputs
from ml.use_case import load

README = (Path(__file__).parents[2] / "README.md").read_text(encoding="utf-8")
SCORE = "/score/quay"


@dataclass
class Scene:
    """A replica that is not started yet, its releases, and what its clients send."""

    installation: object
    service: object
    good: dict

    def declare(self, **serving: object) -> None:
        """Write a policy into the use case's file."""
        path = self.installation.settings.use_cases / "quay.yaml"
        path.write_text(path.read_text() + f"serving: {json.dumps(serving)}\n")
        self.installation.use_cases["quay"] = load(path)

    def ask(self, *rows: dict) -> httpx.Response:
        """Start the replica and have rows scored."""
        self.service.start()
        with self.service.client() as client:
            return client.post(SCORE, json={"rows": list(rows) or [self.good]})

    def ask_released(self, *rows: dict, **package: object) -> httpx.Response:
        """The same, of a release."""
        self.installation.release("quay", version=1, weight=0.1, **package)
        return self.ask(*rows)


def ask_nonsense(scene: Scene) -> httpx.Response:
    """A body that is no JSON."""
    scene.service.start()
    with scene.service.client() as client:
        return client.post(SCORE, content=b"{nonsense")


def ask_too_early(scene: Scene) -> httpx.Response:
    """Rows before the first release."""
    return scene.ask()


def ask_of_a_damaged_model(scene: Scene) -> httpx.Response:
    """Rows of a replica whose released model has other bytes than were released."""
    manifest = scene.installation.release("quay", version=1, weight=0.1)
    path = scene.installation.artifact(manifest) / MODEL
    content = path.read_bytes()
    path.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    return scene.ask()


def ask_without_a_key(scene: Scene) -> httpx.Response:
    """Rows without the key that this replica asks for."""
    settings = scene.installation.settings.model_copy(update={"scoring_auth": "required"})
    made = datetime(2013, 3, 1, tzinfo=UTC)
    key = ApiKey(name="a", digest=digest_token("a"), scopes=("score",), created_at=made)
    KeyRing(keys=(key,)).write(settings.keys)
    scene.installation.settings = settings
    return scene.ask_released()


def ask_all_at_once(scene: Scene) -> httpx.Response:
    """More large requests than may wait for a thread; those that were taken are answered rightly."""
    scene.installation.release("quay", version=1, weight=0.1)
    scene.service.start()
    body = json.dumps({"rows": [scene.good] * 2_000}).encode()
    limits = httpx.Limits(max_connections=64)
    with scene.service.client(limits=limits) as client, ThreadPoolExecutor(64) as threads:
        client.timeout = 120
        for _ in range(10):
            replies = list(threads.map(lambda _: client.post(SCORE, content=body), range(64)))
            answered = {p["probability"] for r in replies if r.status_code == 200 for p in r.json()["predictions"]}
            refused = [reply for reply in replies if reply.status_code != 200]
            assert len(answered) <= 1
            if refused:
                assert {reply.json()["code"] for reply in refused} == {104}
                return refused[0]
    pytest.fail("all were answered")


def ask_unlike_the_training_data(scene: Scene) -> httpx.Response:
    """A row far beyond what training has seen, of a use case that abstains from such."""
    scene.declare(out_of_distribution="abstain")
    seen = {"reference": {"depth": (5.0, 10.0), "load": (7.0, 9.0)}, "reference_values": {"berth": ("B7",)}}
    return scene.ask_released(seen=seen)


def ask_where_nothing_can_be_recorded(scene: Scene) -> httpx.Response:
    """Rows while a folder stands in the outbox's place."""
    scene.installation.release("quay", version=1, weight=0.1)
    scene.service.start()
    for file in scene.installation.outbox.parent.glob("replica-0.sqlite*"):
        file.unlink()
    scene.installation.outbox.mkdir()
    with scene.service.client() as client:
        return client.post(SCORE, json={"rows": [scene.good]})


#: A code without an entry has no test, and fails.
SCENES: dict[Code, Callable[[Scene], httpx.Response]] = {
    Code.MALFORMED: ask_nonsense,
    Code.ARTIFACT_NOT_FOUND: ask_too_early,
    Code.ARTIFACT_CORRUPT: ask_of_a_damaged_model,
    Code.NOT_ALLOWED: ask_without_a_key,
    Code.OVERLOADED: ask_all_at_once,
    Code.VALUE_NOT_FOUND: lambda scene: scene.ask_released(scene.good | {"load": None}),
    Code.VALUE_OUT_OF_BOUNDS: lambda scene: scene.ask_released(scene.good | {"depth": 1e6}),
    Code.UNKNOWN_CATEGORY: lambda scene: scene.ask_released(scene.good | {"sea": "boiling"}),
    Code.OUT_OF_DISTRIBUTION: ask_unlike_the_training_data,
    Code.PREPROCESSING_FAILED: lambda scene: scene.ask_released(spoil=break_inputs),
    Code.INFERENCE_FAILED: lambda scene: scene.ask_released(spoil=break_answers),
    Code.CAPTURE_FAILED: ask_where_nothing_can_be_recorded,
    Code.RELEASE_REFUSED: lambda scene: scene.ask_released(judged=0.9),
}


@pytest.mark.parametrize("code", CODES, ids=lambda code: code.name.lower())
def test_every_code_is_refused_over_http_and_told(installation, service, row_of, collect, code):
    """Its own status, a problem that says so, nothing that looks like an answer, and an event with the code."""
    reply = SCENES[code](Scene(installation, service, row_of(installation.use_cases["quay"])))
    problem = reply.json()

    assert (reply.status_code, reply.headers["content-type"]) == (CODES[code][1], "application/problem+json")
    assert {name: problem[name] for name in ("type", "title", "status", "code")} == {
        "type": f"urn:perennial:code:{code:d}",
        "title": CODES[code][0],
        "status": CODES[code][1],
        "code": code,
    }
    assert problem["detail"]
    assert not {"predictions", "outputs"} & set(problem)
    told = [event for event in collect(lambda found: any(e.code == code for e in found)) if event.code == code]
    assert code_name(code) in {event.name for event in told}
    assert {event.source for event in told} == {"replica-0"}
    if code is not Code.OVERLOADED and installation.outbox.is_file():  # there others were answered meanwhile
        assert {row.get("class") for row in installation.captured()} <= {None}


@pytest.mark.parametrize(
    ("fault", "code"),
    [
        (lambda folder: (folder / MODEL).unlink(), Code.ARTIFACT_NOT_FOUND),
        (lambda folder: (folder / MODEL).write_bytes(b"damaged"), Code.ARTIFACT_CORRUPT),
        (lambda folder: (folder.parents[1] / "manifest.json").write_text("{"), Code.RELEASE_REFUSED),
    ],
    ids=["absent", "damaged", "manifest cut"],
)
def test_who_asks_of_a_release_that_cannot_be_loaded_is_told_its_code(installation, service, row_of, fault, code):
    """By each protocol, on the pages of models as well; not that nothing was released."""
    manifest = installation.release("quay", version=1, weight=0.1)
    fault(installation.artifact(manifest))
    service.start()
    service.await_status(state="degraded")
    row = row_of(installation.use_cases["quay"])

    with service.client() as client:
        replies = [
            client.post(SCORE, json={"rows": [row]}),
            client.post(SCORE, json={"rows": [row] * 500}),
            client.post("/invocations/quay", json={"dataframe_records": [row]}),
            client.get("/v2/models/quay"),
            client.get("/v2/models/quay/versions/1/ready"),
        ]
        index = {entry["name"]: entry for entry in client.post("/v2/repository/index").json()}

    assert {reply.status_code for reply in replies} == {503}
    assert {reply.json().get("code") for reply in replies} == {code}
    assert (index["quay"]["state"], CODES[code][0] in index["quay"]["reason"]) == ("UNAVAILABLE", True)
    assert index["harbour_weather"]["reason"] == "no model of harbour_weather is released yet"


def test_labels_that_are_refused_are_told(installation, service, collect):
    """With their code, although none of them is on record."""
    service.start()
    with service.client() as client:
        reply = client.post("/labels/quay", json={"labels": [{"id": "a", "class": "never heard of"}]})
    (event,) = collect(bool)

    assert (reply.status_code, reply.json()["code"]) == (422, 203)
    assert (event.code, event.use_case, event.count) == (203, "quay", 1)


def test_table_of_the_readme_codes_and_tests_agree():
    """Row by row: no code is undocumented or untested, and none is documented that there is not."""
    table = README.split("| code | meaning | status |")[1].split("\n\n")[0]
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in table.splitlines()[2:]]

    assert [int(row[0]) for row in rows] == sorted(CODES)
    assert set(SCENES) == set(CODES) == set(Code) - {Code.OK}
    for number, _, statuses in rows:
        assert str(CODES[Code(int(number))][1]) in statuses.split(", ")
