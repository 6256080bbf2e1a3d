"""Late truth is taken whole or not at all."""

import json

import pytest

from ml.serving.labels import decode_labels
from ml.serving.problem import RequestRefused


def decode(use_case, *labels: object) -> list[dict]:
    """Records of labels."""
    return [json.loads(record) for record in decode_labels(json.dumps({"labels": labels}).encode(), use_case)]


def test_labels_become_records(quay):
    """Time of knowledge in UTC, and a source, are optional."""
    full = {"id": "a", "class": "late", "known_at": "2013-03-01T05:00:00+02:00", "source": "port office"}

    assert decode(quay, full, {"id": "b", "class": "on time"}) == [
        full | {"known_at": "2013-03-01T03:00:00+00:00"},
        {"id": "b", "class": "on time", "known_at": None, "source": "client"},
    ]


def test_a_persons_override_says_who_and_why(quay):
    """A label without one is the truth."""
    label = {"id": "a", "class": "late", "known_at": None, "source": "client"}

    assert decode(quay, label | {"override": {"by": " ana ", "reason": "fog"}}, label | {"override": None}) == [
        label | {"override": {"by": "ana", "reason": "fog"}},
        label,
    ]


@pytest.mark.parametrize(
    ("label", "code", "says"),
    [
        ({"id": "a", "class": "1"}, 203, "class must be one of late, on time; got '1'"),
        ({"id": "", "class": "late"}, 100, "id must have 1 to 200 characters, got 0"),
        ({"id": "x" * 201, "class": "late"}, 100, "got 201"),
        ({"id": 5, "class": "late"}, 100, "Expected `str`, got `int` - at `$.id`"),
        ({"id": "a"}, 100, "missing required field `class`"),
        ({"id": "a", "class": "late", "when": "now"}, 100, "unknown field `when`"),
        ({"id": "a", "class": "late", "known_at": "noon"}, 100, "known_at must be ISO 8601, got 'noon'"),
        ({"id": "a", "class": "late", "known_at": "0001-01-01T00:00:00+02:00"}, 100, "known_at must be ISO 8601"),
        ("late", 100, "Expected `object`, got `str`"),
        ({"id": "a", "class": "late", "override": {"by": " "}}, 100, "override.by must have 1 to 100 characters"),
        ({"id": "a", "class": "late", "override": {"by": "x" * 101}}, 100, "override.by must have 1 to 100"),
        ({"id": "a", "class": "late", "override": {"reason": "fog"}}, 100, "missing required field `by`"),
        ({"id": "a", "class": "late", "override": {"by": "a", "why": ""}}, 100, "unknown field `why`"),
        ({"id": "a", "class": "late", "override": {"by": "a", "reason": "x" * 1001}}, 100, "1000 characters at most"),
        ({"id": "a", "class": "late", "override": "ana"}, 100, "Expected `object | null`, got `str`"),
    ],
)
def test_bad_label_refuses_all_and_is_named(quay, label, code, says):
    """Status 422, the number of the label, what was found and what is allowed."""
    with pytest.raises(RequestRefused) as refused:
        decode(quay, {"id": "good", "class": "late"}, label, {"id": 1})

    problem = refused.value.as_json("r")
    assert (problem["status"], problem["code"]) == (422, code)
    assert "2 of 3 labels refused, none is taken" in problem["detail"]
    assert [error["label"] for error in problem["errors"]] == [1, 2]
    assert says in problem["errors"][0]["detail"]


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b"", 400),
        (b'{"labels": 1}', 400),
        (b'{"label": []}', 400),
        (b'{"labels": []}', 422),
        (b'{"labels": [' + b"1," * 10_000 + b"1]}", 413),
    ],
)
def test_body_that_holds_no_labels(quay, body, status):
    """Not JSON, of another shape, none, or too many."""
    with pytest.raises(RequestRefused) as refused:
        decode_labels(body, quay)

    assert refused.value.status == status
