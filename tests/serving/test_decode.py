"""Bodies become batches: a clean body fast, any other slowly, and both ways agree wherever both can go."""

import json
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ml.serving.body import MAX_ROWS
from ml.serving.decode import Batch, compile_layout, decode_batch, decode_carefully, decode_clean
from ml.serving.problem import RequestRefused
from ml.use_case import UseCase


def encode(**content: object) -> bytes:
    """Body as Python's own clients write it, ``NaN`` and all."""
    return json.dumps(content).encode()


def assert_same(first: Batch, second: Batch) -> None:
    """Two batches are one."""
    np.testing.assert_array_equal(first.numbers, second.numbers)
    np.testing.assert_array_equal(first.categories, second.categories)
    assert first.numbers.dtype == second.numbers.dtype == np.float64
    assert first.categories.shape == second.categories.shape
    assert list(first.good) == list(second.good)
    assert (first.ids, first.event_times) == (second.ids, second.event_times)
    assert (first.refusals, first.raw, first.all_or_nothing) == (second.refusals, second.raw, second.all_or_nothing)


NUMBERS = st.one_of(
    st.floats(), st.integers(), st.booleans(), st.none(), st.text(max_size=3), st.sampled_from([0, 1, 100, 1e39, -0.0])
)
TEXTS = st.one_of(st.sampled_from(["dry", "wet", ""]), st.text(max_size=3), st.none(), st.integers(0, 1))
GOOD = {
    "depth": st.one_of(st.none(), st.floats(0, 100), st.integers(0, 100)),
    "load": st.one_of(st.floats(-1e30, 1e30), st.integers(-(2**70), 2**70)),
    "tug": st.sampled_from([True, False, 0, 1]),
    "sea": st.sampled_from(["dry", "wet", None]),
    "berth": st.text(min_size=1, max_size=4),
}
ANY = {"depth": NUMBERS, "load": NUMBERS, "tug": NUMBERS, "sea": TEXTS, "berth": TEXTS}
ROWS = st.lists(st.one_of(st.fixed_dictionaries(GOOD), st.fixed_dictionaries(ANY)), min_size=1, max_size=4)
TIMES = st.sampled_from([None, "2013-03-01", "2013-03-01T05:00:00+02:00", "2013-03-01T05:00:00Z", "noon"])


@given(rows=ROWS, by_name=st.booleans(), times=st.lists(TIMES, min_size=4, max_size=4), whole=st.booleans())
def test_fast_and_slow_way_agree(quay, rows, by_name, times, whole):
    """Whatever the fast way takes, the slow way reads the same; what it leaves has a row that the slow way refuses."""
    layout = compile_layout(quay)
    given_rows = {"rows": rows} if by_name else {"data": [[row[name] for name in quay.features] for row in rows]}
    ids = [f"id {i}" for i in range(len(rows))]
    body = encode(**given_rows, ids=ids, event_times=times[: len(rows)], all_or_nothing=whole)

    fast, slow = decode_clean(body, layout), decode_carefully(body, layout)

    assert_same(decode_batch(body, layout), slow)
    if fast is None:
        # Floats for booleans and empty texts for missing are read the slow way; nothing else that is good is.
        odd = any(type(row["tug"]) is float or row["sea"] == "" for row in rows)
        assert slow.refusals or odd
    else:
        assert_same(fast, slow)
        assert not fast.refusals


@given(rows=st.lists(st.fixed_dictionaries(GOOD), min_size=1, max_size=4), by_name=st.booleans())
def test_clean_rows_go_the_fast_way_unchanged(quay, rows, by_name):
    """Numbers, booleans as 0 and 1, texts; NaN and the empty text for missing."""
    body = encode(**({"rows": rows} if by_name else {"data": [[row[name] for name in quay.features] for row in rows]}))

    batch = decode_clean(body, compile_layout(quay))

    missing = [[math.nan if row["depth"] is None else row["depth"], row["load"], row["tug"]] for row in rows]
    np.testing.assert_array_equal(batch.numbers, np.array(missing, dtype=float))
    assert batch.categories.tolist() == [[row["sea"] or "", row["berth"]] for row in rows]
    assert len(set(batch.ids)) == len(rows)


def test_graph_sees_two_inputs_or_one(quay, weather, row_of):
    """Numbers are float32; a use case without categories has no input of that name."""
    for use_case, names in ((quay, {"numbers", "categories"}), (weather, {"numbers"})):
        inputs = decode_batch(encode(rows=[row_of(use_case)] * 3), compile_layout(use_case)).graph_inputs()
        assert set(inputs) == names
        assert (inputs["numbers"].dtype, inputs["numbers"].shape) == (np.float32, (3, len(use_case.numbers)))


def test_good_rows_stand_beside_refused_ones(quay, row_of):
    """Rows keep their numbers; what is wrong is listed by row, with the row as it came."""
    good = row_of(quay)
    body = encode(
        rows=[good | {"depth": 101}, good, good | {"load": math.nan, "tug": 7}], event_times=[None, "x", None]
    )

    batch = decode_batch(body, compile_layout(quay))

    assert list(batch.good) == []
    assert {row: [(r.feature, int(r.code)) for r in found] for row, found in batch.refusals.items()} == {
        0: [("depth", 202)],
        1: [("", 201)],
        2: [("load", 201), ("tug", 201)],
    }
    assert '"load": NaN' in batch.raw[2]


def test_event_times_become_utc(weather, row_of):
    """An offset is applied, a time without one is UTC already."""
    times = ["2013-03-01T05:00:00+02:00", "2013-03-01 05:00", None]
    body = encode(rows=[row_of(weather)] * 3, event_times=times)

    found = decode_batch(body, compile_layout(weather)).event_times

    assert list(found) == ["2013-03-01T03:00:00+00:00", "2013-03-01T05:00:00+00:00", None]


@pytest.mark.parametrize(
    ("body", "status", "says"),
    [
        (b"", 400, "body is not JSON"),
        (b"{", 400, "body is not JSON"),
        (b'{"rows": [nan]}', 400, "body is not JSON"),
        (b"\xff\xfe", 400, "body is not JSON: 'utf-8' codec"),
        (b'{"data": [["\xff"]]}', 400, "body is not JSON"),
        (b"[" * 200_000, 400, "body is not JSON"),
        (b'{"ids": ["\\ud800"], "data": [[1]]}', 400, "surrogates not allowed"),
        (b'{"data": [[NaN, "\\udfff"]]}', 400, "surrogates not allowed"),
        (b"[]", 400, "Expected `object`, got `array`"),
        (b'{"data": 1}', 400, "Expected `array | null`, got `int` - at `$.data`"),
        (b'{"data": [[1]], "row": []}', 400, "unknown field `row`"),
        (b"{}", 400, "either data or rows"),
        (b'{"data": [[1]], "rows": [{}]}', 400, "either data or rows"),
        (b'{"data": []}', 422, "data is empty; allowed: 1 to 10000"),
        (b'{"rows": []}', 422, "rows is empty"),
        (b'{"data": [[1]], "ids": ["a", "b"]}', 422, "ids has 2 entries, the batch 1 rows"),
        (b'{"data": [[1], [1]], "ids": ["a", "a"]}', 422, "ids must differ"),
        (b'{"data": [[1]], "ids": [""]}', 422, "ids.0 must have 1 to 200 characters, got 0"),
        (b'{"data": [[1]], "ids": [1]}', 400, "Expected `str`, got `int` - at `$.ids[0]`"),
        (b'{"data": [[1]], "event_times": []}', 422, "event_times has 0 entries, the batch 1 rows"),
        (b'{"data": [' + b"[]," * MAX_ROWS + b"[]]}", 413, "data has 10001 entries"),
    ],
)
def test_body_that_is_refused_whole(quay, body, status, says):
    """Not JSON, JSON of another shape, too few or too many rows: one clear reason."""
    with pytest.raises(RequestRefused) as refused:
        decode_batch(body, compile_layout(quay))

    assert refused.value.status == status
    assert says in refused.value.detail


def test_surrogate_pairs_are_text_on_both_ways(quay, row_of):
    """An escaped emoji is a category like any other, also beside a NaN."""
    good = row_of(quay) | {"berth": "\N{ANCHOR}\N{SHIP}"}

    assert decode_clean(encode(rows=[good]), compile_layout(quay)).categories[0, 1] == "\N{ANCHOR}\N{SHIP}"
    beside = decode_batch(encode(rows=[good, good | {"load": math.nan}]), compile_layout(quay))
    assert (beside.categories[0, 1], list(beside.refusals)) == ("\N{ANCHOR}\N{SHIP}", [1])


@pytest.mark.parametrize("number", ["1e400", "-1e400", "NaN", "Infinity", "-Infinity", "1" + "0" * 400])
def test_numbers_that_json_or_floats_do_not_have_name_row_and_feature(quay, number):
    """The client learns which value it was, not at which byte the parser stopped."""
    body = b'{"data": [[1, 1, 1, "wet", "B1"], [1, %s, 1, "wet", "B1"]]}' % number.encode()

    batch = decode_batch(body, compile_layout(quay))

    assert list(batch.good) == [0]
    assert (batch.refusals[1][0].feature, batch.refusals[1][0].code in {201, 202}) == ("load", True)


def test_value_nested_deeply_is_refused_like_any_other(quay, row_of):
    """What is nested almost too deeply to be read is still recorded."""
    nested = b"[" * 600 + b"]" * 600

    batch = decode_batch(b'{"data": [[1, %s, 1, "wet", "B1"]]}' % nested, compile_layout(quay))

    assert batch.refusals[0][0].feature == "load"
    assert batch.raw[0]


def test_names_that_no_decoder_can_have_are_read_slowly(quay):
    """A quote in a column's name costs speed, nothing else."""
    content = quay.model_dump()
    content["features"]['depth "m"'] = content["features"].pop("depth")
    odd = UseCase.model_validate(content)
    row = {"load": 1.0, "tug": 1, "sea": "wet", "berth": "B", 'depth "m"': 4.0}

    batch = decode_batch(encode(rows=[row]), compile_layout(odd))

    assert decode_clean(encode(rows=[row]), compile_layout(odd)) is None
    assert batch.numbers.tolist() == [[1.0, 1.0, 4.0]]
