"""Rows are read value by value: what the graph may see, or every bad feature by name."""

import math

import pytest

from ml.records.codes import Code
from ml.serving.rows import LARGEST, NAMED, read_row, short


def codes(found: object) -> dict[str, int]:
    """Code by feature of a refused row."""
    assert isinstance(found, tuple), found
    return {refusal.feature: int(refusal.code) for refusal in found}


def test_row_by_name_or_in_file_order_is_the_same(quay, row_of):
    """Values come out in file order, booleans as 0.0 and 1.0, whole numbers as floats."""
    row = row_of(quay) | {"load": 3}

    backwards = dict(reversed(row.items()))
    assert read_row(row, quay) == read_row(backwards, quay) == read_row(list(row.values()), quay)
    assert read_row(row, quay) == [12.5, 3.0, 1.0, "wet", "B1"]


@pytest.mark.parametrize(
    ("feature", "value", "code", "says"),
    [
        ("depth", "12", 201, "must be a finite number or null, got '12'"),
        ("depth", True, 201, "got True"),
        ("depth", math.nan, 201, "must be a finite number or null, got nan"),
        ("depth", -math.inf, 201, "got -inf"),
        ("depth", [1], 201, "got a list"),
        ("depth", 100.5, 202, "must be from 0 to 100, got 100.5"),
        ("depth", -1, 202, "must be from 0 to 100, got -1"),
        ("load", None, 201, "value is missing; must be a finite number"),
        ("load", 1e39, 202, "must be from -3.40282e+38 to 3.40282e+38"),
        pytest.param("load", 10**400, 202, "got 1000", id="huge"),
        pytest.param("load", -(10**400), 202, "got -1000", id="huge below zero"),
        ("tug", 2, 201, "must be true, false, 0 or 1, got 2"),
        ("tug", "true", 201, "got 'true'"),
        ("tug", None, 201, "value is missing"),
        ("tug", math.nan, 201, "got nan"),
        ("sea", "damp", 203, "must be one of dry, wet; got 'damp'"),
        ("sea", 1, 201, "must be a text or null, got 1"),
        ("berth", "", 201, "value is missing; must be a text"),
        ("berth", None, 201, "value is missing"),
        ("berth", {"a": 1}, 201, "got an object"),
    ],
)
def test_bad_value_is_refused_with_its_code_and_what_is_allowed(quay, row_of, feature, value, code, says):
    """One bad value refuses the row, naming the feature, what was found and what would be taken."""
    found = read_row(row_of(quay) | {feature: value}, quay)

    assert codes(found) == {feature: code}
    assert says in found[0].detail


@pytest.mark.parametrize(
    ("feature", "value", "taken"),
    [
        ("depth", None, None),
        ("depth", 0, 0.0),
        ("depth", 100, 100.0),
        ("load", -LARGEST, -LARGEST),
        ("tug", 0, 0.0),
        ("tug", False, 0.0),
        ("tug", 1.0, 1.0),
        ("sea", None, None),
        ("sea", "", None),
        ("berth", "ß", "ß"),
    ],
)
def test_what_is_allowed_is_taken(quay, row_of, feature, value, taken):
    """Bounds belong to the range; null, and the empty text of a category, are missing where the file allows it."""
    found = read_row(row_of(quay) | {feature: value}, quay)

    assert found[list(quay.features).index(feature)] == taken


def test_every_bad_feature_is_named(quay):
    """Absent, wrong and unknown fields of one row are all listed."""
    found = read_row({"depth": 500, "tug": "no", "sea": "damp", "berth": "B1", "crane": 1}, quay)

    assert codes(found) == {"crane": 100, "depth": 202, "load": 201, "tug": 201, "sea": 203}
    assert any("field is absent" in refusal.detail for refusal in found)


def test_absent_field_is_refused_even_where_null_is_allowed(quay, row_of):
    """A forgotten column is a fault of the client, not a gap in its data."""
    row = row_of(quay)
    del row["depth"]

    assert codes(read_row(row, quay)) == {"depth": 201}


def test_row_of_another_width_is_told_the_columns(quay):
    """Too few values, too many, none, and what is no row at all."""
    for row in ([1.0], [1.0] * 6, []):
        (refusal,) = read_row(row, quay)
        assert refusal.code == Code.VALUE_NOT_FOUND
        assert f"row has {len(row)} values, 5 are needed: depth, load, tug, sea, berth" in refusal.detail
    assert read_row("row", quay)[0].code == Code.MALFORMED


def test_number_of_named_features_is_bounded(quay):
    """A thousand unknown fields do not make a thousand lines."""
    assert len(read_row({f"x{i}": 1 for i in range(1000)}, quay)) == NAMED


def test_policies_of_the_file_are_followed(quay, row_of):
    """Out-of-range numbers and unknown categories may be let through, missing values may be refused."""
    lenient = {"missing": "refuse", "out_of_range": "accept", "unknown_category": "accept"}
    changed = quay.model_validate(quay.model_dump() | {"serving": lenient})

    assert read_row(row_of(quay) | {"depth": 1e6, "sea": "damp"}, changed)[0] == 1e6
    assert codes(read_row(row_of(quay) | {"depth": None, "sea": None}, changed)) == {"depth": 201, "sea": 201}
    assert codes(read_row(row_of(quay) | {"depth": 1e39}, changed)) == {"depth": 202}


def test_found_values_are_cut():
    """Eighty characters of what was found are enough."""
    assert len(short("x" * 10**6)) == 80
    assert len(short(10**4000)) == 80
    assert short("é") == "'é'"
