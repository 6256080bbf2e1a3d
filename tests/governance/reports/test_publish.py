"""Reports are written whole or not at all."""

from __future__ import annotations

import errno
import os
from datetime import UTC, datetime

import pytest

from ml.errors import StackError
from ml.governance.reports.publish import folder_of, publish, render
from ml.records.report import Report, Section, Words
from ml.registry.memory import MemoryRegistry
from ml.settings import PROJECT
from ml.use_case import load

WEATHER = load(PROJECT / "use_cases" / "harbour_weather.yaml")


def report_of(text: str) -> Report:
    """A short report."""
    return Report(
        report="data",
        use_case=WEATHER.name,
        title="Data",
        as_of=datetime(2013, 3, 1, tzinfo=UTC),
        sections=(Section(title="A", blocks=(Words(text=text),)),),
    )


def contents(folder) -> dict[str, bytes]:
    """Every file below a folder."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_a_report_is_a_page_and_its_data_side_by_side(tmp_path):
    """In a folder of its moment, and the same bytes in the registry."""
    registry, report = MemoryRegistry(), report_of("rain")

    paths = publish(report, root=tmp_path, use_case=WEATHER, registry=registry)

    folder = tmp_path / "harbour_weather" / "2013-03-01T000000"
    assert paths == (folder / "data.html", folder / "data.json")
    assert Report.model_validate_json(paths[1].read_bytes()) == report
    assert registry.reports == {
        f"harbour_weather/reports/2013-03-01T000000/{path.name}": path.read_bytes() for path in paths
    }


def test_the_same_moment_replaces_what_was_written(tmp_path):
    """A rerun leaves nothing beside."""
    for text in ("rain", "snow"):
        publish(report_of(text), root=tmp_path, use_case=WEATHER, registry=None)

    folder = folder_of(tmp_path, WEATHER.name, report_of("").as_of)
    assert contents(folder) == render(report_of("snow"))


@pytest.mark.parametrize("failing", [1, 2])
def test_a_full_disk_leaves_what_was_there(tmp_path, monkeypatch, failing):
    """Whichever of the two files it hits: one error that names file and fact, no half, no leftovers."""
    publish(report_of("rain"), root=tmp_path, use_case=WEATHER, registry=None)
    before, calls = contents(tmp_path), iter(range(1, 9))

    def full(_: int) -> None:
        if next(calls) == failing:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(StackError, match=r"report cannot be written.*data\.(html|json).*No space left") as told:
        publish(report_of("snow"), root=tmp_path, use_case=WEATHER, registry=None)

    assert told.value.exit_code == 2
    assert contents(tmp_path) == before


def test_a_folder_that_is_a_file_is_named(tmp_path):
    """It is left alone."""
    (tmp_path / "harbour_weather").write_text("mine")

    with pytest.raises(StackError, match="harbour_weather"):
        publish(report_of("rain"), root=tmp_path, use_case=WEATHER, registry=None)

    assert contents(tmp_path) == {"harbour_weather": b"mine"}
