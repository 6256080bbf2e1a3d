"""The command line as its user types it, on an installation of its own."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from ml.cli.main import run
from ml.settings import PROJECT, settings


@dataclass(frozen=True)
class Answer:
    """What a command printed, and its exit code."""

    code: int
    out: str
    err: str


@pytest.fixture
def home(tmp_path, monkeypatch) -> Path:
    """An installation with one month of the harbour's history, nothing running, on ports where nobody listens."""
    (tmp_path / "dags").mkdir()
    (tmp_path / "data").mkdir()
    shutil.copytree(PROJECT / "use_cases", tmp_path / "use_cases")
    data = PROJECT / "data" / "ny_harbour_weather_2013.csv"
    with data.open(encoding="utf-8") as source, (tmp_path / "data" / data.name).open("w", encoding="utf-8") as target:
        target.writelines(line for line in source if line < "2013-03-02" or line.startswith("Timestamp"))
    for name in [name for name in os.environ if name.startswith("PERENNIAL_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("PERENNIAL_HOME", str(tmp_path))
    for port, name in enumerate(("AIRFLOW", "MLFLOW", "SCORING"), start=9):
        monkeypatch.setenv(f"PERENNIAL_{name}_PORT", str(port))
    monkeypatch.setenv("COLUMNS", "200")
    return tmp_path


@pytest.fixture
def perennial(home, monkeypatch, capsys) -> Callable[..., Answer]:
    """Run a command: call with its words."""

    def call(*words: str) -> Answer:
        monkeypatch.setattr(sys, "argv", ["perennial", *words])
        settings.cache_clear()
        with pytest.raises(SystemExit) as ended:
            run()
        printed = capsys.readouterr()
        return Answer(int(ended.value.code or 0), printed.out, printed.err)

    yield call
    settings.cache_clear()
