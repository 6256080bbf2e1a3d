"""What arrays say of columns is what is said value by value."""

import math

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ml.serving.decode import Body, compile_layout, read_carefully
from ml.serving.problem import RowRefusal
from ml.serving.rows import Note, read_value
from ml.serving.table import read_columns, read_records, read_table
from ml.use_case import UseCase

numbers = st.none() | st.integers(-(10**40), 10**40) | st.floats() | st.integers(-2, 102) | st.booleans() | st.just("7")
texts = st.none() | st.sampled_from(["wet", "dry", "damp", "", "B1"]) | st.floats() | st.integers(0, 3)
likely = {"depth": 12.5, "load": 3, "tug": True, "sea": "wet", "berth": "B1"}

POLICIES = [
    {},
    {"missing": "refuse"},
    {"out_of_range": "clip", "unknown_category": "impute"},
    {"out_of_range": "accept", "unknown_category": "accept"},
]


@st.composite
def tables(draw) -> list[dict]:
    """Rows of the quay, most of their values good ones; half of the tables have nothing else."""
    odd = draw(st.booleans())
    kinds = {name: texts if name in {"sea", "berth"} else numbers for name in likely}
    value = {name: (st.just(good) | kinds[name]) if odd else st.just(good) for name, good in likely.items()}
    rows = draw(st.lists(st.fixed_dictionaries(value), min_size=1, max_size=6))
    return [{name: row[name] for name in likely} for row in rows]


def said(batch) -> tuple:
    """All that a batch says of its rows, comparable."""
    return (
        np.nan_to_num(batch.numbers, nan=-7.5).tolist(),
        batch.categories.tolist(),
        list(batch.good),
        batch.refusals,
        batch.notes,
        batch.raw,
        batch.all_or_nothing,
    )


def or_missing(value: object) -> object:
    """Not a number is a missing value in tables."""
    return None if isinstance(value, float) and math.isnan(value) else value


@pytest.mark.parametrize("policy", POLICIES)
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(rows=tables())
def test_a_table_is_read_as_its_rows_are(quay, policy, rows):
    """By columns, as records and as a table: values, refusals and notes are those of the rows read one by one."""
    layout = compile_layout(quay.model_validate(quay.model_dump() | {"serving": policy}))
    known = [{name: or_missing(value) for name, value in row.items()} for row in rows]
    listed = [list(row.values()) for row in rows]
    expected = said(read_carefully(Body(data=[list(row.values()) for row in known], all_or_nothing=True), layout))
    by_name = said(read_carefully(Body(rows=known, all_or_nothing=True), layout))

    assert said(read_table(list(likely), listed, layout)) == expected
    assert said(read_columns({name: [row[name] for row in rows] for name in likely}, layout)) == expected
    assert said(read_records(listed, layout)) == expected
    assert said(read_records(rows, layout)) == by_name


@pytest.mark.parametrize("policy", POLICIES)
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(columns=st.integers(1, 4).flatmap(lambda n: st.tuples(*[st.lists(numbers, min_size=n, max_size=n)] * 3)))
def test_columns_are_clean_when_nothing_is_to_be_said_of_a_value(quay, policy, columns):
    """The slow reading of each value is the oracle; what is taken has its value."""
    use_case: UseCase = quay.model_validate(quay.model_dump() | {"serving": policy})
    taken = compile_layout(use_case).limits.take_numbers(columns, len(columns[0]))

    read = [
        [read_value(or_missing(value), name, use_case.features[name], use_case) for value in column]
        for name, column in zip(use_case.numbers, columns, strict=True)
    ]
    clean = not any(isinstance(value, Note | RowRefusal) for column in read for value in column)
    assert (taken is not None) == clean
    if taken is not None:
        wanted = [[math.nan if value is None else value for value in column] for column in read]
        np.testing.assert_array_equal(taken, np.array(wanted, dtype=np.float64).T)


@pytest.mark.parametrize("kind", ["<f8", "<f4", "<i8", "<u1"])
def test_arrays_do_as_well_as_lists(quay, kind):
    """One array per feature, or one of all numbers; an array of a value that is refused is named by its row."""
    layout = compile_layout(quay)
    lists = {name: [value] * 3 for name, value in likely.items()}
    lists |= {"depth": [0, 100, 7], "load": [3, 4, 5], "tug": [1, 0, 1]}
    arrays = {**lists, **{name: np.array(lists[name], dtype=kind) for name in ("depth", "load", "tug")}}
    whole = {name: lists[name] for name in ("sea", "berth")}
    whole["numbers"] = np.array([lists[name] for name in layout.number_names], dtype=kind).T

    expected = said(read_columns(lists, layout))

    assert said(read_columns(arrays, layout)) == expected
    assert said(read_columns(whole, layout)) == expected
    assert all(type(text) is str for text in read_columns(arrays, layout).categories.ravel())
    wrong = read_columns(arrays | {"depth": np.array([1, 101, 2], dtype=kind)}, layout)
    assert list(wrong.refusals) == [1]
    assert read_columns(arrays | {"sea": np.array([1, 2, 3], dtype=kind)}, layout).good == []
