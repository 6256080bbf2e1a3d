"""What Prometheus reads is what was counted."""

import re

from ml.serving.metrics import Metrics

LINE = re.compile(r'[a-z_]+(\{[a-z_]+="[^"]*"(,[a-z_]+="[^"]*")*\})? (NaN|[0-9.e+-]+)')


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
    assert all(
        LINE.fullmatch(line) or re.fullmatch(r"# TYPE [a-z_]+ (counter|histogram|gauge)", line) for line in lines
    )
