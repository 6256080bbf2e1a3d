"""Columns of the lake's tables, derived from the use case file."""

from __future__ import annotations

import pyarrow as pa

from ml.use_case import UseCase

TIME = pa.timestamp("us", tz="UTC")

#: Where a row came from: the outbox and its position there; unique per table.
_ORIGIN = [("outbox", pa.string()), ("seq", pa.int64())]

_REQUEST = [
    ("id", pa.string()),
    ("event_time", TIME),
    ("received_at", TIME),
    ("request_id", pa.string()),
    ("model_version", pa.int64()),
    ("code", pa.int32()),
    ("detail", pa.string()),
    ("predicted", pa.string()),
    ("probabilities", pa.list_(pa.float64())),
    ("raw", pa.string()),
    ("degraded_code", pa.int32()),
    ("asked_rows", pa.int32()),
    ("asked_place", pa.int32()),
    *_ORIGIN,
    ("event_month", pa.string()),
]

LABELS = pa.schema(
    [
        ("id", pa.string()),
        ("label", pa.string()),
        ("known_at", TIME),
        ("received_at", TIME),
        ("request_id", pa.string()),
        ("source", pa.string()),
        ("override_by", pa.string()),
        ("override_reason", pa.string()),
        *_ORIGIN,
        ("known_month", pa.string()),
    ]
)

#: What was not understood, by the ingest or by the assembly of training data, with the reason.
QUARANTINE = pa.schema(
    [
        ("key", pa.string()),
        ("reason", pa.string()),
        ("content", pa.string()),
        ("received_at", TIME),
        *_ORIGIN,
    ]
)


def requests_schema(use_case: UseCase) -> pa.Schema:
    """Columns of the ``requests`` table: the answer, where it came from, and one column per feature.

    Numbers and booleans are float64 with null for missing, categories are text.
    """
    features = [
        (name, pa.string() if feature.type == "category" else pa.float64())
        for name, feature in use_case.features.items()
    ]
    return pa.schema([*_REQUEST, *features])
