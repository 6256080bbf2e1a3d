"""The service over HTTP: each route, each refusal, and what is on record of both."""

import asyncio
import contextlib
import gzip
import json
import sqlite3
import uuid
import zlib

import httpx
import pytest

from ml.records.codes import CODES, Code
from ml.serving import http as limits
from ml.serving import tick
from ml.serving.app import App
from ml.serving.capture import Outbox
from ml.serving.metrics import Metrics
from ml.serving.watch import Releases


@pytest.fixture
def ask(installation):
    """Ask a replica whose releases have just been looked at; (path, content) with POST, (path) with GET."""
    outbox = Outbox(installation.outbox)
    releases = Releases(installation.settings.releases, installation.use_cases)
    app = App("replica-0", releases, outbox, Metrics())

    def send(path: str, content: object = None, *, method: str | None = None, **options) -> httpx.Response:
        body = content if isinstance(content, bytes | None) else json.dumps(content).encode()

        async def once() -> httpx.Response:
            for name in installation.use_cases:
                await releases.refresh(name)
            transport = httpx.ASGITransport(app)
            async with httpx.AsyncClient(transport=transport, base_url="http://replica") as client:
                kind = method or ("GET" if body is None else "POST")
                return await client.request(kind, path, content=body, **options)

        return asyncio.run(once())

    yield send
    outbox.close()


def assert_problem(reply: httpx.Response, status: int, code: int) -> dict:
    """One problem JSON with our code."""
    problem = reply.json()
    assert (reply.status_code, problem["status"], problem["code"]) == (status, status, code)
    assert reply.headers["content-type"] == "application/problem+json"
    assert problem["title"] == CODES[Code(code)][0]
    assert uuid.UUID(problem["request_id"])
    return problem


def test_answer_is_on_record_as_it_was_given(installation, ask, quay, row_of, on_paper):
    """Class, probability, version and request id of the reply are those of the outbox."""
    installation.release("quay", version=7, weight=0.1)

    reply = ask("/score/quay", {"rows": [row_of(quay)], "ids": ["a"], "event_times": ["2013-03-01T01:00Z"]})

    (answer,), (record,) = reply.json()["predictions"], installation.captured()
    assert reply.status_code == 200
    assert answer["probabilities"][1] == pytest.approx(on_paper(row_of(quay), quay, 0.1), abs=1e-6)
    assert {key: record[key] for key in answer} == answer
    assert (record["use_case"], record["request_id"]) == ("quay", reply.json()["request_id"])
    assert (record["model_version"], record["code"]) == (7, 0)


def test_row_without_an_id_gets_one(installation, ask, quay, row_of):
    """A different one each time, the same in reply and record."""
    installation.release("quay", version=1, weight=0.1)

    replies = [ask("/score/quay", {"data": [list(row_of(quay).values())]}) for _ in range(2)]

    ids = [reply.json()["predictions"][0]["id"] for reply in replies]
    assert len(set(ids)) == 2
    assert [record["id"] for record in installation.captured()] == ids


@pytest.mark.parametrize("rows", [1, 150, 1_000, 10_000])
def test_batches_of_any_size_are_answered_in_order(installation, ask, quay, row_of, on_paper, rows):
    """Small ones on the spot, large ones in a thread."""
    installation.release("quay", version=1, weight=0.1)
    sent = [row_of(quay) | {"depth": i % 100} for i in range(rows)]

    reply = ask("/score/quay", {"rows": sent})

    found = [answer["probabilities"][1] for answer in reply.json()["predictions"]]
    assert found == pytest.approx([on_paper(row, quay, 0.1) for row in sent], abs=1e-6)
    assert [record["features"]["depth"] for record in installation.captured()] == [row["depth"] for row in sent]


BAD_ROWS = [
    ({"depth": ...}, 422, 201, "depth"),
    ({"load": None}, 422, 201, "load"),
    ({"depth": "12"}, 422, 201, "depth"),
    ({"depth": float("nan")}, 422, 201, "depth"),
    ({"load": float("inf")}, 422, 201, "load"),
    ({"load": float("-inf")}, 422, 201, "load"),
    ({"depth": 1e9}, 422, 202, "depth"),
    ({"sea": "damp"}, 422, 203, "sea"),
    ({"crane": 4}, 400, 100, "crane"),
]


@pytest.mark.parametrize(("change", "status", "code", "feature"), BAD_ROWS)
def test_bad_row_is_one_problem_naming_row_and_feature(installation, ask, quay, row_of, change, status, code, feature):
    """A field that is absent, null, text, not a number, infinite, out of range, of no known category, or unknown."""
    installation.release("quay", version=1, weight=0.1)
    row = {name: value for name, value in (row_of(quay) | change).items() if value is not ...}

    problem = assert_problem(ask("/score/quay", {"rows": [row], "ids": ["a"]}), status, code)

    (error,), (record,) = problem["errors"], installation.captured()
    assert (error["row"], error["id"], error["feature"], error["code"]) == (0, "a", feature, code)
    assert feature in problem["detail"]
    assert (record["id"], record["code"], record["use_case"], record["class"]) == ("a", code, "quay", None)
    assert record["request_id"] == problem["request_id"]
    assert feature in record["detail"]
    assert record["raw"] == json.dumps(row)


BAD_BODIES = [
    (b"", 400, "body is not JSON"),
    (b'{"rows": [', 400, "body is not JSON"),
    (b'{"data": [["\xff\xfe"]]}', 400, "body is not JSON"),
    (b'{"rows": []}', 422, "rows is empty"),
    (b"{}", 400, "either data or rows"),
    (b'{"rows": {"depth": 1}}', 400, "Expected `array | null`, got `object` - at `$.rows`"),
    (b'{"data": [' + b"[]," * 10_000 + b"[]]}", 413, "data has 10001 entries; allowed: 1 to 10000"),
]


@pytest.mark.parametrize(("body", "status", "says"), BAD_BODIES)
def test_bad_body_is_one_problem_and_one_record(installation, ask, body, status, says):
    """The whole request counts as one row, with the beginning of its text."""
    installation.release("quay", version=1, weight=0.1)

    problem = assert_problem(ask("/score/quay", body), status, 100)

    (record,) = installation.captured()
    assert says in problem["detail"]
    assert record["detail"] == problem["detail"]
    assert (record["use_case"], record["code"], record["model_version"]) == ("quay", 100, None)
    assert record["raw"] == body.decode("utf-8", "replace")[:2_000]


def test_some_bad_rows_are_a_207(installation, ask, quay, row_of):
    """Answers and refusals side by side, each on record."""
    installation.release("quay", version=1, weight=0.1)

    reply = ask("/score/quay", {"rows": [row_of(quay), row_of(quay) | {"depth": float("nan")}]})

    assert reply.status_code == 207
    assert [("error" in entry) for entry in reply.json()["predictions"]] == [False, True]
    assert [record["code"] for record in installation.captured()] == [0, 201]


def test_unknown_use_case_is_recorded_under_no_name(installation, ask):
    """404, with the names that there are; nobody ingests the record."""
    problem = assert_problem(ask("/score/quai", b'{"data": [[1]]}'), 404, 100)

    assert "no such use case: quai; allowed: harbour_weather, quay" in problem["detail"]
    (record,) = installation.captured()
    assert (record["use_case"], record["code"], record["raw"]) == ("", 100, '{"data": [[1]]}')


def test_no_model_yet_is_503_with_a_time_to_come_back(installation, ask, quay, row_of):
    """The request is on record; a fault of its own comes first."""
    reply = ask("/score/quay", {"rows": [row_of(quay)]})

    assert_problem(reply, 503, 101)
    assert int(reply.headers["retry-after"]) >= 1
    assert [record["code"] for record in installation.captured()] == [101]
    assert ask("/score/quay", {"rows": []}).status_code == 422


@pytest.mark.parametrize("declared", [True, False])
def test_body_that_is_too_large_is_recorded_without_it(installation, ask, monkeypatch, declared):
    """Whether its length is said first or not."""
    monkeypatch.setattr(limits, "MAX_BODY", 1_000)
    body = b"[" * 1_001

    async def parts():
        yield body[:500]
        yield body[500:]

    reply = ask("/score/quay", body) if declared else ask_in_parts(installation, parts())

    problem = assert_problem(reply, 413, 100)
    assert "allowed: 1000 bytes" in problem["detail"]
    assert installation.captured()[0]["raw"] == ""


def ask_in_parts(installation, parts) -> httpx.Response:
    """Post a body whose length is not known when it begins."""

    async def once() -> httpx.Response:
        outbox = Outbox(installation.outbox)
        app = App("r", Releases(installation.settings.releases, installation.use_cases), outbox, Metrics())
        transport = httpx.ASGITransport(app)
        async with httpx.AsyncClient(transport=transport, base_url="http://replica") as client:
            reply = await client.post("/score/quay", content=parts)
        outbox.close()
        return reply

    return asyncio.run(once())


def test_body_that_does_not_arrive_is_given_up(installation, monkeypatch):
    """A client that stops in the middle of its body is told so."""
    monkeypatch.setattr(limits, "BODY_SECONDS", 0.05)

    async def parts():
        yield b"["
        await asyncio.sleep(1)
        yield b"]"

    assert_problem(ask_in_parts(installation, parts()), 408, 100)
    assert [record["code"] for record in installation.captured()] == [100]


@pytest.mark.parametrize(
    ("encoding", "body", "status", "says"),
    [
        ("br", b"\x0b", 415, "content-encoding must be one of identity, gzip, deflate; got br"),
        ("gzip", b"\x1f\x8b", 400, "body is not one whole gzip"),
        ("gzip", b"{}", 400, "body is not gzip"),
        ("gzip", gzip.compress(b"{}") + b"more", 400, "body is not one whole gzip"),
        ("gzip", gzip.compress(b"[" * 50_000_000), 413, "body is too large"),
        ("deflate", zlib.compress(b"[" * 50_000_000), 413, "body is too large"),
    ],
)
def test_packed_body_that_is_refused(installation, ask, encoding, body, status, says):
    """Another packing, one that is cut off or followed by something, and bombs; each is on record."""
    reply = ask("/score/quay", body, headers={"content-encoding": encoding})

    assert says in assert_problem(reply, status, 100)["detail"]
    assert [record["code"] for record in installation.captured()] == [100]


@pytest.mark.parametrize(("encoding", "pack"), [("gzip", gzip.compress), ("deflate", zlib.compress)])
def test_packed_body_is_read(installation, ask, quay, row_of, encoding, pack):
    """As if it had come unpacked."""
    installation.release("quay", version=1, weight=0.1)

    body = pack(json.dumps({"rows": [row_of(quay)]}).encode())

    assert ask("/score/quay", body, headers={"content-encoding": encoding}).status_code == 200


@pytest.mark.parametrize(
    ("method", "path", "allow"),
    [("GET", "/score/quay", "POST"), ("PUT", "/labels/quay", "POST"), ("POST", "/status", "GET, HEAD")],
)
def test_wrong_method_names_the_right_one(ask, method, path, allow):
    """405 with Allow, as RFC 9110 has it."""
    reply = ask(path, b"{}" if method != "GET" else None, method=method)

    assert_problem(reply, 405, 100)
    assert reply.headers["allow"] == allow


@pytest.mark.parametrize("path", ["/", "/nowhere", "/score", "/score/", "/score/quay/1", "/status/"])
def test_paths_that_are_not_ours(installation, ask, path):
    """404; only what asks for a use case is on record."""
    assert_problem(ask(path, b"{}"), 404, 100)
    assert installation.captured() == []


def test_labels_are_on_record(installation, ask):
    """202 with their number; ids that nobody has asked for are taken, too."""
    labels = [{"id": "a", "class": "late"}, {"id": "b", "class": "on time", "known_at": "2013-03-01T02:00:00Z"}]

    reply = ask("/labels/quay", {"labels": labels})

    assert (reply.status_code, reply.json()["accepted"]) == (202, 2)
    assert [(record["id"], record["class"]) for record in installation.captured("label")] == [
        ("a", "late"),
        ("b", "on time"),
    ]


def test_one_bad_label_refuses_all(installation, ask):
    """Nothing of them is on record."""
    reply = ask("/labels/quay", {"labels": [{"id": "a", "class": "late"}, {"id": "b", "class": "never"}]})

    problem = assert_problem(reply, 422, 203)
    assert "labels.1: class must be one of late, on time; got 'never'" in problem["detail"]
    assert installation.captured("label") == []


@pytest.mark.parametrize("fault", ["table dropped", "file locked", "folder away"])
@pytest.mark.parametrize("kind", ["score", "labels", "refusal"])
def test_what_cannot_be_recorded_is_not_answered(installation, ask, quay, row_of, monkeypatch, fault, kind):
    """503 with code 501: for answers, for labels, and for refusals as well."""
    monkeypatch.setattr("ml.serving.capture.PATIENCE_SECONDS", 0.05)
    installation.release("quay", version=1, weight=0.1)
    body = {"labels": [{"id": "a", "class": "late"}]} if kind == "labels" else {"rows": [row_of(quay)]}
    path, content = ("/labels" if kind == "labels" else "/score") + "/quay", b"{" if kind == "refusal" else body

    with contextlib.closing(sqlite3.connect(installation.outbox, isolation_level=None)) as saboteur:
        if fault == "table dropped":
            saboteur.execute("DROP TABLE captured")
        elif fault == "file locked":
            saboteur.execute("BEGIN EXCLUSIVE")
        else:
            installation.outbox.parent.rename(installation.outbox.parent.with_name("away"))
        reply = ask(path, content)

    problem = assert_problem(reply, 503, 501)
    assert "predictions" not in problem
    assert int(reply.headers["retry-after"]) >= 1


def test_fault_of_our_own_is_a_500_and_on_record(installation, ask, quay, row_of, monkeypatch):
    """Code 301; the client learns nothing of our inside, and the request is not lost."""
    installation.release("quay", version=1, weight=0.1)
    monkeypatch.setattr(tick, "score_batch", lambda *_: {}["secret"])

    problem = assert_problem(ask("/score/quay", {"rows": [row_of(quay)]}), 500, 301)

    assert problem["detail"] == "internal error"
    assert [record["code"] for record in installation.captured()] == [301]


def test_status_live_and_ready(installation, ask):
    """A replica that waits for its first release is ready; one whose only release is faulty is not."""
    assert ask("/health/live").json() == {"live": True}
    assert ask("/health/ready").status_code == 200

    manifest = installation.release("quay", version=3, weight=0.1)
    (installation.artifact(manifest) / "model.onnx").write_bytes(b"")
    reply, status = ask("/health/ready"), ask("/status").json()

    assert (reply.status_code, reply.json()) == (503, {"ready": False, "without_a_model": ["quay"]})
    assert status["replica"] == "replica-0"
    assert {entry["use_case"]: (entry["state"], entry["code"]) for entry in status["use_cases"]} == {
        "harbour_weather": ("waiting", None),
        "quay": ("degraded", 102),
    }


def test_metrics_count_what_happened(installation, ask, quay, row_of):
    """Replies by status, rows by code, the version in service and the backlog."""
    installation.release("quay", version=4, weight=0.1)
    ask("/score/quay", {"rows": [row_of(quay)] * 3})
    ask("/score/quay", {"rows": [row_of(quay) | {"depth": 101}]})
    ask("/score/elsewhere", b"{}")

    lines = ask("/metrics").text.splitlines()

    for line in (
        'perennial_replies_total{use_case="quay",status="200"} 1',
        'perennial_replies_total{use_case="quay",status="422"} 1',
        'perennial_replies_total{use_case="",status="404"} 1',
        'perennial_rows_total{use_case="quay",code="0"} 3',
        'perennial_rows_total{use_case="quay",code="202"} 1',
        'perennial_model_version{use_case="quay"} 4',
        "perennial_outbox_rows 5",
    ):
        assert line in lines


def test_descriptions_are_served(ask):
    """For machines and for people."""
    assert ask("/openapi.json").json()["openapi"] == "3.1.0"
    assert ask("/docs").headers["content-type"].startswith("text/html")
