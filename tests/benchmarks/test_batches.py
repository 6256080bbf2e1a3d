"""The steps of a request of many rows in small: every protocol answers, and what is told adds up."""

from __future__ import annotations

import pytest

from benchmarks.batches import draw_batches, measure_batches

pytestmark = pytest.mark.slow


def test_every_protocol_has_its_steps(tmp_path):
    """Forty rows, three rounds; a share is of the sum."""
    found = measure_batches(tmp_path, lambda _: None, rounds=3, rows=40)

    assert len(found) == len({one.name for one in found}) == 6
    for one in found:
        assert min(one.read, one.ask, one.tell, one.commit, one.raw) > 0
        assert 0 < one.share[0] <= one.share[1] <= one.share[2] < 1
        assert one.n == 3
    assert [table.row_count for table in draw_batches(found)] == [6]
