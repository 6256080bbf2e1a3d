"""What replicas say, asked over real HTTP on the loopback device."""

import json
import threading
import time
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from ml.errors import ServiceAway
from ml.records.release import ReleaseManifest, ReplicaStatus
from ml.registry.replicas import await_release, read_status

MANIFEST = ReleaseManifest(
    use_case="weather",
    sequence=4,
    model_name="weather",
    model_version=2,
    digest="d" * 64,
    package_digest="p" * 64,
    artifact="artifacts/x",
    released_at=datetime(2026, 1, 1, tzinfo=UTC),
    previous=1,
    reason="better",
)


def say(**changes: object) -> dict:
    """Status of a replica that serves release 4, changed."""
    status = {
        "use_case": "weather",
        "state": "serving",
        "model_version": 2,
        "digest": "d" * 64,
        "sequence": 4,
        "wanted_sequence": 4,
    }
    return ReplicaStatus.model_validate(status | changes).model_dump(mode="json")


def body(*statuses: dict) -> bytes:
    """Body of ``GET /status``."""
    return json.dumps({"replica": "one", "pid": 1, "use_cases": list(statuses)}).encode()


@pytest.fixture
def replica():
    """A server that answers by script, the last answer for ever; ``asked`` are the paths."""

    class Handler(BaseHTTPRequestHandler):
        script: list[tuple[int, bytes]]
        asked: list[str]

        def do_GET(self) -> None:
            self.asked.append(self.path)
            status, content = self.script.pop(0) if len(self.script) > 1 else self.script[0]
            self.send_response(status)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    handler = type("Replica", (Handler,), {"script": [], "asked": []})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    handler.url = f"http://127.0.0.1:{server.server_port}"
    yield handler
    server.shutdown()
    thread.join()
    server.server_close()


def test_status_of_the_use_case_is_found_among_others(replica):
    """The replica speaks of all use cases; ours is picked by name, an unknown one is None."""
    replica.script = [(200, body(say(use_case="other"), say(model_version=9)))]

    assert read_status(f"{replica.url}/", "weather").model_version == 9
    assert read_status(replica.url, "nobody") is None
    assert replica.asked == ["/status", "/status"]


@pytest.mark.parametrize(
    "answer",
    [
        (500, b""),
        (404, b"not here"),
        (200, b""),
        (200, b"<html>"),
        (200, b"[]"),
        (200, b"{}"),
        (200, b'{"use_cases": 1}'),
        (200, b'{"use_cases": [{"use_case": "weather", "state": "fine"}]}'),
        (200, b"\xff\xfe"),
    ],
)
def test_what_is_no_replica_is_away(replica, answer):
    """Errors, other pages and other shapes are no answer of a replica; the error names the address."""
    replica.script = [answer]

    with pytest.raises(ServiceAway, match=f"{replica.url}/status") as raised:
        read_status(replica.url, "weather")
    assert raised.value.exit_code == 3


def test_served_release_is_confirmed(replica):
    """The same sequence and the same digest: confirmed at the first question."""
    replica.script = [(200, body(say()))]

    confirmation = await_release(replica.url, MANIFEST, timeout=5)

    assert confirmation.confirmed
    assert "version 2, release 4" in confirmation.reason
    assert len(replica.asked) == 1


def test_slow_replica_is_waited_for(replica):
    """Away, then still on the old release, then serving: confirmed within the time."""
    old = say(sequence=3, model_version=1, digest="e" * 64)
    replica.script = [(503, b""), (200, body()), (200, body(old)), (200, body(say()))]

    assert await_release(replica.url, MANIFEST, timeout=10).confirmed
    assert len(replica.asked) == 4


def test_other_bytes_under_the_same_sequence_are_not_confirmed(replica):
    """Sequence alone proves nothing: the digest must be the manifest's."""
    replica.script = [(200, body(say(digest="e" * 64)))]

    confirmation = await_release(replica.url, MANIFEST, timeout=0.5)

    assert not confirmation.confirmed
    assert "not confirmed within 0.5 s" in confirmation.reason


def test_refusal_is_an_answer_at_once(replica):
    """A degraded replica does not get better by waiting: its code and problem are the reason."""
    refusal = say(state="degraded", sequence=3, wanted_sequence=4, code=601, problem="golden row 3 differs")
    replica.script = [(200, body(refusal))]
    started = time.monotonic()

    confirmation = await_release(replica.url, MANIFEST, timeout=30)

    assert time.monotonic() - started < 5
    assert not confirmation.confirmed
    assert "code 601, golden row 3 differs" in confirmation.reason


def test_old_refusal_says_nothing_about_this_release(replica):
    """Degraded for the release before ours: the replica has not looked yet, so it is waited for."""
    old = say(state="degraded", sequence=2, wanted_sequence=3, code=102, problem="cut")
    replica.script = [(200, body(old)), (200, body(say()))]

    assert await_release(replica.url, MANIFEST, timeout=10).confirmed


def test_newer_release_ends_the_wait(replica):
    """Somebody released after us: ours will never be confirmed."""
    replica.script = [(200, body(say(sequence=5, wanted_sequence=5)))]

    confirmation = await_release(replica.url, MANIFEST, timeout=30)

    assert not confirmation.confirmed
    assert "newer release" in confirmation.reason


def test_silence_ends_when_time_is_over():
    """Nobody listens: not confirmed, with the address in the reason, in about the time that was given."""
    started = time.monotonic()

    confirmation = await_release("http://127.0.0.1:9", MANIFEST, timeout=0.6)

    assert 0.4 < time.monotonic() - started < 3
    assert not confirmation.confirmed
    assert "http://127.0.0.1:9/status" in confirmation.reason


def test_proxies_of_the_environment_are_not_asked(replica, monkeypatch):
    """A proxy for everything in the environment does not come between us and the replica."""
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    monkeypatch.delenv("no_proxy", raising=False)
    replica.script = [(200, body(say()))]

    assert read_status(replica.url, "weather").sequence == 4
