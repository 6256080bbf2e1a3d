"""A replica tells of itself: every refused row is accounted for, with request and detail of the first few."""

from __future__ import annotations

import signal
import time
from collections import Counter
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from ml.serving.metrics import Metrics
from ml.serving.telemetry import SAMPLES, Sample, TelemetryWriter, tell_refusals
from ml.store.telemetry import Need
from tests.serving.exposition import read_exposition


def test_refused_rows_are_told_within_seconds_with_request_and_detail(service, installation, row_of, collect):
    """Missing, out of bounds and unknown, each with its code; the counts sum up to the rows."""
    installation.release("quay", version=1, weight=0.1)
    service.start()
    good = row_of(installation.use_cases["quay"])
    bad = [good | {"load": None}, good | {"depth": 1e6}, good | {"depth": 1e6}]

    with service.client() as client:
        reply = client.post("/score/quay", json={"rows": [good, *bad]}).json()
        for _ in range(30):
            client.post("/score/quay", json={"rows": [bad[0]]})
    events = collect(lambda found: sum(event.count for event in found) >= 33)

    counts = Counter()
    for event in events:
        counts[event.code, event.name] += event.count
    assert counts == {(201, "value_not_found"): 31, (202, "value_out_of_bounds"): 2}
    (first, second) = [event for event in events if event.code == 202]
    assert first.request_id == second.request_id == reply["request_id"]
    assert "depth" in first.message
    assert (first.use_case, first.source, first.model_version) == ("quay", "replica-0", 1)


def test_a_refused_release_is_told_once(service, installation, collect):
    """With the code of what is wrong, however often the replica tries again."""
    manifest = installation.release("quay", version=1, weight=0.1)
    (installation.artifact(manifest) / "model.onnx").write_bytes(b"damaged")
    service.start()

    events = collect(bool)

    assert [(event.name, event.code, event.use_case) for event in events] == [("release_refused", 102, "quay")]


def test_what_each_request_meets_is_logged_once_a_period_with_its_number(service, installation, row_of, collect):
    """Two hundred answers that cannot be recorded: the first at once, the others as one line and one event."""
    installation.release("quay", version=1, weight=0.1)
    service.start()
    for file in installation.outbox.parent.glob("replica-0.sqlite*"):
        file.unlink()
    installation.outbox.mkdir()

    body = {"rows": [row_of(installation.use_cases["quay"])]}

    with service.client() as client:
        for _ in range(200):
            assert client.post("/score/quay", json=body).status_code == 503
    service.end()
    events = collect(lambda found: sum(event.count for event in found) >= 200)

    assert sum(event.count for event in events) == 200
    assert {(event.name, event.code, event.use_case) for event in events} == {("capture_failed", 501, "quay")}
    assert all(event.request_id for event in events)
    assert len(events) <= 4  # at once, one for each ten seconds, and what was left at the end


def test_rollups_hold_what_was_asked_and_what_it_took(service, installation, row_of, collect):
    """Requests by status, rows by code, a histogram of seconds, and the state of the process; the last at its end."""
    installation.release("quay", version=1, weight=0.1)
    service.start()
    good = row_of(installation.use_cases["quay"])
    with service.client() as client:
        for _ in range(5):
            client.post("/score/quay", json={"rows": [good]})
        client.post("/score/quay", json={"rows": [good | {"load": None}]})
        metrics = client.get("/metrics").text
    service.end()
    collect(bool)

    from datetime import UTC, datetime, timedelta

    now = datetime.now(UTC)
    rows = collect.telemetry.read_rollups([Need(now - timedelta(minutes=5))], until=now)
    total = Counter()
    for row in rows:
        total[row.name, row.use_case, row.label] += row.n
    assert total["requests", "quay", "200"] == 5
    assert total["requests", "quay", "422"] == 1
    assert (total["rows", "quay", "0"], total["rows", "quay", "201"]) == (5, 1)
    assert total["reply_seconds", None, ""] >= 6
    gauges = {"cpu_share", "memory_mb", "open_files", "disk_free_share", "outbox_rows", "queue_depth"}
    assert gauges <= {row.name for row in rows}
    assert max(row.high for row in rows if row.name == "queue_depth") >= 1
    found = read_exposition(metrics)
    assert found["perennial_telemetry_lost_total", ()] == 0
    assert found["perennial_rows_total", (("code", "201"), ("use_case", "quay"))] == 1
    assert found["process_resident_memory_bytes", ()] > 2**20
    assert {name for name, _ in found} >= {
        "perennial_exceptions_total",
        "perennial_queue_depth",
        "perennial_outbox_rows",
        "process_cpu_seconds_total",
        "process_open_fds",
        "perennial_disk_free_ratio",
    }


def test_a_spool_that_cannot_be_written_harms_no_answer_and_is_counted(service, installation, row_of):
    """The service answers on; the loss is in its metrics."""
    installation.release("quay", version=1, weight=0.1)
    installation.settings.telemetry.parent.mkdir(exist_ok=True)
    installation.settings.telemetry.write_text("a file stands in the folder's place")
    service.start()
    row = row_of(installation.use_cases["quay"])

    with service.client() as client:
        assert client.post("/score/quay", json={"rows": [row]}).status_code == 200
        client.post("/score/quay", json={"rows": [row | {"load": None}] * 50})
        until = time.monotonic() + 20
        while "perennial_telemetry_lost_total 0" in client.get("/metrics").text:
            assert time.monotonic() < until
            time.sleep(0.1)
        assert "perennial_telemetry_lost_total" in client.get("/metrics").text


refusals = st.dictionaries(st.tuples(st.sampled_from(["a", "b", ""]), st.sampled_from([201, 202, 401])), st.integers(1))
samples = st.lists(
    st.builds(Sample, st.sampled_from(["a", "b", ""]), st.sampled_from([201, 202]), st.text(), st.none(), st.text()),
    max_size=60,
)


@given(refusals, samples)
def test_counts_of_events_are_the_refused_rows(refused, known):
    """Whatever was found in the outbox: exactly so many, by use case and code, and no more than a few each."""
    events = tell_refusals(refused, known, source="r", now=0.0)

    told, pieces = Counter(), Counter()
    for event in events:
        told[event.use_case or "", event.code] += event.count
        pieces[event.use_case or "", event.code] += 1
    assert told == refused
    assert max(pieces.values(), default=0) <= SAMPLES + 1


def test_what_was_counted_before_is_not_told_again(tmp_path: Path):
    """A writer tells only what is new since it began."""
    metrics = Metrics()
    metrics.count_rows("quay", 201, 3)
    writer = TelemetryWriter("r", metrics, outbox=tmp_path / "o.sqlite", spool=tmp_path / "s.sqlite")
    assert writer._events(1.0) == []

    metrics.count_rows("quay", 201, 2)

    assert [(event.code, event.count) for event in writer._events(2.0)] == [(201, 2)]
    assert writer._events(3.0) == []


def test_a_killed_replica_is_told_of_by_its_successor(service, installation, collect):
    """By the heartbeat that it left; one that ends in order takes its own away, and nothing is told."""
    beat = installation.settings.outbox / "replica-0.heartbeat.json"

    def start() -> None:
        service.start()
        until = time.monotonic() + 20
        while not beat.exists():
            assert time.monotonic() < until
            time.sleep(0.02)

    start()
    service.end()
    start()
    service.end(signal.SIGKILL)
    pid = service.process.pid
    start()

    (event,) = list(collect(lambda found: any(e.name == "replica_died" for e in found)))
    assert (event.source, event.severity) == ("replica-0", "error")
    assert str(pid) in event.message
