"""The benchmark of telemetry measures what it says, in one short round."""

from __future__ import annotations

import pytest

from benchmarks.telemetry import REFUSED, Round, draw_telemetry, measure_telemetry


@pytest.mark.slow
def test_a_short_burst_is_accounted_for(tmp_path):
    """Both processes answer; every refused row of the one that tells is in an event or counted as lost."""
    found = measure_telemetry(tmp_path, lambda _: None, rounds=1, seconds=1.0)

    (one,) = found.rounds
    assert one.told > 0
    assert one.untold > 0
    assert found.refused >= REFUSED
    assert found.refused % REFUSED == 0
    assert (found.unaccounted, found.told + found.lost) == (0, found.refused)
    assert draw_telemetry(found)[0].row_count == 4


def test_a_cost_is_a_share_of_what_there_is_without():
    """Ninety of a hundred requests a second, eleven milliseconds of a processor where ten would do."""
    one = Round(told=90.0, untold=100.0, told_cpu=0.011, untold_cpu=0.010)

    assert one.lost == pytest.approx(0.1)
    assert one.more_cpu == pytest.approx(0.1)
