"""The benchmark of alerting measures what it says, on a small day."""

from __future__ import annotations

from benchmarks.alerts import draw_alerts, measure_alerts


def test_a_small_day_is_looked_at_and_a_burst_is_accounted_for(tmp_path):
    """Every rule in every look, some fire; each refused row is in an event or counted as lost."""
    found = measure_alerts(tmp_path, lambda _: None, rules=16, events=500, seconds=2)

    assert (found.rules, found.events) == (16, 500)
    assert found.firing > 0
    assert found.unaccounted == 0
    assert found.look_cpu_seconds > 0
    assert found.burst_cpu_share > 0
    assert draw_alerts(found)[0].row_count == 3
