"""The bench of kills in small: nothing is lost or doubled, and seeded faults show that this could be seen."""

from __future__ import annotations

import pytest

from benchmarks.kills import draw_kills, measure_kills

pytestmark = pytest.mark.slow


def test_each_answer_is_in_the_lake_once_through_kills_of_replicas_and_ingesters(tmp_path):
    """Eighteen kills, aimed and at random: whatever clients were told, and telemetry, is there once and unchanged."""
    found = measure_kills(tmp_path, lambda _: None, kills=18)

    assert found.kills == sum(found.places.values()) == 18
    assert found.told > 100
    assert (found.lost, found.doubled, found.changed, found.invented, found.left_in_outboxes) == (0, 0, 0, 0, 0)
    assert (found.events_lost, found.events_doubled) == (0, 0)
    assert found.events >= 50
    assert found.turned_away == {}
    assert found.upper == pytest.approx(1 - 0.05 ** (1 / 18))
    assert "rows lost: 0, doubled: 0" in "\n".join(draw_kills(found))


@pytest.mark.parametrize(
    ("fault", "what"),
    [
        ("forgets what it has appended", "doubled"),
        ("deletes before it appends", "lost"),
        ("replies before it commits", "lost"),
    ],
)
def test_a_seeded_fault_is_seen(tmp_path, fault, what):
    """A lake that forgets its writers' positions, an ingester and a replica that do things in the wrong order."""
    found = measure_kills(tmp_path, lambda _: None, kills=14, fault=fault)

    assert getattr(found, what) > 0
    assert found.upper == 1.0
