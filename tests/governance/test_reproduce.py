"""A model made again from the ledger and the lake is the same, byte by byte; what differs is named."""

from __future__ import annotations

import shutil
import signal
import subprocess
import sys
import time

import pytest

from benchmarks.trained import NAME, Installed
from ml.errors import DataError, InputError, PerennialError
from ml.governance import reproduce as module
from ml.governance.reconcile import VERSION
from ml.governance.reproduce import reproduce
from ml.records.governance import VersionMade
from ml.registry.manifest import MODEL, PACKAGE

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def original(tmp_path_factory) -> Installed:
    """Boosted trees, then a naive Bayes with missing and categorical values: two versions, two candidates."""
    installed = Installed(tmp_path_factory.mktemp("installed"))
    installed.train("trees", first_day=0)
    installed.train("bayes", first_day=5)
    return installed


@pytest.fixture
def installed(original, tmp_path) -> Installed:
    """A copy that a test may damage."""
    shutil.copytree(original.var, tmp_path / "var")
    return Installed(tmp_path / "var", folders=original.folders)


def again(installed: Installed, version: int, **options):
    """Make a version again."""
    lakes, scratch = installed.var / "lake", installed.var / "reproductions"
    return reproduce(installed.control, lakes, NAME, version, scratch=scratch, **options)


@pytest.fixture(scope="module")
def reproduced(original, tmp_path_factory):
    """Both versions, made again, and where the second one was kept."""
    kept = tmp_path_factory.mktemp("kept") / "package"
    return again(original, 1), again(original, 2, keep=kept), kept


def test_every_version_is_made_again_byte_by_byte(original, reproduced):
    """Fingerprint, file hash, graph, package and metrics; the kept bytes are those that were registered."""
    first, second, kept = reproduced

    for found in (first, second):
        assert found.equal
        assert [one.what for one in found.compared] == [
            "data",
            "use case file",
            MODEL,
            PACKAGE,
            "validation log_loss",
            "validation log_loss, low",
            "validation log_loss, high",
            "holdout log_loss",
        ]
        assert all(one.recorded == one.found for one in found.compared)
        assert not found.circumstances
    assert (first.candidate, second.candidate) == ("trees", "bayes")
    for name in (MODEL, PACKAGE):
        assert (kept / name).read_bytes() == (original.folders[2] / name).read_bytes()


def test_nothing_is_left_behind(original, reproduced):
    """The folder for the work is empty."""
    assert list((original.var / "reproductions").iterdir()) == []


def test_neither_the_file_of_today_nor_mlflow_is_asked(original, reproduced):
    """The fixture has neither a use case file on disk nor a server; the text is the ledger's."""
    assert not list(original.var.rglob("*.yaml"))
    assert reproduced[0].equal


def change_version(installed: Installed, monkeypatch, **changed: object) -> None:
    """As if the ledger said otherwise about version 1."""
    stored = installed.control.find(VERSION, f"{NAME}/1")
    made = VersionMade.model_validate_json(stored.payload).model_copy(update=changed)
    original = module.lineage_of

    def lineage_of(*arguments):
        return original(*arguments).model_copy(update={"made": made})

    monkeypatch.setattr(module, "lineage_of", lineage_of)


def test_other_data_is_named_and_nothing_is_trained_on_it(installed, monkeypatch):
    """The lake's version holds one other value; no graph is compared."""
    frame = installed.lake.read_training(1)
    frame.loc[0, "tide"] += 1
    monkeypatch.setattr("ml.store.lake.Lake.read_training", lambda self, version: frame)

    found = again(installed, 1)

    assert not found.equal
    assert [(one.what, one.same) for one in found.compared] == [("data", False), ("use case file", True)]


def test_another_use_case_file_is_named(installed, monkeypatch):
    """The trees learn more slowly than on record: file, graph, package and losses differ, the data does not."""
    other = installed.text.replace("max_iter: 10", "max_iter: 11")
    monkeypatch.setattr(module, "find_text", lambda control, made: other)

    found = again(installed, 1)

    assert not found.equal
    differing = {one.what for one in found.compared if not one.same}
    assert {"use case file", MODEL, PACKAGE, "validation log_loss", "holdout log_loss"} <= differing
    assert "data" not in differing


def test_another_library_and_another_commit_are_named_where_the_package_differs(installed, monkeypatch):
    """The package names its libraries, the graph does not; both circumstances are told with both values."""
    made = VersionMade.model_validate_json(installed.control.find(VERSION, f"{NAME}/1").payload)
    libraries = made.libraries | {"numpy": "1.0", "never-heard-of": "2.0"}
    own = {"libraries": libraries, "code_commit": "0" * 40, "processor": "", "package_digest": "e" * 64}
    change_version(installed, monkeypatch, **own)

    found = again(installed, 1)

    assert [one.what for one in found.compared if not one.same] == [PACKAGE]
    told = {one.what: (one.recorded, one.found) for one in found.circumstances}
    assert told["library numpy"] == ("1.0", made.libraries["numpy"])
    assert told["library never-heard-of"] == ("2.0", "not installed")
    assert told["code"] == ("0" * 40, made.code_commit)
    assert told["processor"] == ("not recorded", made.processor)
    assert not found.equal


@pytest.mark.parametrize(("kind", "key"), [("choice", f"{NAME}/1"), ("training_set", f"{NAME}/1"), ("use_case", None)])
def test_a_record_that_is_absent_is_named(installed, monkeypatch, kind, key):
    """Nothing is guessed in its place."""
    if kind == "use_case":
        change_version(installed, monkeypatch, use_case_hash="0" * 64)
    else:
        change_version(installed, monkeypatch, request_key="another")
        if kind == "training_set":
            found = module.lineage_of(installed.control, NAME, 1).model_copy(update={"training_set": None})
            monkeypatch.setattr(module, "lineage_of", lambda *_: found)

    with pytest.raises(DataError, match=f"is not in the ledger; where: ferry version 1; got: no {kind}"):
        again(installed, 1)


def test_an_unknown_version_is_bad_input(original):
    """With those that are known."""
    with pytest.raises(InputError, match=r"no such version.*got: 9; allowed: 1, 2"):
        again(original, 9)


def test_a_candidate_that_cannot_be_fitted_here_is_one_error(installed, monkeypatch):
    """Such as one of a library that is gone; the folder for the work is empty."""
    other = installed.text.replace("hist_gradient_boosting", "no.such.Estimator")
    monkeypatch.setattr(module, "find_text", lambda control, made: other)

    with pytest.raises(PerennialError, match=r"(?s)model cannot be made again; where: ferry: trees; got: .*no.such"):
        again(installed, 1)

    assert list((installed.var / "reproductions").iterdir()) == []


def test_a_killed_reproduction_leaves_nothing_half_written(installed, tmp_path, monkeypatch):
    """Killed while it fits: no package is kept; the next one clears the desk and is equal, under another commit too."""
    kept, scratch, lakes = tmp_path / "kept", installed.var / "reproductions", installed.var / "lake"
    code = (
        "from pathlib import Path\n"
        "from ml.governance.reproduce import reproduce\n"
        "from ml.store.control import ControlStore\n"
        f"control = ControlStore('sqlite:///{installed.var}/control.db')\n"
        f"reproduce(control, Path('{lakes}'), '{NAME}', 1, scratch=Path('{scratch}'), keep=Path('{kept}'))"
    )
    process = subprocess.Popen([sys.executable, "-c", code])
    deadline = time.monotonic() + 60
    while not list(scratch.glob("*-desk/frame.parquet")) and time.monotonic() < deadline:
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert not kept.exists()
    assert list(scratch.iterdir())
    change_version(installed, monkeypatch, code_commit="1" * 40)

    found = again(installed, 1, keep=kept)

    assert (found.equal, [one.what for one in found.circumstances]) == (True, ["code"])
    assert sorted(path.name for path in kept.iterdir()) == [MODEL, PACKAGE]
    assert list(scratch.iterdir()) == []
