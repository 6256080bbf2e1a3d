"""Recorded rows become live traffic: each asked once, its truth as late as in life, every outcome counted."""

import json
import threading
import time
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pandas as pd
import pytest

from ml.errors import ServiceAway
from ml.simulation.replay import Client, SteadyTraffic, replay
from ml.use_case import load

USE_CASE = load(Path(__file__).parents[2] / "use_cases" / "harbour_weather.yaml")
START = datetime(2013, 3, 1, tzinfo=UTC)


class Recorder(BaseHTTPRequestHandler):
    """A scoring service that answers by script and remembers what it was sent."""

    protocol_version = "HTTP/1.1"
    seen: list[tuple[str, dict]]
    script: dict[str, tuple[int, dict]]

    def do_POST(self) -> None:
        """Answer by the script, else as a good service does."""
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.seen.append((self.path, body))
        if self.path.startswith("/labels"):
            status, content = self.script.get("labels", (202, {"accepted": len(body["labels"])}))
        else:
            good = {
                "predictions": [{"id": body["ids"][0], "class": "Rain", "probabilities": [0.25, 0.75]}],
                "model": {"version": 3},
            }
            status, content = self.script.get(body["ids"][0], (200, good))
        reply = json.dumps(content).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(reply)))
        self.end_headers()
        self.wfile.write(reply)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture
def service():
    """Class of the running service's handler, with what it has seen and its address."""
    handler = type("Handler", (Recorder,), {"seen": [], "script": {}})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    handler.url = f"http://127.0.0.1:{server.server_port}"
    yield handler
    server.shutdown()
    thread.join()
    server.server_close()


def hourly(hours: int) -> pd.DataFrame:
    """Two stations for so many hours; every third pressure is missing."""
    rows = [
        {
            "id": f"{station}|{hour}",
            "event_time": START + timedelta(hours=hour),
            "label": "Rain" if hour % 2 else "No Rain",
            **dict.fromkeys(USE_CASE.features, 1.0),
            "Pressure_millibars": float("nan") if hour % 3 == 0 else 1010.0,
        }
        for hour in range(hours)
        for station in ("EWR", "JFK")
    ]
    return pd.DataFrame(rows)


def send(service, stream: pd.DataFrame) -> Client:
    """Replay a stream to the service; returns the client with its tally."""
    with Client(service.url, USE_CASE) as client:
        replay(client, stream, USE_CASE, advance=lambda _: None)
    return client


def test_every_row_is_asked_once_in_order_of_event_time(service):
    """Shuffled input leaves as a stream ordered by time."""
    send(service, hourly(6).sample(frac=1, random_state=3))

    asked = [body["ids"][0] for path, body in service.seen if path.startswith("/score")]
    assert asked == [f"{station}|{hour}" for hour in range(6) for station in ("EWR", "JFK")]


def test_a_label_is_never_sent_before_it_was_known(service):
    """With a maturity of one hour, the label of t is sent only after the traffic has reached t + 1 h, or its end."""
    send(service, hourly(6))

    now = START
    known = []
    scored = 0
    for path, body in service.seen:
        if path.startswith("/score"):
            scored += 1
            now = datetime.fromisoformat(body["event_times"][0])
        else:
            reached = now + timedelta(hours=1)
            assert all(datetime.fromisoformat(label["known_at"]) <= reached for label in body["labels"])
            known += [label["id"] for label in body["labels"]]
    assert scored == 12
    assert sorted(known) == sorted(hourly(6)["id"])


def test_missing_values_and_booleans_travel_as_json_means_them(service):
    """NaN becomes null, a boolean feature true or false."""
    send(service, hourly(1))

    row = service.seen[0][1]["rows"][0]
    assert row["Pressure_millibars"] is None
    assert row["Current_weather_condition"] is True


def test_refusals_by_policy_are_not_failures(service):
    """A row refused as out of bounds is counted apart from a service that broke."""
    service.script["EWR|1"] = (422, {"code": 202})
    service.script["JFK|1"] = (500, {"code": 401})

    tally = send(service, hourly(3)).tally

    assert (tally.requests, tally.refused, tally.failed) == (6, 1, 1)
    assert set(tally.answers) == {"EWR|0", "JFK|0", "EWR|2", "JFK|2"}
    assert tally.answers["EWR|0"] == (3, {"No Rain": 0.25, "Rain": 0.75})
    assert "JFK|1" in tally.failures[0]


def test_a_service_that_is_away_fails_every_request_and_refuses_labels(service):
    """Connection errors are tallied for rows; labels, which must not be lost, raise."""
    with Client("http://127.0.0.1:9", USE_CASE) as client, pytest.raises(ServiceAway, match="labels"):
        replay(client, hourly(2), USE_CASE, advance=lambda _: None)

    assert client.tally.failed == 2 + 0  # the first hour's two rows; the second hour begins with labels


def test_steady_traffic_asks_the_same_rows_again_until_it_is_stopped(service):
    """Known ids only, and the first answer to each stays the one that counts."""
    stream = hourly(2)
    with Client(service.url, USE_CASE) as client:
        with SteadyTraffic(client, stream, USE_CASE, per_second=400):
            deadline = time.monotonic() + 10
            while client.tally.requests < 9 and time.monotonic() < deadline:
                time.sleep(0.01)
        asked = client.tally.requests

    assert asked >= 9
    assert {body["ids"][0] for _, body in service.seen} == set(stream["id"])
    assert len(service.seen) == asked
