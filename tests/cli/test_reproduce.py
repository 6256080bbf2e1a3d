"""``perennial reproduce``: answers, JSON, exit codes."""

from __future__ import annotations

import json
import shutil

import pytest

from benchmarks.trained import NAME, Installed
from ml.registry.manifest import MODEL, PACKAGE


@pytest.fixture(scope="module")
def original(tmp_path_factory) -> Installed:
    """A champion, and a challenger that was not promoted."""
    installed = Installed(tmp_path_factory.mktemp("installed"))
    installed.train("bayes", first_day=0)
    installed.train("bayes", first_day=3, promoted=False)
    return installed


@pytest.fixture
def installed(original, home) -> Installed:
    """The same, where the command line looks; the use case's file is not there any more."""
    shutil.copytree(original.var, home / "var", dirs_exist_ok=True)
    return Installed(home / "var", folders=original.folders)


@pytest.mark.slow
def test_every_version_is_told_as_json(installed, perennial):
    """All equal is exit code 0."""
    answer = perennial("reproduce", NAME, "--all", "--json")

    told = json.loads(answer.out)
    assert (answer.code, told["equal"], [one["version"] for one in told["versions"]]) == (0, True, [1, 2])
    assert {one["what"]: one["same"] for one in told["versions"][0]["compared"]}[MODEL] is True
    assert told["versions"][0]["circumstances"] == []


@pytest.mark.slow
def test_without_a_version_it_is_the_champion_and_it_can_be_kept(installed, perennial, tmp_path):
    """Told for people; the package is in a new folder."""
    answer = perennial("reproduce", NAME, "--to", str(tmp_path / "kept"))

    assert (answer.code, f"{NAME}@1: the same; bayes, made again in" in answer.out) == (0, True)
    for name in (MODEL, PACKAGE):
        assert (tmp_path / "kept" / name).read_bytes() == (installed.folders[1] / name).read_bytes()


def test_other_data_is_exit_1(installed, perennial, monkeypatch):
    """Both fingerprints are told, and that nothing was made of it."""
    frame = installed.lake.read_training(1).assign(tide=0.0)
    monkeypatch.setattr("ml.store.lake.Lake.read_training", lambda self, version: frame)

    answer = perennial("reproduce", f"{NAME}@1")

    assert (answer.code, "NOT the same" in answer.out, "not made again" in answer.out) == (1, True, True)
    assert "≠ data: " in answer.out


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ((f"{NAME}@7",), "no such version"),
        ((f"{NAME}@first",), "no number of a version"),
        (("nowhere",), "the ledger knows of no version; where: USE_CASE; got: nowhere; allowed: ferry"),
        ((NAME, "--all", "--to", "new"), "package cannot be kept"),
        ((NAME, "--to", "."), "package cannot be kept"),
    ],
)
def test_bad_input_is_exit_2(installed, perennial, words, said):
    """One clear error."""
    answer = perennial("reproduce", *words)

    assert (answer.code, answer.err.count("error:"), said in answer.err) == (2, 1, True)
