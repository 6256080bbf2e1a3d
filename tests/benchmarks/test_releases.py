"""The bench of releases in small: every fault is stopped, good artifacts are served, no client sees anything."""

import pytest

from benchmarks.bad_artifacts import FAULTS, release_bad_artifacts

pytestmark = pytest.mark.slow


def test_each_fault_is_stopped_before_a_client_sees_it(tmp_path):
    """One artifact of every kind; a good one is served every few, else this would show nothing."""
    found = list(release_bad_artifacts(tmp_path, lambda _: None, n=len(FAULTS)))

    assert [one.fault for one in found] == list(FAULTS)
    assert [one for one in found if not one.stopped] == []
    assert sum(one.exposed for one in found) == 0
    assert sum(one.failed for one in found) == 0
    said = {one.fault: one.reason for one in found}
    assert "code 102" in said["graph with another digest"]
    assert "code 101" in said["graph absent"]
    assert "signature" in said["one column too many"]
    assert "serving.latency_ms" in said["slow"]
    assert "serving.memory_mb" in said["huge"]
    assert "no usable answer" in said["NaN at one end of a range"]
