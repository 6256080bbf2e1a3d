"""The file of targets: the shipped one is sound, a wrong one is refused whole."""

from __future__ import annotations

import re
from datetime import timedelta

import pytest

from ml.errors import InputError
from ml.pipeline.targets import PipelineTargets, Targets, load_targets
from ml.settings import PROJECT
from ml.stack.local import DAG_FILES, INSTALLATION_DAGS


def test_the_shipped_file_names_every_target_and_only_dags_that_there_are():
    """Nobody has to know a key that they cannot see; its values are the built-in ones."""
    found = load_targets(PROJECT / "pipeline.yaml")

    named = set(re.findall(r"^  ([a-z_0-9]+):", (PROJECT / "pipeline.yaml").read_text(encoding="utf-8"), re.MULTILINE))
    assert set(Targets.model_fields) <= named
    assert set(found.dags) <= {*DAG_FILES, *(name.partition(".")[2] for name in INSTALLATION_DAGS)}
    assert found.targets == Targets()


def test_an_absent_file_is_the_built_in_targets(tmp_path):
    """Nobody has to have one."""
    assert load_targets(tmp_path / "pipeline.yaml") == PipelineTargets()


def test_times_are_written_as_durations(tmp_path):
    """And null is no target."""
    path = tmp_path / "pipeline.yaml"
    path.write_text("window: 14d\ntargets: {lateness_p95: 2m, success_rate: null}\n", encoding="utf-8")

    found = load_targets(path)

    assert (found.window, found.targets.lateness_p95, found.targets.success_rate) == (timedelta(days=14), 120.0, None)


def test_every_problem_is_listed(tmp_path):
    """An unknown key, a share above one, and no duration."""
    path = tmp_path / "pipeline.yaml"
    path.write_text("colour: red\ntargets: {success_rate: 2, lateness_p95: soon}\n", encoding="utf-8")

    with pytest.raises(InputError) as refused:
        load_targets(path)

    told = str(refused.value)
    assert "3 problem(s)" in told
    for word in ("colour", "targets.success_rate", "targets.lateness_p95", str(path)):
        assert word in told


@pytest.mark.parametrize("content", [b"a: [", b"\xff\xfe", b"- 1"])
def test_what_is_no_file_of_targets_is_refused(tmp_path, content):
    """One error of ours, whatever the file holds."""
    path = tmp_path / "pipeline.yaml"
    path.write_bytes(content)

    with pytest.raises(InputError, match=r"pipeline\.yaml"):
        load_targets(path)
