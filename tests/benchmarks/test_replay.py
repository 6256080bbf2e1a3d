"""The benchmark of replays, in small: every request by every protocol is equal, bit for bit."""

from __future__ import annotations

import pytest

from benchmarks.replay import KINDS, draw_replay, measure_replay


@pytest.mark.slow
def test_every_request_is_equal(tmp_path):
    """Three models, two of which round by how many rows they are asked together; each kind of request."""
    found = measure_replay(tmp_path, lambda text: None, requests=3 * len(KINDS))

    assert (found.requests, found.equal, found.unequal) == (3 * len(KINDS), 3 * len(KINDS), ())
    assert found.untold == {}
    assert found.versions == 3
    assert set(found.kinds) == set(KINDS)
    assert [table.row_count > 5 for table in draw_replay(found)] == [True]
