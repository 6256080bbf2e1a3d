"""Clients that are slow, endless or malformed, over real sockets: they are left, and others are served meanwhile."""

import contextlib
import json
import signal
import socket
import threading
import time

import httpx
import psutil
import pytest

#: Limits of the process under test, short enough to be waited for.
QUICK = """
import sys
import ml.serving.connection as connection
import ml.serving.http as http
connection.MAX_CONNECTIONS = 20
connection.SWEEP_SECONDS = 0.05
connection._LIMITS.update({connection.IDLE: 2.0, connection.HEAD: 0.4, connection.BODY: 0.4})
connection.WRITE_SECONDS = 0.4
http.BODY_SECONDS = 0.4
from ml.serving.__main__ import main
sys.exit(main(sys.argv[1:]))
"""


@pytest.fixture
def quick(installation, service):
    """The service with a released model and short limits."""
    installation.release("quay", version=1, weight=0.1)
    service.start(program=QUICK)
    return service


def connect(service) -> socket.socket:
    """Bare connection to the service."""
    return socket.create_connection(("127.0.0.1", service.installation.settings.scoring_port), timeout=10)


def heard(client: socket.socket) -> bytes:
    """Everything that the service says until it closes; the end may come as a reset."""
    told = b""
    try:
        while part := client.recv(65536):
            told += part
    except ConnectionResetError:
        pass
    return told


def score(service, quay, row_of, **options) -> httpx.Response:
    """An honest client's request over a connection of its own."""
    with service.client() as client:
        return client.post("/score/quay", json={"rows": [row_of(quay)]}, **options)


def head(length: int, *more: str) -> bytes:
    """Head of a scoring request."""
    lines = ["POST /score/quay HTTP/1.1", "host: x", f"content-length: {length}", *more]
    return ("\r\n".join(lines) + "\r\n\r\n").encode()


@pytest.mark.parametrize(
    ("sent", "status"),
    [
        (b"POST /score/quay HT", 408),
        (b"POST /score/quay HTTP/1.1\r\nhost: x\r\nx-slow: ", 408),
        (head(100) + b'{"rows"', 408),
        (head(100_000) + b'{"rows"', 408),
        (b"POST /score/quay HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n5\r\n{", 408),
    ],
    ids=["request line", "header", "short body", "long body", "chunk"],
)
def test_a_client_that_stops_is_told_and_left(quick, sent, status):
    """Wherever in its request it stops."""
    started = time.monotonic()
    with connect(quick) as client:
        client.sendall(sent)
        told = heard(client)

    assert told.startswith(f"HTTP/1.1 {status}".encode()), told
    assert json.loads(told.partition(b"\r\n\r\n")[2])["code"] == 100
    assert time.monotonic() - started < 5


def test_a_drip_of_bytes_does_not_prolong_the_limit(quick):
    """One byte every 50 ms: the time counts from the request's first byte."""
    started = time.monotonic()
    with connect(quick) as client:
        client.sendall(b"GET / HTTP/1.1\r\nx: ")
        client.settimeout(0.05)
        told = b""
        while time.monotonic() - started < 5 and not told:
            try:
                client.sendall(b"a")
                told = client.recv(65536)
            except TimeoutError:
                continue
            except OSError:
                break

    assert time.monotonic() - started < 3


def test_idle_connections_are_closed_without_a_word(quick):
    """Two seconds here."""
    with connect(quick) as client:
        started = time.monotonic()
        assert heard(client) == b""
        assert 1 < time.monotonic() - started < 6


def test_hundreds_of_slow_clients_stall_nobody(quick, quay, row_of):
    """More than there are places: the slowest make room, every honest request is answered, and fast."""
    stop, crowd = threading.Event(), []

    def press() -> None:
        while not stop.is_set():
            try:
                client = connect(quick)
                client.sendall(b"POST /score/quay HTTP/1.1\r\nhost: x\r\nx-slow: ")
                crowd.append(client)
            except OSError:
                continue
            time.sleep(0.002)

    presses = [threading.Thread(target=press) for _ in range(2)]
    for thread in presses:
        thread.start()
    try:
        times = []
        for _ in range(40):
            started = time.monotonic()
            assert score(quick, quay, row_of).status_code == 200
            times.append(time.monotonic() - started)
    finally:
        stop.set()
        for thread in presses:
            thread.join()
        for client in crowd:
            client.close()

    assert len(crowd) > 20
    assert sorted(times)[len(times) // 2] < 0.5


@pytest.mark.parametrize(
    "sent",
    [
        b"GET /" + b"a" * 40_000 + b" HTTP/1.1\r\nhost: x\r\n\r\n",
        b"GET / HTTP/1.1\r\nx: " + b"a" * 40_000 + b"\r\n\r\n",
        b"GET / HTTP/1.1\r\n" + b"".join(b"x-%d: y\r\n" % i for i in range(9_000)),
        b"GET /" + b"a" * 40_000,
    ],
    ids=["path", "header", "many headers", "endless"],
)
def test_a_huge_head_is_431(quick, sent):
    """32 KiB are enough for a request line and headers."""
    with connect(quick) as client:
        client.sendall(sent)
        told = heard(client)

    assert told.startswith(b"HTTP/1.1 431 "), told[:200]


@pytest.mark.parametrize("sent", [b"\x16\x03\x01\x02\x00\x01", b"hello\r\n\r\n", head(5) * 0 + b"GET  HTTP/9\r\n\r\n"])
def test_what_is_not_http_is_400(quick, sent):
    """Such as the beginning of a TLS connection."""
    with connect(quick) as client:
        client.sendall(sent)
        assert heard(client).startswith(b"HTTP/1.1 400 ")


@pytest.mark.parametrize("value", ["-1", "1e3", "0x10", "99999999999999999999"])
def test_a_length_that_is_none_is_refused(quick, value):
    """And nothing is recorded for it or served from its rest."""
    with connect(quick) as client:
        client.sendall(b"POST /score/quay HTTP/1.1\r\nhost: x\r\ncontent-length: " + value.encode() + b"\r\n\r\n{}")
        assert heard(client).split()[1] in {b"400", b"413"}


def test_both_lengths_at_once_are_refused(quick):
    """Content-Length beside Transfer-Encoding is how requests are smuggled."""
    with connect(quick) as client:
        client.sendall(head(2, "transfer-encoding: chunked") + b"0\r\n\r\n")
        assert heard(client).startswith(b"HTTP/1.1 400 ")


def test_deep_json_is_a_problem_and_the_service_lives(quick, quay, row_of):
    """Thousands of brackets: small, large enough for a thread, and too large for the short way."""
    with quick.client() as client:
        for depth in (3_000, 10_000, 800_000):
            for body in (b"[" * depth, b'{"rows": ' * depth, b'{"data": [[' + b"[" * depth + b"]" * depth + b"]]}"):
                assert client.post("/score/quay", content=body).status_code in {400, 422}
    assert score(quick, quay, row_of).status_code == 200


def test_requests_in_one_packet_are_answered_in_order(quick, quay, row_of):
    """Pipelining: short ones, a page, and a refusal between them."""
    body = json.dumps({"rows": [row_of(quay)]}).encode()
    page = b"GET /health/live HTTP/1.1\r\nhost: x\r\n\r\n"
    with connect(quick) as client:
        client.sendall(
            (head(len(body)) + body) * 3 + page + head(1) + b"{" + head(len(body), "connection: close") + body
        )
        told = heard(client)

    statuses = [part.split()[0] for part in told.split(b"HTTP/1.1 ")[1:]]
    assert statuses == [b"200", b"200", b"200", b"200", b"400", b"200"]


def test_a_client_that_does_not_read_is_left(quick, quay, row_of):
    """It sends and sends; its answers pile up until the service lets its connection go, and others are served.

    Only the service's own sockets tell: a kernel that drops what does not fit into a full receive buffer drops the
    news of the end with it, so that the client may hear nothing for minutes.
    """
    body = json.dumps({"rows": [row_of(quay)] * 50}).encode()
    with connect(quick) as client:
        client.sendall(head(len(body)) + body)
        assert client.recv(65536).startswith(b"HTTP/1.1 200 ")
        assert held(quick, client)
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        client.settimeout(0.1)
        deadline = time.monotonic() + 30
        while held(quick, client) and time.monotonic() < deadline:
            with contextlib.suppress(OSError):
                client.sendall((head(len(body)) + body) * 20)  # a look takes as long as many answers
        assert not held(quick, client)
    assert score(quick, quay, row_of).status_code == 200


def held(service, client: socket.socket) -> bool:
    """Whether the service still has a socket for the client."""
    sockets = psutil.Process(service.process.pid).net_connections()
    return any(one.raddr and one.raddr.port == client.getsockname()[1] for one in sockets)


def test_requests_ahead_of_their_turn_are_left_with_the_client(quick):
    """A hundred thousand at once by one who reads: those that wait for others wait in the network, not in memory."""
    page = b"GET /health/live HTTP/1.1\r\nhost: x\r\n\r\n"
    with quick.client() as honest:
        honest.get("/health/live")
    process = psutil.Process(quick.process.pid)
    before, peak = process.memory_info().rss, 0
    with connect(quick) as client:
        sender = threading.Thread(
            target=client.sendall, args=(page * 99_999 + page[:-2] + b"connection: close\r\n\r\n",)
        )
        sender.start()
        answers, rest = 0, b""
        while part := client.recv(1 << 20):
            answers += (rest + part).count(b"HTTP/1.1 200 OK")
            rest = part[-14:]
            peak = max(peak, process.memory_info().rss)
        sender.join()

    assert answers == 100_000
    assert peak - before < 32e6


def test_a_body_in_pieces_is_read(quick, quay, row_of):
    """Byte by byte, chunked, and after an expected 100 Continue."""
    body = json.dumps({"rows": [row_of(quay)]}).encode()
    pieces = [(head(len(body)) + body)[i : i + 1] for i in range(len(head(len(body)) + body))]
    with connect(quick) as client:
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for piece in pieces:
            client.sendall(piece)
        assert client.recv(65536).startswith(b"HTTP/1.1 200 ")
        client.sendall(head(len(body), "expect: 100-continue"))
        assert client.recv(65536).startswith(b"HTTP/1.1 100 ")
        client.sendall(body)
        assert client.recv(65536).startswith(b"HTTP/1.1 200 ")
    with quick.client() as client:
        assert client.post("/score/quay", content=iter([body[:9], body[9:]])).status_code == 200


def test_asked_to_stop_it_answers_what_is_in_flight_and_refuses_the_rest(installation, service, quay, row_of):
    """A large request that is being scored at SIGTERM is answered; who connects afterwards is refused."""
    installation.release("quay", version=1, weight=0.1)
    service.start()
    body = json.dumps({"rows": [row_of(quay)] * 10_000}).encode()
    with connect(service) as client, connect(service) as idle:
        client.sendall(head(len(body)) + body[:-1])
        time.sleep(0.3)
        service.process.send_signal(signal.SIGTERM)
        time.sleep(0.3)
        with pytest.raises(OSError, match="refused"):
            connect(service)
        assert idle.recv(1) == b""
        client.sendall(body[-1:])
        told = heard(client)

    assert told.startswith(b"HTTP/1.1 200 ")
    assert b"connection: close" in told.partition(b"\r\n\r\n")[0]
    assert service.process.wait(20) == 0
    assert len(installation.captured()) == 10_000


@pytest.mark.parametrize("rest", [b"", b"{", b"GET /v2 HTTP/1.1\r\nhost: x\r\n\r\n{"], ids=["end", "garbage", "more"])
def test_an_answer_that_has_nowhere_to_go_leaves_no_trace_in_the_log(quick, quay, row_of, rest):
    """The connection ends while a request is answered, because of what comes behind it: that is no error of ours."""
    chunked = b"POST /score/quay HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n"
    for _ in range(10):
        with connect(quick) as client:
            client.sendall(chunked + rest)
            client.shutdown(socket.SHUT_WR)
            heard(client)

    assert score(quick, quay, row_of).status_code == 200
    assert "Traceback" not in quick.log()
