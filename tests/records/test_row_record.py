"""A batch's record says of each row what a record of that row alone would say."""

from __future__ import annotations

import json

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ml.records.row_record import (
    BatchRecord,
    Refused,
    RowRecord,
    encode_batch,
    encode_row,
    read_refusals,
    read_rows,
    to_bytes,
)

NAMES, CLASSES = ("load", "depth", "sea"), ("late", "on time")

numbers = st.none() | st.floats(allow_nan=False, allow_infinity=False)
shares = st.floats(0, 1)


@st.composite
def rows(draw) -> RowRecord:
    """A row that was answered, refused for what it holds, refused as it could not be read, or had a value replaced."""
    kind = draw(st.sampled_from(["answered", "noted", "failed", "unreadable"]))
    time = draw(st.none() | st.just("2013-03-01T01:00:00+00:00"))
    row = RowRecord(draw(st.uuids().map(str)), time, 7, 0)
    if kind == "unreadable":
        row.code, row.detail, row.raw = 201, "row must be a list", draw(st.none() | st.text(max_size=5))
        return row
    row.features = dict(zip(NAMES, (draw(numbers), draw(numbers), draw(st.none() | st.text(min_size=1))), strict=True))
    if kind == "failed":
        row.code, row.detail = 401, "the graph failed"
        return row
    late = draw(shares)
    row.probabilities = [late, 1 - late]
    row.predicted = draw(st.sampled_from(CLASSES))
    row.probability = row.probabilities[CLASSES.index(row.predicted)]
    if kind == "noted":
        row.features["depth"], row.detail = 140.0, "depth: clipped to 100"
    return row


def in_columns(told: list[RowRecord], first: int) -> BatchRecord:
    """The same rows, column by column, as their places among those that the graph was asked say."""
    good = [i for i, row in enumerate(told) if row.features is not None]
    answered = [i for i, row in enumerate(told) if row.code == 0]
    seen = {
        i: dict(told[i].features) | ({"depth": 100.0} if told[i].detail == "depth: clipped to 100" else {})
        for i in good
    }
    table = np.array([[seen[i]["load"], seen[i]["depth"]] for i in good], dtype=np.float64)
    for place, i in enumerate(good, first):
        told[i].asked, told[i].place = first + len(good), place
    return BatchRecord(
        [row.id for row in told],
        7,
        NAMES,
        to_bytes(table),
        [seen[i]["sea"] or "" for i in good],
        event_times=[row.event_time for row in told],
        good=good,
        answered=answered,
        classes=CLASSES,
        predicted=[told[i].predicted or "" for i in answered],
        probabilities=to_bytes(np.array([told[i].probabilities for i in answered])),
        asked=first + len(good),
        first=first,
        refused={i: Refused(row.code, row.detail or "", row.raw) for i, row in enumerate(told) if row.code},
        details={i: told[i].detail for i in answered if told[i].detail},
        sent={i: {"depth": 140.0} for i in answered if told[i].detail},
    )


@given(st.lists(rows(), min_size=2, max_size=12), st.integers(0, 5))
def test_a_batch_tells_each_row_as_a_record_of_its_own_would(told, first):
    """Answers, refusals, replaced and missing values, in any order; through the bytes of both forms."""
    record = encode_batch(in_columns(told, first))

    found = read_rows(record, len(told))

    assert found == told
    assert [encode_row(row) for row in found] == [encode_row(row) for row in told]
    assert [read_rows(encode_row(row), 1)[0] for row in told] == told
    assert read_refusals(record, len(told)) == [(row.code, 7, row.detail) for row in told if row.code]


def test_a_regression_has_one_number_and_no_class():
    """Neither class nor its probability; degraded mode is said of answered rows."""
    record = BatchRecord(
        ["a", "b"],
        3,
        ("load",),
        to_bytes(np.array([[1.0], [np.nan]])),
        probabilities=to_bytes(np.array([[2.5], [-1.0]])),
    )
    record.degraded_code = 401

    first, second = read_rows(encode_batch(record), 2)

    assert (first.predicted, first.probability, first.probabilities, first.features) == (
        None,
        None,
        [2.5],
        {"load": 1.0},
    )
    assert (second.probabilities, second.features, second.degraded_code) == ([-1.0], {"load": None}, 401)
    assert (second.asked, second.place, second.event_time) == (None, None, None)


def test_a_record_from_before_there_were_batches_is_read():
    """Without the members that came later."""
    old = {"id": "a", "event_time": None, "model_version": 1, "code": 0, "class": "late", "probabilities": [1.0, 0.0]}

    (row,) = read_rows(json.dumps(old).encode(), 1)

    assert (row.id, row.predicted, row.asked, row.degraded_code) == ("a", "late", None, msgspec.UNSET)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"ids": ["a"], "good": [0], "answered": [0]}, "record must have 2 rows, got 1"),
        ({"probabilities": b"\0" * 4}, "2 rows of 1 numbers cannot have 4 bytes"),
        ({"classes": ["late"], "predicted": ["late", "never"]}, "class must be one of late, got never"),
        ({"answered": [0]}, "row 1 is neither answered nor refused"),
        ({"numbers": b""}, "2 rows of 1 numbers cannot have 0 bytes"),
    ],
)
def test_columns_that_do_not_fit_together_are_refused(change, says):
    """What a damaged record holds is no row."""
    record = BatchRecord(["a", "b"], 3, ("load",), to_bytes(np.ones((2, 1))), probabilities=to_bytes(np.ones((2, 1))))
    content = msgspec.to_builtins(record) | {"numbers": record.numbers, "probabilities": record.probabilities} | change

    with pytest.raises(ValueError, match=says):
        read_rows(msgspec.msgpack.encode(content), 2)
