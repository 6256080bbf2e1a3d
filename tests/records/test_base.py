"""Records: frozen, strict, to JSON and back; files that are whole or not there."""

from __future__ import annotations

import inspect
import math
import os
import pkgutil
from datetime import UTC, datetime, timedelta, timezone
from importlib import import_module
from pathlib import Path
from typing import Annotated

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import ValidationError
from pydantic.fields import FieldInfo

import ml.records
from ml.errors import DataError
from ml.records.base import Record, as_utc, write_atomically
from ml.records.measure import Estimate, Verdict, Window
from ml.records.profile import BlockCounts, CategoryProfile, NumberProfile, Profile, ReferenceProfile
from ml.records.release import GoldenRow
from ml.records.report import Absent, Bars, BarSide, Line, Shapes, Side, Table

MODULES = [import_module(f"ml.records.{module.name}") for module in pkgutil.iter_modules(ml.records.__path__)]
EVERY_RECORD = sorted(
    {
        value
        for module in MODULES
        for value in vars(module).values()
        if inspect.isclass(value) and issubclass(value, Record) and value is not Record
    },
    key=lambda record: record.__name__,
)


@pytest.mark.parametrize("record", EVERY_RECORD, ids=lambda record: record.__name__)
def test_every_record_is_frozen_and_strict_and_says_its_format(record):
    """No field can be changed, no unknown key is taken, no NaN passes for a number."""
    assert record.model_config["frozen"] is True
    assert record.model_config["extra"] == "forbid"
    assert record.model_config["allow_inf_nan"] is False
    assert record.model_fields["format"].annotation is int


@pytest.mark.parametrize("record", EVERY_RECORD, ids=lambda record: record.__name__)
@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much])
@given(data=st.data())
def test_every_record_survives_json(record, data):
    """Whatever its values: written and read, it is the same."""
    found = data.draw(st.from_type(record))

    assert record.model_validate_json(found.model_dump_json()) == found


def _window(start: datetime, seconds: int) -> Window:
    return Window(start=start, end=start + timedelta(seconds=seconds))


def _fields(record: type[Record]) -> dict[str, st.SearchStrategy]:
    """Values of each field by its annotation; left to itself, hypothesis would also try defaults that are no values."""
    return {name: _values(field) for name, field in record.model_fields.items()}


def _values(field: FieldInfo) -> st.SearchStrategy:
    patterns = [found.pattern for found in field.metadata if getattr(found, "pattern", None)]
    if patterns:
        return st.from_regex(patterns[0], fullmatch=True)
    return st.from_type(Annotated[(field.annotation, *field.metadata)] if field.metadata else field.annotation)


def _of_one_length(record: type[Record], wanted: dict[str, int], optional: tuple[str, ...] = ()) -> st.SearchStrategy:
    """A record whose tuples have the lengths that it asks for, the optional ones that or none."""
    fields = {
        name: st.tuples(*[st.integers() if name == "n" else st.floats(allow_nan=False, allow_infinity=False)] * length)
        for name, length in wanted.items()
    }
    fields |= {name: st.just(()) | fields[name] for name in optional}
    return st.builds(record, **(_fields(record) | fields))


def _bars(names: int) -> st.SearchStrategy:
    side = _of_one_length(BarSide, dict.fromkeys(("values", "low", "high"), names), ("low", "high"))
    return st.builds(
        Bars, **(_fields(Bars) | {"names": st.tuples(*[st.text()] * names), "sides": st.tuples(side, side)})
    )


def _shapes(bins: int) -> st.SearchStrategy:
    edges = st.tuples(*[st.floats(allow_nan=False, allow_infinity=False)] * (bins + 1))
    side = _of_one_length(Side, {"shares": bins})
    return st.builds(Shapes, **(_fields(Shapes) | {"edges": edges, "sides": st.tuples(side)}))


def _table(columns: int) -> st.SearchStrategy:
    cell = st.text() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.from_type(Absent)
    row = st.tuples(*[cell] * columns)
    return st.builds(
        Table, **(_fields(Table) | {"columns": st.tuples(*[st.text()] * columns), "rows": st.tuples(row, row)})
    )


def _line(points: int) -> st.SearchStrategy:
    lengths = dict.fromkeys(("x", "y", "low", "high", "n"), points)
    return _of_one_length(Line, lengths, ("low", "high", "n"))


TIMES = st.datetimes(datetime(1970, 1, 1), datetime(2100, 1, 1), timezones=st.just(UTC))  # noqa: DTZ001
st.register_type_strategy(float, st.floats(allow_nan=False, allow_infinity=False))
st.register_type_strategy(datetime, TIMES)
for _record in EVERY_RECORD:
    st.register_type_strategy(_record, lambda record: st.builds(record, **_fields(record)))
LENGTHS = st.integers(0, 3)
st.register_type_strategy(Line, LENGTHS.flatmap(_line))
st.register_type_strategy(Bars, LENGTHS.flatmap(_bars))
st.register_type_strategy(Shapes, LENGTHS.flatmap(_shapes))
st.register_type_strategy(Table, LENGTHS.flatmap(_table))
st.register_type_strategy(Window, st.builds(_window, TIMES, st.integers(1, 10**9)))


def test_nested_records_and_unions_come_back_as_their_own_types():
    """A reference holds number and category columns; each is read as what it was."""
    number = NumberProfile(edges=(0.1 + 0.2,), counts=(1, 2), missing=3, mean=1 / 3, m2=0.5, minimum=-1e300, maximum=7)
    whole = Profile(
        window=None, n=6, columns={"wind": number, "pier": CategoryProfile(counts={"A": 6}, other=0, missing=0)}
    )
    counts = {"wind": BlockCounts.pack(np.array([[1, 2, 3]])), "pier": BlockCounts.pack(np.array([[6, 0, 0]]))}
    reference = ReferenceProfile(whole=whole, positions=(0,), rows=(6,), counts=counts, fingerprint="f")

    found = ReferenceProfile.model_validate_json(reference.model_dump_json())

    assert found == reference
    assert isinstance(found.whole.columns["pier"], CategoryProfile)
    np.testing.assert_array_equal(found.counts["wind"].unpack(), [[1.0, 2.0, 3.0]])
    assert found.whole.columns["wind"].edges == (0.1 + 0.2,)


def test_a_golden_rows_missing_values_stay_missing():
    """None is not 0 and not empty text."""
    row = GoldenRow(row=(1.5, None, "A", ""), label="late", probabilities=(0.5, 0.5))

    assert GoldenRow.model_validate_json(row.model_dump_json()).row == (1.5, None, "A", "")


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_a_number_is_finite_or_absent(value):
    """NaN is not a way to say undefined."""
    with pytest.raises(ValidationError, match="finite"):
        Estimate(value=value, n=1)


def test_unknown_keys_and_changes_are_refused():
    """A typing mistake is not an attribute, a result is not a variable."""
    with pytest.raises(ValidationError, match="Extra inputs"):
        Estimate(value=1.0, n=1, confidense=0.9)
    with pytest.raises(ValidationError, match="frozen"):
        Estimate(value=1.0, n=1).value = 2.0


def test_times_are_utc_whatever_they_came_in():
    """A naive time is taken as UTC."""
    tokyo = datetime(2013, 3, 1, 9, tzinfo=timezone(timedelta(hours=9)))

    assert as_utc(tokyo) == as_utc(datetime(2013, 3, 1)) == datetime(2013, 3, 1, tzinfo=UTC)  # noqa: DTZ001
    assert as_utc(tokyo).utcoffset() == timedelta(0)


@pytest.mark.parametrize("end", [datetime(2013, 3, 1, tzinfo=UTC), datetime(2013, 2, 1, tzinfo=UTC)])
def test_a_window_starts_before_it_ends(end):
    """An empty or reversed one would select nothing without a word."""
    with pytest.raises(ValidationError, match="must start before it ends"):
        Window(start=datetime(2013, 3, 1, tzinfo=UTC), end=end)


def test_a_verdict_is_its_word():
    """In JSON and in messages."""
    assert [f"{verdict}" for verdict in Verdict] == ["pass", "fail", "undecidable"]


def test_a_record_is_written_and_read(tmp_path):
    """In a folder that is made for it."""
    estimate = Estimate(value=0.1, n=3)
    path = estimate.write(tmp_path / "deep" / "er" / "estimate.json")

    assert Estimate.read(path) == estimate


def test_an_absent_or_wrong_file_is_named(tmp_path):
    """With what was expected and where."""
    with pytest.raises(DataError, match=r"Estimate is absent; where: .*nothing\.json"):
        Estimate.read(tmp_path / "nothing.json")
    for content in (b"", b"{", b"[]", b'{"value": 1}', b"\xff"):
        (tmp_path / "wrong.json").write_bytes(content)
        with pytest.raises(DataError, match=r"not a Estimate; where: .*wrong\.json"):
            Estimate.read(tmp_path / "wrong.json")


@pytest.mark.parametrize("fault", ["write", "fsync", "replace"])
def test_a_fault_while_writing_leaves_the_old_content_and_no_litter(tmp_path, monkeypatch, fault):
    """A full disk at any step: the reader sees the old file, the folder holds nothing else."""
    path = tmp_path / "state.json"
    write_atomically(path, b"old")

    def fail(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    if fault == "write":
        real = os.fdopen

        def broken(handle, mode):
            file = real(handle, mode, buffering=0)

            class Full:
                def __enter__(self):
                    return self

                def __exit__(self, *_):
                    file.close()

                write = staticmethod(fail)

            return Full()

        monkeypatch.setattr(os, "fdopen", broken)
    elif fault == "fsync":
        monkeypatch.setattr(os, "fsync", fail)
    else:
        monkeypatch.setattr(Path, "replace", fail)

    with pytest.raises(OSError, match="No space left"):
        write_atomically(path, b"new")
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_an_interrupt_while_writing_leaves_no_litter(tmp_path, monkeypatch):
    """Ctrl-C in the middle."""

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "fsync", interrupt)
    with pytest.raises(KeyboardInterrupt):
        write_atomically(tmp_path / "state.json", b"new")
    assert list(tmp_path.iterdir()) == []


def test_the_bytes_are_on_disk_before_the_name_is(tmp_path, monkeypatch):
    """Else a power cut could leave an empty file under the final name."""
    order = []
    real_sync, real_replace = os.fsync, Path.replace
    monkeypatch.setattr(os, "fsync", lambda handle: (order.append("fsync"), real_sync(handle))[1])
    monkeypatch.setattr(
        Path, "replace", lambda source, target: (order.append("replace"), real_replace(source, target))[1]
    )
    write_atomically(tmp_path / "state.json", b"new")

    assert order == ["fsync", "replace"]
