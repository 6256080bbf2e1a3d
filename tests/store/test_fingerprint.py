"""Fingerprints: the same content is the same, any other content is not."""

from __future__ import annotations

import hashlib
import struct

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ml.errors import DataError
from ml.store.fingerprint import fingerprint


def frame() -> pd.DataFrame:
    """One column of each kind, each with something odd in it."""
    return pd.DataFrame(
        {
            "wind": [1.0, np.nan, -0.0, np.inf],
            "pier": ["A", None, "", "B"],
            "open": [True, False, True, True],
            "time": pd.to_datetime(["2013-03-01", "2013-03-02", None, "2013-03-04"], utc=True),
        }
    )


SAME = {
    "rows in another order": lambda f: f.iloc[[2, 0, 3, 1]],
    "columns in another order": lambda f: f[["time", "open", "pier", "wind"]],
    "another index": lambda f: f.set_index(pd.Index([9, 9, 1, 5])),
    "other text type": lambda f: f.astype({"pier": "string"}),
    "text as objects": lambda f: f.assign(pier=f["pier"].astype(object).where(f["pier"].notna(), None)),
    "text as categories": lambda f: f.astype({"pier": "category"}),
    "times to the nanosecond": lambda f: f.assign(time=f["time"].dt.as_unit("ns")),
    "times to the second": lambda f: f.assign(time=f["time"].dt.as_unit("s")),
    "times without zone": lambda f: f.assign(time=f["time"].dt.tz_localize(None)),
    "times in another zone": lambda f: f.assign(time=f["time"].dt.tz_convert("America/New_York")),
    "zero without sign": lambda f: f.assign(wind=f["wind"] + 0.0),
    "nullable booleans": lambda f: f.astype({"open": "boolean"}),
    "nullable numbers": lambda f: f.astype({"wind": "Float64"}),
}

OTHER = {
    "one value": lambda f: f.assign(wind=[1.0, np.nan, 0.0, 5.0]),
    "the last bit of a value": lambda f: f.assign(wind=[np.nextafter(1.0, 2.0), np.nan, 0.0, np.inf]),
    "a missing value instead of zero": lambda f: f.assign(wind=[1.0, np.nan, np.nan, np.inf]),
    "an empty text instead of a missing one": lambda f: f.assign(pier=["A", "", "", "B"]),
    "values swapped between rows": lambda f: f.assign(pier=["B", None, "", "A"]),
    "text moved over a border": lambda f: f.assign(pier=["AB", None, "", ""]),
    "one row less": lambda f: f.iloc[:3],
    "one row twice": lambda f: f.iloc[[0, 1, 2, 3, 3]],
    "a column less": lambda f: f.drop(columns="open"),
    "a column's name": lambda f: f.rename(columns={"wind": "gust"}),
    "columns swapped": lambda f: f.rename(columns={"wind": "open", "open": "wind"}),
    "booleans as numbers": lambda f: f.assign(open=f["open"].astype(float)),
    "numbers as text": lambda f: f.assign(wind=["1.0", None, "0.0", "inf"]),
    "a microsecond": lambda f: f.assign(time=f["time"] + pd.Timedelta(microseconds=1)),
}


@pytest.mark.parametrize("change", SAME.values(), ids=SAME.keys())
def test_storage_does_not_matter(change):
    """The same content, stored otherwise, has the same fingerprint."""
    assert fingerprint(change(frame())) == fingerprint(frame())


@pytest.mark.parametrize("change", OTHER.values(), ids=OTHER.keys())
def test_content_matters(change):
    """Any other content has another fingerprint."""
    assert fingerprint(change(frame())) != fingerprint(frame())


def test_integers_and_floats_are_numbers_until_a_float_would_round():
    """2**53 is exact as a float; its successor is not, and must not look like it."""
    small, large = pd.DataFrame({"a": [2**53, 1]}), pd.DataFrame({"a": [2**53 + 1, 1]})

    assert fingerprint(small) == fingerprint(small.astype(float))
    assert fingerprint(large) != fingerprint(small)
    assert fingerprint(large.astype("Int64")) == fingerprint(large)


def test_it_is_a_sha256_and_stays_the_same_over_versions():
    """A recorded fingerprint must be reproducible years later: its layout, packed by hand, is part of the contract."""
    rows = [
        struct.pack("<d", 1.5) + b"\x01" + struct.pack("<Q", 2) + "é".encode(),
        struct.pack("<d", 2.0) + b"\x00",
    ]
    header = b"2\x1da\x1enumber\x1fb\x1etext\x1d"
    by_hand = hashlib.sha256(header + b"".join(sorted(hashlib.sha256(row).digest() for row in rows))).hexdigest()

    assert fingerprint(pd.DataFrame({"b": ["é", None], "a": [1.5, 2.0]})) == by_hand
    assert len(fingerprint(pd.DataFrame())) == 64


@pytest.mark.parametrize(
    ("odd", "message"),
    [
        (pd.DataFrame({"a": [[1], [2]]}), "where: a; got: list"),
        (pd.DataFrame({"a": ["x", 1]}, dtype=object), "where: a; got: int"),
        (pd.DataFrame([[1, 2]], columns=["a", "a"]), "two columns have one name"),
    ],
)
def test_what_has_no_canonical_form_is_refused(odd, message):
    """Rather than guessing one."""
    with pytest.raises(DataError, match=message):
        fingerprint(odd)


rows = st.lists(
    st.tuples(st.one_of(st.none(), st.floats(allow_nan=False)), st.one_of(st.none(), st.text(max_size=4))), max_size=8
)


@settings(max_examples=100, deadline=None)
@given(rows, rows)
def test_two_frames_share_a_fingerprint_exactly_when_they_hold_the_same_rows(first, second):
    """Compared with sorted lists of rows, an independent notion of equality."""

    def content(found):
        return sorted(((a is None, (a or 0.0) + 0.0), (b is None, b or "")) for a, b in found)

    def build(found):
        return pd.DataFrame(
            {"a": pd.Series([a for a, _ in found], dtype=float), "b": pd.Series([b for _, b in found], dtype=object)}
        )

    assert (fingerprint(build(first)) == fingerprint(build(second))) == (content(first) == content(second))
    assert fingerprint(build(first)) == fingerprint(build(first[::-1]))
