"""What Prometheus reads is what was counted."""

import math

from ml.serving.metrics import Metrics
from tests.serving.exposition import read_exposition


def test_counters_and_histogram_by_hand():
    """Three replies of 0.5, 3 and 2,000 ms; two rows answered, one refused."""
    metrics = Metrics()
    for status, seconds in ((200, 0.0005), (200, 0.003), (422, 2.0)):
        metrics.count_reply("quay", status, seconds)
    metrics.count_rows("quay", 0, 2)
    metrics.count_rows("quay", 202)

    lines = metrics.render({"model_version": {"quay": 3}}, {"outbox_rows": float("nan")}).splitlines()

    for expected in (
        'perennial_replies_total{use_case="quay",status="200"} 2',
        'perennial_replies_total{use_case="quay",status="422"} 1',
        'perennial_rows_total{use_case="quay",code="0"} 2',
        'perennial_rows_total{use_case="quay",code="202"} 1',
        'perennial_reply_seconds_bucket{le="0.001"} 1',
        'perennial_reply_seconds_bucket{le="0.005"} 2',
        'perennial_reply_seconds_bucket{le="1"} 2',
        'perennial_reply_seconds_bucket{le="+Inf"} 3',
        "perennial_reply_seconds_sum 2.003500",
        "perennial_reply_seconds_count 3",
        "# TYPE model_version gauge",
        'model_version{use_case="quay"} 3',
        "outbox_rows NaN",
    ):
        assert expected in lines


def test_all_of_it_is_sound_for_prometheus():
    """Types, names, labels, buckets, and what is not known; with everything that a replica tells of itself."""
    metrics = Metrics()
    for number in range(200):
        metrics.count_reply(("quay", "")[number % 2], (200, 422, 503)[number % 3], number / 100)
        metrics.count_rows("quay", (0, 201, 501)[number % 3], number)
    metrics.count_lost("quay", 2)
    metrics.measured = {"cpu_seconds": 1.5, "memory_bytes": 2e8, "open_files": 9, "disk_free_share": 0.25}
    metrics.exceptions, metrics.telemetry_lost, metrics.depth = 3, 4, lambda: 5

    found = read_exposition(metrics.render({"perennial_model_version": {"quay": 3}}, {"outbox_rows": float("nan")}))

    told = {name: value for (name, labels), value in found.items() if not labels}
    assert math.isnan(told.pop("outbox_rows"))
    assert told == {
        "perennial_reply_seconds_sum": 199.0,
        "perennial_reply_seconds_count": 200,
        "perennial_telemetry_lost_total": 4,
        "perennial_exceptions_total": 3,
        "perennial_queue_depth": 5,
        "process_cpu_seconds_total": 1.5,
        "process_resident_memory_bytes": 2e8,
        "process_open_fds": 9,
        "perennial_disk_free_ratio": 0.25,
    }


def test_the_longest_queue_is_told_once():
    """The longest since somebody asked, or what waits now."""
    metrics, waiting = Metrics(), [0]
    metrics.depth = lambda: waiting[-1]

    for depth in (2, 7, 1):
        waiting.append(depth)
        metrics.note_depth()

    assert (metrics.take_deepest(), metrics.take_deepest()) == (7, 1)
