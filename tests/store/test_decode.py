"""Captured payloads: typed as the use case file says, or put aside with a reason."""

from __future__ import annotations

import pytest


@pytest.mark.parametrize(
    ("kind", "payload", "reason"),
    [
        ("request", b"", "truncated"),
        ("request", b"\xff\xfe", "malformed"),
        ("request", b"[1, 2]", "Expected `object`"),
        ("request", b'{"id": 5, "event_time": null, "model_version": 1, "code": 0}', "Expected `str`, got `int`"),
        ("request", b'{"id": "a", "event_time": "yesterday", "model_version": 1, "code": 201}', "event_time must be"),
        ("request", b'{"id": "a", "event_time": "0001-01-01T00:00:00+05:00", "model_version": 1, "code": 201}', "even"),
        ("request", b'{"id": "a", "event_time": null, "model_version": 1, "code": 0}', "features must not be null"),
        ("request", b'{"id": "a", "event_time": null, "model_version": 1, "code": 99999999999}', "code must fit"),
        ("request", b'{"id": "\\ud800", "event_time": null, "model_version": null, "code": 201}', "JSON"),
        ("request", b'{"id": "a", "event_time": null, "model_version": 1e999, "code": 201}', "out of range"),
        (
            "request",
            b'{"id": "a", "event_time": null, "model_version": 1, "code": 201, "features": {"a": ' + b"[" * 9000,
            "recursion",
        ),
        ("label", b'{"id": "a"}', "class must be one of"),
        ("label", b'{"id": "a", "class": "rainy"}', "class must be one of"),
        ("label", b'{"id": "a", "class": "late", "known_at": "soon"}', "known_at must be"),
        ("gossip", b"{}", "kind must be request or label"),
    ],
)
def test_what_cannot_be_decoded_is_quarantined_with_its_reason(lake, replica, outboxes, kind, payload, reason):
    """One bad payload neither blocks the rows around it nor gets lost."""
    replica.answer("before")
    replica.capture(kind, payload)
    replica.answer("after")

    report = lake.ingest(outboxes)

    assert (report.requests, report.labels, report.quarantined, replica.left()) == (2, 0, 1, 0)
    found = lake.quarantined().iloc[0]
    assert reason in found["reason"]
    assert found["content"] == payload.decode("utf-8", "backslashreplace")[:10_000]


@pytest.mark.parametrize("wrong", [{"wind speed (km/h)": "strong"}, {"holiday": 10**400}, {"pier": 3}])
def test_an_answer_on_values_of_another_type_is_quarantined(lake, replica, outboxes, wrong):
    """A model cannot have answered on them; the use case file must have changed meanwhile."""
    replica.answer("a", features={"wind speed (km/h)": 1.0, "holiday": False, "pier": "A"} | wrong)

    assert lake.ingest(outboxes).quarantined == 1
    assert f"features.{next(iter(wrong))} must be a" in lake.quarantined()["reason"][0]


def test_a_refusal_keeps_values_of_another_type_as_text(lake, replica, outboxes):
    """A refused row is kept for what it is: its odd values are missing in their columns and whole in ``raw``."""
    replica.refuse("a", 201, features={"wind speed (km/h)": "strong", "holiday": True, "pier": "A"})
    lake.ingest(outboxes)

    row = lake._requests.read(["wind speed (km/h)", "holiday", "raw"]).to_pylist()[0]
    assert (row["wind speed (km/h)"], row["holiday"]) == (None, 1.0)
    assert '"strong"' in row["raw"]
