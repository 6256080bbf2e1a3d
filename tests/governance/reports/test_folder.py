"""The regulator's folder: verifiable without us, whole or absent, the same every time."""

from __future__ import annotations

import dataclasses
import errno
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.weather_year import WeatherYear
from ml.errors import InputError, StackError
from ml.governance.reports.folder import Folder, write_folder
from ml.settings import PROJECT, Settings

pytestmark = pytest.mark.slow  # the first test pays for the story that all of them read


@pytest.fixture(scope="session")
def at_home(sources, tmp_path_factory):
    """The story's sources in an installation that has its use case file."""
    home = tmp_path_factory.mktemp("home")
    (home / "use_cases").mkdir()
    shutil.copy(PROJECT / "use_cases" / "harbour_weather.yaml", home / "use_cases")
    moved = Settings(home=home, var=sources.settings.var, control_url=sources.settings.control_url)
    return dataclasses.replace(sources, settings=moved)


@pytest.fixture(scope="session")
def folder(at_home, tmp_path_factory) -> Folder:
    """A folder of the story."""
    return write_folder(at_home, tmp_path_factory.mktemp("auditor") / "folder")


def contents(path: Path) -> dict[str, bytes]:
    """Every file below a folder."""
    return {str(p.relative_to(path)): p.read_bytes() for p in path.rglob("*") if p.is_file()}


def run(path: Path, *command: str) -> subprocess.CompletedProcess:
    """A process that has nothing of ours in its environment."""
    return subprocess.run(command, cwd=path, capture_output=True, text=True, env={}, timeout=60, check=False)


def verify(path: Path) -> subprocess.CompletedProcess:
    """The verifier of the folder, in a bare process."""
    words = ("verify_ledger.py", "ledger.jsonl", "--key", "public.pem", "--every-signature")
    return run(path / "ledger", sys.executable, "-I", *words)


def test_everything_that_was_promised_is_in_it(folder):
    """Reports and cards as pages and data, the file, the gate, the ledger; each in the manifest, and nothing else."""
    files = contents(folder.path)
    named = {line.split("  ", 1)[1] for line in files["MANIFEST.sha256"].decode().splitlines()}

    assert {f"reports/{name}.{end}" for name in ("data", "card-1", "card-2") for end in ("html", "json")} <= set(files)
    assert {"README.md", "use_case/file.yaml", "ledger/ledger.jsonl", "ledger/entries.json"} <= set(files)
    assert sorted(name.split("-entry-")[0] for name in files if name.startswith("gate/")) == [
        "gate/version-1",
        "gate/version-2",
    ]
    assert named == set(files) - {"MANIFEST.sha256"}
    assert (folder.files, folder.ledger_ok, folder.missing) == (len(named), True, {})


def test_tools_that_are_not_ours_verify_it(folder):
    """sha256sum, and the verifier in a bare process."""
    checked, verified = run(folder.path, "/usr/bin/sha256sum", "--strict", "-c", "MANIFEST.sha256"), verify(folder.path)

    assert (checked.returncode, checked.stderr) == (0, "")
    assert checked.stdout.count(": OK") == folder.files
    assert verified.returncode == 0
    assert verified.stdout.startswith("sound: ")
    assert run(folder.path, "/usr/bin/sha256sum", "MANIFEST.sha256").stdout.split()[0] == folder.manifest


@pytest.mark.parametrize("name", ["reports/data.html", "ledger/ledger.jsonl", "README.md", "use_case/file.yaml"])
def test_a_changed_byte_is_found(folder, tmp_path, name):
    """By the manifest; in the ledger by the verifier, too."""
    copy = shutil.copytree(folder.path, tmp_path / "copy")
    content = bytearray((copy / name).read_bytes())
    content[len(content) // 2] ^= 1
    (copy / name).write_bytes(content)

    checked = run(copy, "/usr/bin/sha256sum", "-c", "MANIFEST.sha256")
    assert checked.returncode == 1
    assert f"{name}: FAILED" in checked.stdout
    assert verify(copy).returncode == (1 if name.startswith("ledger") else 0)


def test_the_same_stores_give_the_same_folder(at_home, folder, tmp_path):
    """Byte by byte, so that two auditors get one folder."""
    again = write_folder(dataclasses.replace(at_home), tmp_path / "again")

    assert contents(again.path) == contents(folder.path)


def test_it_claims_nothing(folder):
    """It supports people who judge; no text of ours says that a law is met."""
    files = contents(folder.path)
    text = files["README.md"].decode()

    assert "designed to support" in " ".join(text.split())
    ours = [files[name].decode().lower() for name in files if name.endswith((".md", ".html"))]
    assert not any(word in page for page in ours for word in ("compliant", "compliance", "certified", "conforms"))


def test_entries_are_those_of_the_use_case(folder, year):
    """In order, in words."""
    told = json.loads(contents(folder.path)["ledger/entries.json"])
    known = year.control.ledger_entries(use_case=year.use_case.name)

    assert [entry["entry"] for entry in told] == sorted(entry.number for entry in known)
    assert {"alias", "gate", "monitor", "version"} <= {entry["kind"] for entry in told}


def test_a_folder_that_is_there_is_left_alone(at_home, folder):
    """Nothing is mixed into it."""
    before = contents(folder.path)

    with pytest.raises(InputError, match="there already"):
        write_folder(at_home, folder.path)

    assert contents(folder.path) == before


def test_a_full_disk_leaves_nothing(at_home, tmp_path, monkeypatch):
    """One error, and no half of a folder."""

    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(StackError, match="No space left"):
        write_folder(at_home, tmp_path / "folder")

    assert list(tmp_path.iterdir()) == []


def test_before_a_first_record_there_is_nothing_to_collect(tmp_path, year):
    """The message says so, and nothing is left."""
    empty = WeatherYear(tmp_path / "empty", year.use_case)

    with pytest.raises(InputError, match="no ledger yet"):
        write_folder(empty.sources(year.begin), tmp_path / "folder")

    assert not (tmp_path / "folder").exists()


def test_a_truncated_ledger_is_told_and_not_repaired(at_home, tmp_path):
    """The newest entries are cut off in a copy of the database: the folder is written, and says that it is broken."""
    import sqlite3

    from ml.store.control import ControlStore

    left_out = shutil.ignore_patterns("lake", "models", "runs")
    copy = shutil.copytree(at_home.settings.var, tmp_path / "var", ignore=left_out)
    with sqlite3.connect(copy / "control.db") as connection:
        connection.execute("DELETE FROM ledger WHERE number > (SELECT max(number) - 3 FROM ledger)")
    broken = dataclasses.replace(at_home, control=ControlStore(f"sqlite:///{copy}/control.db"))

    made = write_folder(broken, tmp_path / "folder")

    assert not made.ledger_ok
    assert "**The ledger is broken**" in (made.path / "README.md").read_text()
    assert "The ledger is broken" in (made.path / "reports" / "data.html").read_text()
    assert verify(made.path).returncode == 1
